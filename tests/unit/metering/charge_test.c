#include "metering/charge.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#define BOTH                              \
	{                                 \
		100, 20, 30, 5, 7, -1, 12 \
	}
#define INPUT_ONLY                          \
	{                                   \
		100, -1, 30, -1, -1, -1, -1 \
	}
#define OUTPUT_ONLY                       \
	{                                 \
		-1, 20, -1, -1, 7, -1, -1 \
	}
#define NEITHER                            \
	{                                  \
		-1, -1, -1, -1, -1, -1, -1 \
	}

struct row {
	const char *what;
	struct charge_facts facts;
	enum usage_source source;
	int64_t input, output;
};

#define ESTIMATES .input_estimate = 50, .rest_estimate = 9

static const struct row rows[] = {
    {"a whole count is taken as it is",
	{.seen = BOTH,
	    .source = USAGE_UPSTREAM,
	    .may_have_worked = true,
	    ESTIMATES},
	USAGE_UPSTREAM, 100, 20},
    {"so are a server's timings",
	{.seen = BOTH,
	    .source = USAGE_TIMINGS,
	    .may_have_worked = true,
	    ESTIMATES},
	USAGE_TIMINGS, 100, 20},
    {"even if the status said no", {.seen = BOTH, .source = USAGE_UPSTREAM},
	USAGE_UPSTREAM, 100, 20},
    {"a running count that covers all is that",
	{.seen = BOTH,
	    .source = USAGE_RUNNING,
	    .may_have_worked = true,
	    .input_estimate = 50},
	USAGE_RUNNING, 100, 20},
    {"text behind a running count is added to it",
	{.seen = BOTH,
	    .source = USAGE_RUNNING,
	    .may_have_worked = true,
	    ESTIMATES},
	USAGE_ESTIMATED, 100, 29},
    {"an output that was not said is estimated",
	{.seen = INPUT_ONLY,
	    .source = USAGE_RUNNING,
	    .may_have_worked = true,
	    ESTIMATES},
	USAGE_ESTIMATED, 100, 9},
    {"an input that was not said is estimated",
	{.seen = OUTPUT_ONLY,
	    .source = USAGE_UPSTREAM,
	    .may_have_worked = true,
	    ESTIMATES},
	USAGE_ESTIMATED, 50, 20},
    {"nothing was said: all is estimated",
	{.seen = NEITHER,
	    .source = USAGE_NONE,
	    .may_have_worked = true,
	    ESTIMATES},
	USAGE_ESTIMATED, 50, 9},
    {"what is not said to be seen is not believed",
	{.seen = BOTH,
	    .source = USAGE_NONE,
	    .may_have_worked = true,
	    ESTIMATES},
	USAGE_ESTIMATED, 50, 9},
    {"who refused costs nothing",
	{.seen = NEITHER, .source = USAGE_NONE, ESTIMATES}, USAGE_NONE, -1, -1},
    {"who refused but counted is completed",
	{.seen = INPUT_ONLY, .source = USAGE_UPSTREAM, ESTIMATES},
	USAGE_ESTIMATED, 100, 9},
};

static void
counts_are_taken_or_estimated_but_never_lost(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		struct usage out;
		enum usage_source source = charge_usage(&rows[i].facts, &out);

		if (source != rows[i].source || out.input != rows[i].input ||
		    out.output != rows[i].output)
			fail_msg("%s: %s, %lld in, %lld out", rows[i].what,
			    usage_source_name(source), (long long)out.input,
			    (long long)out.output);
	}
}

static void
parts_that_were_said_are_kept(void **state)
{
	struct charge_facts f = {.seen = BOTH, .source = USAGE_UPSTREAM};
	struct usage out;

	(void)state;
	charge_usage(&f, &out);
	assert_int_equal(out.cached, 30);
	assert_int_equal(out.cache_write, 5);
	assert_int_equal(out.reasoning, 7);
	assert_int_equal(out.cost_pusd, 12);
	f = (struct charge_facts){.seen = INPUT_ONLY,
	    .source = USAGE_RUNNING,
	    .may_have_worked = true};
	charge_usage(&f, &out);
	assert_int_equal(out.cached, 30);
	assert_int_equal(out.output, 0);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(counts_are_taken_or_estimated_but_never_lost),
	    cmocka_unit_test(parts_that_were_said_are_kept),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
