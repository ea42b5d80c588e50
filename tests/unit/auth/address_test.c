#include <arpa/inet.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>

#include <cmocka.h>

#include "auth/address.h"

static struct address
parsed(const char *text)
{
	struct address a;

	if (!address_parse(slice_of(text), &a))
		fail_msg("%s is an address", text);
	return a;
}

static bool
list_has(const struct address_list *l, const char *text)
{
	struct address a = parsed(text);

	return address_list_has(l, &a);
}

static struct address_list *
sealed(const char *const *ranges, size_t count)
{
	struct address_list *l = address_list_create();
	struct fault why;

	for (size_t i = 0; i < count; i++)
		if (!address_list_add(l, slice_of(ranges[i]), &why))
			fail_msg("%s", why.text);
	address_list_seal(l);
	return l;
}

static void
ipv4_has_four_decimal_parts_without_leading_zeros(void **state)
{
	static const char *const bad[] = {"", "1", "1.2.3", "1.2.3.4.5",
	    "1.2.3.4.", ".1.2.3.4", "1..3.4", "1.2.3.256", "010.0.0.1",
	    "1.2.3.04", "00.0.0.0", "0x7f.0.0.1", "1.2.3.4 ", " 1.2.3.4",
	    "+1.2.3.4", "1.2.3.-4", "1.2.3.1000", "2130706433", "1.2.3.4/32",
	    "1.2.3.4:80", "localhost"};
	struct address a;

	(void)state;
	for (size_t i = 0; i < COUNT_OF(bad); i++)
		if (address_parse(slice_of(bad[i]), &a))
			fail_msg("'%s' was taken", bad[i]);
	parsed("0.0.0.0");
	parsed("255.255.255.255");
	parsed("10.20.100.9");
}

static void
ipv6_is_taken_without_brackets_scope_and_port(void **state)
{
	static const char *const bad[] = {"[::1]", "fe80::1%eth0", "::1/128",
	    ":::", "1::2::3", "1:2:3:4:5:6:7", "1:2:3:4:5:6:7:8:9",
	    "12345::", "::ffff:1.2.3", "::ffff:010.0.0.1", "[::1]:80", ":",
	    "::g", "1111:2222:3333:4444:5555:6666:7777:8888:9999:aaaa:bbbb"};
	struct address a;

	(void)state;
	for (size_t i = 0; i < COUNT_OF(bad); i++)
		if (address_parse(slice_of(bad[i]), &a))
			fail_msg("'%s' was taken", bad[i]);
	assert_false(address_parse((struct slice){"::1\0", 4}, &a));
	assert_false(address_parse((struct slice){"1.2.3.4\0", 8}, &a));
	parsed("::");
	parsed("fd7a:115c:a1e0::1");
}

static void
a_mapped_address_is_the_same_caller(void **state)
{
	struct address plain = parsed("100.64.0.1");
	struct address mapped = parsed("::ffff:100.64.0.1");
	struct address hex = parsed("::ffff:6440:1");

	(void)state;
	assert_true(address_equal(&plain, &mapped));
	assert_true(address_equal(&plain, &hex));
}

static void
addresses_are_written_as_people_write_them(void **state)
{
	static const struct {
		const char *in, *out;
	} cases[] = {
	    {"192.168.1.5", "192.168.1.5"},
	    {"::ffff:1.2.3.4", "1.2.3.4"},
	    {"2001:0DB8:0:0:0:0:0:1", "2001:db8::1"},
	    {"2001:db8:0:1:1:1:1:1", "2001:db8:0:1:1:1:1:1"},
	    {"2001:0:0:1:0:0:0:1", "2001:0:0:1::1"},
	    {"2001:db8:0:0:1:0:0:1", "2001:db8::1:0:0:1"},
	    {"::", "::"},
	    {"::1", "::1"},
	};
	char text[ADDRESS_TEXT_BYTES];

	(void)state;
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		struct address a = parsed(cases[i].in), again;

		address_format(text, &a);
		assert_string_equal(text, cases[i].out);
		again = parsed(text);
		assert_true(address_equal(&a, &again));
	}
}

static void
socket_addresses_are_understood(void **state)
{
	struct sockaddr_in in = {.sin_family = AF_INET};
	struct sockaddr_in6 in6 = {.sin6_family = AF_INET6};
	struct sockaddr_un un = {.sun_family = AF_UNIX};
	struct address a, expected;

	(void)state;
	inet_pton(AF_INET, "100.64.0.1", &in.sin_addr);
	inet_pton(AF_INET6, "::ffff:100.64.0.1", &in6.sin6_addr);
	expected = parsed("100.64.0.1");
	a = address_of((struct sockaddr *)&in);
	assert_true(address_equal(&a, &expected));
	a = address_of((struct sockaddr *)&in6);
	assert_true(address_equal(&a, &expected));
	expected = parsed("::");
	a = address_of((struct sockaddr *)&un);
	assert_true(address_equal(&a, &expected));
}

static void
wrong_ranges_are_refused_with_a_reason(void **state)
{
	static const char *const bad[] = {"", "/", "/8", "10.0.0.0/",
	    "10.0.0.0/33", "10.0.0.0/-1", "10.0.0.0/08", "10.0.0.0/8x",
	    "10.0.0.0/8/8", "10.0.0.1/8", "10.0.0.0/ 8", "::/129", "::1/64",
	    "fd00::/0", "fd00::/999", "010.0.0.0/8", "10.0.0.0/255.0.0.0",
	    "10/8", "0.0.0.1/0", "example.org/24"};
	struct address_list *l = address_list_create();
	struct fault why;

	(void)state;
	for (size_t i = 0; i < COUNT_OF(bad); i++) {
		why.text[0] = '\0';
		if (address_list_add(l, slice_of(bad[i]), &why))
			fail_msg("'%s' was taken", bad[i]);
		assert_true(why.text[0] != '\0');
	}
	assert_true(address_list_is_empty(l));
	address_list_destroy(&l);
	assert_null(l);
	address_list_destroy(&l);
}

static void
a_list_knows_the_borders_of_its_ranges(void **state)
{
	static const char *const ranges[] = {"192.168.1.0/24", "100.64.0.0/10",
	    "127.0.0.1", "fd7a:115c:a1e0::/48", "10.1.2.3/32",
	    "2001:db8::1/128"};
	struct address_list *l = sealed(ranges, COUNT_OF(ranges));

	(void)state;
	assert_true(list_has(l, "192.168.1.0"));
	assert_true(list_has(l, "192.168.1.255"));
	assert_false(list_has(l, "192.168.0.255"));
	assert_false(list_has(l, "192.168.2.0"));
	assert_true(list_has(l, "::ffff:100.127.255.255"));
	assert_false(list_has(l, "100.128.0.0"));
	assert_true(list_has(l, "127.0.0.1"));
	assert_false(list_has(l, "127.0.0.2"));
	assert_true(list_has(l, "fd7a:115c:a1e0:ffff::1"));
	assert_false(list_has(l, "fd7a:115c:a1e1::"));
	assert_true(list_has(l, "10.1.2.3"));
	assert_true(list_has(l, "2001:db8::1"));
	assert_false(list_has(l, "2001:db8::2"));
	address_list_destroy(&l);
}

static void
all_ipv6_does_not_mean_all_ipv4(void **state)
{
	static const char *const v6 = "::/0", *const v4 = "0.0.0.0/0";
	static const char *const half = "::fffe:0:0/95";
	struct address_list *l = sealed(&v6, 1);

	(void)state;
	assert_true(list_has(l, "::"));
	assert_true(list_has(l, "::fffe:255.255.255.255"));
	assert_true(list_has(l, "::1:0:0:0"));
	assert_true(list_has(l, "ffff:ffff::1"));
	assert_false(list_has(l, "0.0.0.0"));
	assert_false(list_has(l, "255.255.255.255"));
	address_list_destroy(&l);

	l = sealed(&v4, 1);
	assert_true(list_has(l, "0.0.0.0"));
	assert_true(list_has(l, "255.255.255.255"));
	assert_false(list_has(l, "::1"));
	address_list_destroy(&l);

	l = sealed(&half, 1);
	assert_true(list_has(l, "::fffe:1.2.3.4"));
	assert_false(list_has(l, "1.2.3.4"));
	address_list_destroy(&l);
}

static void
an_empty_list_has_nobody(void **state)
{
	struct address_list *l = sealed(NULL, 0);

	(void)state;
	assert_true(address_list_is_empty(l));
	assert_false(list_has(l, "127.0.0.1"));
	address_list_destroy(&l);
}

/* Overlapping and nested ranges at random; a plain search is the judge. */
static void
merging_changes_nothing(void **state)
{
	enum { RANGES = 40, PROBES = 4000 };
	uint32_t first[RANGES], mask[RANGES];
	struct address_list *l = address_list_create();
	struct fault why;
	char text[64];

	(void)state;
	srandom(7);
	for (int i = 0; i < RANGES; i++) {
		unsigned bits = 17 + (unsigned)random() % 16;

		mask[i] = 0xffffffffu << (32 - bits);
		first[i] =
		    (0x0a000000u | ((uint32_t)random() & 0x3ffff)) & mask[i];
		snprintf(text, sizeof text, "%u.%u.%u.%u/%u", first[i] >> 24,
		    first[i] >> 16 & 255, first[i] >> 8 & 255, first[i] & 255,
		    bits);
		assert_true(address_list_add(l, slice_of(text), &why));
	}
	address_list_seal(l);
	for (int i = 0; i < PROBES; i++) {
		uint32_t a = 0x0a000000u | ((uint32_t)random() & 0x7ffff);
		bool is_in = false;

		for (int k = 0; k < RANGES; k++)
			is_in = is_in || (a & mask[k]) == first[k];
		snprintf(text, sizeof text, "%u.%u.%u.%u", a >> 24,
		    a >> 16 & 255, a >> 8 & 255, a & 255);
		assert_int_equal(list_has(l, text), is_in);
	}
	address_list_destroy(&l);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(ipv4_has_four_decimal_parts_without_leading_zeros),
	    cmocka_unit_test(ipv6_is_taken_without_brackets_scope_and_port),
	    cmocka_unit_test(a_mapped_address_is_the_same_caller),
	    cmocka_unit_test(addresses_are_written_as_people_write_them),
	    cmocka_unit_test(socket_addresses_are_understood),
	    cmocka_unit_test(wrong_ranges_are_refused_with_a_reason),
	    cmocka_unit_test(a_list_knows_the_borders_of_its_ranges),
	    cmocka_unit_test(all_ipv6_does_not_mean_all_ipv4),
	    cmocka_unit_test(an_empty_list_has_nobody),
	    cmocka_unit_test(merging_changes_nothing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
