#include "metering/price.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#include "base/clock.h"

static int64_t
at(const char *text)
{
	int64_t ms;

	assert_true(clock_parse(slice_of(text), &ms));
	return ms;
}

static int64_t
pusd(const char *text)
{
	int64_t n;

	assert_true(price_parse(slice_of(text), &n, NULL));
	return n;
}

static void
cached_tokens_cost_their_own_price(void **state)
{
	struct price p = {
	    .input_pusd = pusd("1.74"),
	    .input_cached_pusd = pusd("0.145"),
	    .cache_write_pusd = pusd("1.74"),
	    .output_pusd = pusd("3.48"),
	};
	struct usage u = {.input = 2340,
	    .output = 512,
	    .cached = 1980,
	    .cache_write = -1,
	    .reasoning = 40,
	    .audio = -1};
	char text[MONEY_TEXT_BYTES];

	(void)state;
	money_format(text, price_cost(&p, &u));
	assert_string_equal(text, "0.002695260000");
}

static void
subsets_never_exceed_the_input(void **state)
{
	struct price p = {.input_pusd = 1,
	    .input_cached_pusd = 100,
	    .cache_write_pusd = 10000,
	    .output_pusd = 1000000};
	struct usage u = {.input = 10,
	    .output = -1,
	    .cached = 8,
	    .cache_write = 7,
	    .reasoning = -1,
	    .audio = -1};

	(void)state;
	assert_true(price_cost(&p, &u) == 8 * 100 + 2 * 10000);
	u.cached = 11;
	assert_true(price_cost(&p, &u) == 10 * 100);
	u.input = -1;
	assert_true(price_cost(&p, &u) == 0);
}

static void
unknown_counts_cost_only_the_request(void **state)
{
	struct price p = {.input_pusd = 1, .output_pusd = 1, .request_pusd = 7};
	struct usage u = USAGE_UNKNOWN;

	(void)state;
	assert_true(price_cost(&p, &u) == 7);
}

static void
a_large_cost_does_not_overflow(void **state)
{
	struct price p = {
	    .input_pusd = pusd("1000000"), .output_pusd = pusd("1000000")};
	struct usage u = {.input = USAGE_MOST_TOKENS,
	    .output = USAGE_MOST_TOKENS,
	    .cached = 0,
	    .cache_write = 0,
	    .reasoning = 0,
	    .audio = 0};
	char text[MONEY_TEXT_BYTES];

	(void)state;
	money_format(text, price_cost(&p, &u));
	assert_string_equal(text, "2000000000.000000000000");
}

static void
the_latest_date_is_in_force(void **state)
{
	struct price prices[] = {
	    {.from_ms = at("2026-05-01")},
	    {.from_ms = at("2026-07-01")},
	    {.from_ms = at("2026-06-01")},
	};
	struct price_list l = {prices, 3};

	(void)state;
	/* Before the first one begins, that one: nothing is ever free. */
	assert_ptr_equal(price_at(&l, at("2026-04-30T23:59:59Z")), &prices[0]);
	assert_ptr_equal(price_at(&l, at("2026-05-01")), &prices[0]);
	assert_ptr_equal(price_at(&l, at("2026-06-30T23:59:59Z")), &prices[2]);
	assert_ptr_equal(price_at(&l, at("2027-01-01")), &prices[1]);
}

static void
an_hour_range_goes_before_the_whole_day(void **state)
{
	struct price prices[] = {
	    {.from_ms = 0},
	    {.from_ms = 0, .hour_begin = 16, .hour_end = 20},
	    {.from_ms = 0, .hour_begin = 22, .hour_end = 3},
	};
	struct price_list l = {prices, 3};

	(void)state;
	assert_ptr_equal(price_at(&l, at("2026-05-01T15:59:59Z")), &prices[0]);
	assert_ptr_equal(price_at(&l, at("2026-05-01T16:00:00Z")), &prices[1]);
	assert_ptr_equal(price_at(&l, at("2026-05-01T20:00:00Z")), &prices[0]);
	assert_ptr_equal(price_at(&l, at("2026-05-01T23:00:00Z")), &prices[2]);
	assert_ptr_equal(price_at(&l, at("2026-05-02T02:59:59Z")), &prices[2]);
	assert_ptr_equal(price_at(&l, at("2026-05-02T03:00:00Z")), &prices[0]);
}

static void
a_later_price_ends_the_hours_of_an_earlier_one(void **state)
{
	struct price prices[] = {
	    {.from_ms = at("2026-07-01")},
	    {.from_ms = at("2026-05-01"), .hour_begin = 16, .hour_end = 24},
	    {.from_ms = at("2026-05-01")},
	    {.from_ms = at("2026-09-01"), .hour_begin = 0, .hour_end = 8},
	};
	struct price_list l = {prices, 4}, none = {0};

	(void)state;
	assert_ptr_equal(price_at(&l, at("2026-04-01T23:00:00Z")), &prices[1]);
	assert_ptr_equal(price_at(&l, at("2026-04-01T03:00:00Z")), &prices[2]);
	assert_ptr_equal(price_at(&l, at("2026-05-01T16:00:00Z")), &prices[1]);
	assert_ptr_equal(price_at(&l, at("2026-07-01T16:00:00Z")), &prices[0]);
	assert_ptr_equal(price_at(&l, at("2026-09-01T07:59:59Z")), &prices[3]);
	assert_ptr_equal(price_at(&l, at("2026-09-01T08:00:00Z")), &prices[0]);
	assert_null(price_at(&none, 0));
}

static void
two_prices_for_the_same_hours_conflict(void **state)
{
	struct price day = {.from_ms = 0};
	struct price night = {.hour_begin = 22, .hour_end = 6};
	struct price evening = {.hour_begin = 18, .hour_end = 22};
	struct price early = {.hour_begin = 5, .hour_end = 7};
	struct price later = {.from_ms = at("2026-07-01")};

	(void)state;
	assert_true(price_conflicts(&day, &day));
	assert_false(price_conflicts(&day, &night));
	assert_false(price_conflicts(&day, &later));
	assert_false(price_conflicts(&night, &evening));
	assert_true(price_conflicts(&night, &early));
}

static int64_t
from_json(const char *text, int power)
{
	int64_t n;

	assert_true(price_parse_json(slice_of(text), power, &n, NULL));
	return n;
}

static void
numbers_of_price_maps_are_read_exactly(void **state)
{
	(void)state;
	assert_int_equal(from_json("1.74e-06", 12), 1740000);
	assert_int_equal(from_json("1.45E-7", 12), 145000);
	assert_int_equal(from_json("0.00000348", 12), 3480000);
	assert_int_equal(
	    from_json("0.000003480000000000000000000", 12), 3480000);
	assert_int_equal(from_json("0.0", 12), 0);
	assert_int_equal(from_json("0e-99", 12), 0);
	assert_int_equal(from_json("1e-12", 12), 1);
	assert_int_equal(from_json("1e+0", 6), 1000000);
	assert_int_equal(from_json("15", 6), 15000000);
	assert_int_equal(from_json("0.145", 6), 145000);
	assert_int_equal(from_json("0.3", 6), 300000);
	/* What a binary fraction has left behind is taken off. */
	assert_int_equal(from_json("1.2500000000000001e-06", 12), 1250000);
	assert_int_equal(from_json("9.9999999999999995e-08", 12), 100000);
	assert_int_equal(from_json("0.30000000000000004", 6), 300000);
}

static void
what_is_no_exact_price_in_a_map_is_refused(void **state)
{
	static const char *const bad[] = {"-1", "1e-13", "1.5e-12",
	    "1.2345e-09e", "4e-999", "2", "1e999",
	    "9999999999999999999999999999999999999999999", "", "e5", "1e"};
	struct fault why;
	int64_t n;

	(void)state;
	for (size_t i = 0; i < COUNT_OF(bad); i++) {
		why.text[0] = '\0';
		assert_false(price_parse_json(slice_of(bad[i]), 12, &n, &why));
		assert_int_not_equal(strlen(why.text), 0);
	}
}

static void
a_price_is_written_with_the_decimals_it_needs(void **state)
{
	char text[MONEY_TEXT_BYTES];

	(void)state;
	price_format(text, pusd("1.74"));
	assert_string_equal(text, "1.74");
	price_format(text, pusd("3"));
	assert_string_equal(text, "3.00");
	price_format(text, pusd("0.145000000"));
	assert_string_equal(text, "0.145");
	price_format(text, 1);
	assert_string_equal(text, "0.000001");
	money_format_plain(text, PUSD_PER_USD / 200);
	assert_string_equal(text, "0.005");
	money_format_plain(text, 0);
	assert_string_equal(text, "0.00");
	money_format_plain(text, (__int128)100 * PUSD_PER_USD);
	assert_string_equal(text, "100.00");
}

static void
a_price_is_exact_in_pico_dollars(void **state)
{
	(void)state;
	assert_int_equal(pusd("1.74"), 1740000);
	assert_int_equal(pusd("0"), 0);
	assert_int_equal(pusd("0.000001"), 1);
	assert_int_equal(pusd("1000000"), INT64_C(1000000000000));
}

static void
what_is_no_price_is_refused_with_a_reason(void **state)
{
	static const char *const bad[] = {"", ".", "1.", ".5", "-1", "+1",
	    "1e3", "1.1234567", "1,74", " 1", "1 ", "$1", "1000000.000001",
	    "99999999999999999999999999999999999999999999", "0x10", "nan"};
	struct fault why;
	int64_t n;

	(void)state;
	for (size_t i = 0; i < COUNT_OF(bad); i++) {
		why.text[0] = '\0';
		assert_false(price_parse(slice_of(bad[i]), &n, &why));
		assert_int_not_equal(strlen(why.text), 0);
	}
}

static void
money_comes_back_as_it_was_written(void **state)
{
	static const int64_t parts[] = {
	    0, 1, 999999999999, PUSD_PER_USD, 123456789012345678, INT64_MAX};
	char text[MONEY_TEXT_BYTES];
	__int128 back;

	(void)state;
	for (size_t i = 0; i < COUNT_OF(parts); i++) {
		for (int factor = -1000; factor <= 1000; factor += 500) {
			__int128 n = (__int128)parts[i] * factor;

			money_format(text, n);
			assert_true(money_parse(slice_of(text), &back));
			assert_true(back == n);
		}
	}
}

static void
money_with_fewer_decimals_is_read(void **state)
{
	__int128 n;

	(void)state;
	assert_true(money_parse(SLICE("12"), &n));
	assert_true(n == 12 * (__int128)PUSD_PER_USD);
	assert_true(money_parse(SLICE("0.5"), &n));
	assert_true(n == PUSD_PER_USD / 2);
	assert_false(money_parse(SLICE("0.0000000000001"), &n));
	assert_false(money_parse(SLICE("--1"), &n));
	assert_false(money_parse(SLICE("1234567890123456789012345"), &n));
}

static void
people_see_cents_or_the_first_digits(void **state)
{
	static const struct {
		int64_t pusd;
		const char *text;
	} cases[] = {
	    {0, "$0.00"},
	    {1, "<$0.0001"},
	    {2695260000, "$0.0027"},
	    {9940000000, "$0.0099"},
	    {9999000000, "$0.01"},
	    {10000000000, "$0.01"},
	    {12340000000000, "$12.34"},
	    {12345000000000, "$12.35"},
	    {999995000000000, "$1000.00"},
	};
	char text[MONEY_TEXT_BYTES];

	(void)state;
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		money_format_short(text, cases[i].pusd);
		assert_string_equal(text, cases[i].text);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(cached_tokens_cost_their_own_price),
	    cmocka_unit_test(subsets_never_exceed_the_input),
	    cmocka_unit_test(unknown_counts_cost_only_the_request),
	    cmocka_unit_test(a_large_cost_does_not_overflow),
	    cmocka_unit_test(the_latest_date_is_in_force),
	    cmocka_unit_test(an_hour_range_goes_before_the_whole_day),
	    cmocka_unit_test(a_later_price_ends_the_hours_of_an_earlier_one),
	    cmocka_unit_test(two_prices_for_the_same_hours_conflict),
	    cmocka_unit_test(numbers_of_price_maps_are_read_exactly),
	    cmocka_unit_test(what_is_no_exact_price_in_a_map_is_refused),
	    cmocka_unit_test(a_price_is_written_with_the_decimals_it_needs),
	    cmocka_unit_test(a_price_is_exact_in_pico_dollars),
	    cmocka_unit_test(what_is_no_price_is_refused_with_a_reason),
	    cmocka_unit_test(money_comes_back_as_it_was_written),
	    cmocka_unit_test(money_with_fewer_decimals_is_read),
	    cmocka_unit_test(people_see_cents_or_the_first_digits),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
