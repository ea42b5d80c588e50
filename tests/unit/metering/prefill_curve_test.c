#include "metering/prefill_curve.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

#include "../seeded.h"
#include "base/attr.h"

#define TAUGHT 100
#define ASKED 2000

/* A server: how long it takes is a polynomial of the tokens. */
struct server {
	const char *name;
	double fixed_ms, ms_a_token, ms_a_square;
};

static const struct server plain = {"1000 tokens/s", 200, 1, 0};

static double
time_of(const struct server *s, double tokens)
{
	return s->fixed_ms + s->ms_a_token * tokens +
	    s->ms_a_square * tokens * tokens;
}

/* 100 to 100 K, each octave as likely. */
static uint64_t
mixed_size(struct seeded *random)
{
	uint64_t octave = UINT64_C(100) << seeded_below(random, 10);

	return octave + seeded_below(random, octave);
}

/* Five per cent to and fro; one of ten takes ten times as long. */
static void
teach(struct prefill_curve *p, const struct server *s, struct seeded *random,
    uint64_t tokens)
{
	double ms = time_of(s, (double)tokens);

	ms *= 0.95 + (double)seeded_below(random, 1000) / 10000;
	if (seeded_below(random, 10) == 0)
		ms *= 10;
	prefill_curve_add(p, tokens, (uint64_t)ms);
}

static int
compare(const void *a, const void *b)
{
	const double *x = a, *y = b;

	return (*x > *y) - (*x < *y);
}

/* The median of how far off predictions are, in parts of the truth. */
static double
median_error(
    struct prefill_curve *p, const struct server *s, struct seeded *random)
{
	static double errors[ASKED];

	for (size_t i = 0; i < ASKED; i++) {
		uint64_t tokens = mixed_size(random), ms;
		double truth = time_of(s, (double)tokens);

		assert_true(prefill_curve_predict(p, tokens, &ms));
		errors[i] = (double)ms > truth ? (double)ms - truth
					       : truth - (double)ms;
		errors[i] /= truth;
	}
	qsort(errors, ASKED, sizeof *errors, compare);
	return errors[ASKED / 2];
}

static void
a_server_of_known_rate_is_predicted_to_a_tenth(void **state)
{
	static const struct server servers[] = {
	    {"1000 tokens/s after 200 ms", 200, 1, 0},
	    {"43 tokens/s after 50 ms", 50, 23.1, 0},
	    {"8000 tokens/s after 400 ms", 400, 0.125, 0},
	    {"2000 tokens/s, slower as they grow", 100, 0.5, 0.00001},
	};
	struct seeded random = {0x9f11};

	(void)state;
	for (size_t i = 0; i < COUNT_OF(servers); i++) {
		double worst = 0, sum = 0;

		for (int run = 0; run < 50; run++) {
			struct prefill_curve p = {.last_number = 0};
			double error;

			for (int n = 0; n < TAUGHT; n++)
				teach(&p, &servers[i], &random,
				    mixed_size(&random));
			error = median_error(&p, &servers[i], &random);
			worst = error > worst ? error : worst;
			sum += error / 50;
		}
		print_message("%s: median absolute error %.1f %% (worst run "
			      "%.1f %%)\n",
		    servers[i].name, sum * 100, worst * 100);
		assert_true(worst < 0.10);
	}
}

static void
nothing_is_predicted_before_anything_is_learned(void **state)
{
	struct prefill_curve p = {.last_number = 0};
	uint64_t ms = 7;

	(void)state;
	prefill_curve_add(&p, 0, 100);
	prefill_curve_add(&p, 100, 0);
	prefill_curve_add(&p, (uint64_t)PREFILL_TOKENS_MOST + 1, 100);
	prefill_curve_add(&p, 100, (uint64_t)PREFILL_MS_MOST + 1);
	assert_false(prefill_curve_predict(&p, 100, &ms));
	assert_int_equal(ms, 7);
	assert_int_equal(prefill_curve_rate(&p), 0);
	prefill_curve_add(&p, 1000, 500);
	assert_true(prefill_curve_predict(&p, 1000, &ms));
	assert_int_equal(ms, 500);
	assert_true(prefill_curve_predict(&p, 8000, &ms));
	assert_int_equal(ms, 4000);
	/* What any prompt at all takes would be taken for a rate. */
	assert_false(prefill_curve_predict(&p, 8001, &ms));
	assert_int_equal(prefill_curve_rate(&p), 2000000);
}

/* Of a server that was seen with few thousand at most; but not for anything. */
static void
beyond_what_was_seen_the_last_rate_goes_on(void **state)
{
	struct prefill_curve p = {.last_number = 0};
	struct seeded random = {0x77};
	uint64_t ms;

	(void)state;
	for (int i = 0; i < TAUGHT; i++)
		teach(&p, &plain, &random, 100 + seeded_below(&random, 8000));
	assert_true(prefill_curve_predict(&p, 40000, &ms));
	assert_in_range(ms, 32000, 48000);
	assert_in_range(prefill_curve_rate(&p), 800000, 1250000);
	assert_false(prefill_curve_predict(&p, 100000, &ms));
	assert_false(prefill_curve_predict(&p, UINT64_MAX, &ms));
}

static void
a_server_that_became_slower_or_faster_is_learned_anew(void **state)
{
	static const struct server slow = {"", 200, 4, 0};
	struct prefill_curve p = {.last_number = 0};
	struct seeded random = {0x78};

	(void)state;
	for (int i = 0; i < 300; i++)
		teach(&p, &plain, &random, mixed_size(&random));
	for (int i = 0; i < 150; i++)
		teach(&p, &slow, &random, mixed_size(&random));
	assert_true(median_error(&p, &slow, &random) < 0.1);
	for (int i = 0; i < 150; i++)
		teach(&p, &plain, &random, mixed_size(&random));
	assert_true(median_error(&p, &plain, &random) < 0.1);
}

/* The largest prompts are rare: what they took before does not stand against
 * what smaller ones take now. */
static void
what_was_true_of_large_prompts_before_does_not_lower_small_ones(void **state)
{
	static const struct server slow = {"", 200, 40, 0};
	struct prefill_curve p = {.last_number = 0};
	struct seeded random = {0x79};
	uint64_t ms;

	(void)state;
	for (int i = 0; i < 20; i++)
		teach(&p, &plain, &random, 40000);
	for (int i = 0; i < 20; i++)
		teach(&p, &slow, &random, 5000);
	assert_true(prefill_curve_predict(&p, 5000, &ms));
	assert_in_range(ms, 180000, 225000);
	assert_true(prefill_curve_predict(&p, 40000, &ms));
	assert_true(ms > 1000000);
}

/* Whatever was taught. */
static void
more_tokens_never_take_less(void **state)
{
	struct seeded random = {0x7a};

	(void)state;
	for (int run = 0; run < 300; run++) {
		struct prefill_curve p = {.last_number = 0};
		size_t count = 1 + seeded_below(&random, 60);

		while (count-- > 0) {
			uint64_t before = 0, ms;

			prefill_curve_add(&p,
			    UINT64_C(1) +
				seeded_below(&random, 64) *
				    seeded_below(&random, 64) *
				    seeded_below(&random, 64),
			    1 + seeded_below(&random, 100000));
			for (uint64_t tokens = 0; tokens < 600000;
			     tokens += tokens / 7 + 1) {
				if (!prefill_curve_predict(&p, tokens, &ms))
					break;
				assert_true(ms >= before && ms > 0);
				before = ms;
			}
		}
	}
}

static void
samples_come_back_in_their_order(void **state)
{
	struct prefill_curve p = {.last_number = 0}, again = {.last_number = 0};
	struct prefill_sample kept[PREFILL_SAMPLES_MOST];
	struct prefill_sample copies[PREFILL_SAMPLES_MOST];
	struct seeded random = {0x7b};
	size_t count;
	uint64_t a, b;

	(void)state;
	for (int i = 0; i < 500; i++)
		teach(&p, &plain, &random, mixed_size(&random));
	count = prefill_curve_samples(&p, kept);
	for (size_t i = 0; i < count; i++)
		prefill_curve_add(&again, kept[i].tokens, kept[i].ms);
	assert_int_equal(prefill_curve_samples(&again, copies), count);
	/* Each pushes the same ones out. */
	for (int i = 0; i < 100; i++) {
		uint64_t tokens = mixed_size(&random), ms = 1 + tokens / 2;

		prefill_curve_add(&p, tokens, ms);
		prefill_curve_add(&again, tokens, ms);
		assert_true(prefill_curve_predict(&p, tokens, &a));
		assert_true(prefill_curve_predict(&again, tokens, &b));
		assert_int_equal(a, b);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(a_server_of_known_rate_is_predicted_to_a_tenth),
	    cmocka_unit_test(nothing_is_predicted_before_anything_is_learned),
	    cmocka_unit_test(beyond_what_was_seen_the_last_rate_goes_on),
	    cmocka_unit_test(
		a_server_that_became_slower_or_faster_is_learned_anew),
	    cmocka_unit_test(
		what_was_true_of_large_prompts_before_does_not_lower_small_ones),
	    cmocka_unit_test(more_tokens_never_take_less),
	    cmocka_unit_test(samples_come_back_in_their_order),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
