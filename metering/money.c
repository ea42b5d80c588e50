/* Money as text, both ways.  The door is price.h. */
#include "metering/price.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

#include "base/banned.h"

#define MONEY_DECIMALS 12
#define MONEY_WHOLE_DIGITS_MOST 18 /* a hundred million such sums fit */
#define MONEY_DIGITS_MOST ((__int128)1000000000000000000 * 1000000000000)
#define PRICE_DECIMALS 6
#define PRICE_UNIT 1000000 /* 10^PRICE_DECIMALS */

static bool
is_digit(char c)
{
	return c >= '0' && c <= '9';
}

/* Reads digits with at most `decimals` after a point (and any zeros behind
 * them), as a whole number scaled by 10^decimals.  A digit must stand on each
 * side of a point. */
static bool
read_decimal(struct slice s, int decimals, __int128 *out)
{
	__int128 n = 0;
	size_t i = 0;

	while (i < s.len && is_digit(s.p[i])) {
		if (i == MONEY_WHOLE_DIGITS_MOST)
			return false;
		n = n * 10 + (s.p[i++] - '0');
	}
	if (i == 0)
		return false;
	if (i < s.len) {
		if (s.p[i++] != '.' || i == s.len)
			return false;
		for (; i < s.len && decimals > 0; decimals--) {
			if (!is_digit(s.p[i]))
				return false;
			n = n * 10 + (s.p[i++] - '0');
		}
		while (i < s.len && s.p[i] == '0')
			i++;
		if (i < s.len)
			return false;
	}
	for (; decimals > 0; decimals--)
		n *= 10;
	*out = n;
	return true;
}

static bool
check_most(__int128 pusd, struct fault *why)
{
	if (pusd <= (__int128)PRICE_MOST_USD_PER_MILLION * PRICE_UNIT)
		return true;
	return fault_set(why,
	    "a price of more than $%d a million tokens cannot be meant",
	    PRICE_MOST_USD_PER_MILLION);
}

bool
price_parse(struct slice text, int64_t *pusd, struct fault *why)
{
	__int128 n;

	if (!read_decimal(text, PRICE_DECIMALS, &n))
		return fault_set(why,
		    "'%.*s' is not a price: write dollars a million tokens "
		    "with at most %d decimals, like 1.74",
		    (int)(text.len > 64 ? 64 : text.len), text.p,
		    PRICE_DECIMALS);
	if (!check_most(n, why))
		return false;
	/* A millionth of a dollar a million tokens is a pico-dollar a token. */
	*pusd = (int64_t)n;
	return true;
}

/* A number of JSON: digits * 10^exponent. */
struct decimal {
	__int128 digits;
	int exponent;
	bool is_exact; /* no digit was left out */
};

/* Takes a digit in; those that matter are among the first thirty. */
static void
add_digit(struct decimal *d, char c, bool is_fraction)
{
	if (d->digits < MONEY_DIGITS_MOST) {
		d->digits = d->digits * 10 + (c - '0');
		d->exponent -= is_fraction;
	} else {
		d->is_exact = d->is_exact && c == '0';
		d->exponent += !is_fraction;
	}
}

/* False if it is negative, or no number as JSON has them. */
static bool
read_json_number(struct slice s, struct decimal *d)
{
	bool is_fraction = false, is_minus;
	uint64_t exponent;
	size_t i;

	*d = (struct decimal){.is_exact = true};
	for (i = 0; i < s.len && (is_digit(s.p[i]) || s.p[i] == '.'); i++) {
		if (is_digit(s.p[i]))
			add_digit(d, s.p[i], is_fraction);
		else if (is_fraction)
			return false;
		else
			is_fraction = true;
	}
	if (i == 0 || i == s.len)
		return i > 0;
	if ((s.p[i++] | 32) != 'e' || i == s.len)
		return false;
	is_minus = s.p[i] == '-';
	i += is_minus || s.p[i] == '+';
	if (!text_to_u64((struct slice){s.p + i, s.len - i}, 999, &exponent))
		return false;
	d->exponent += is_minus ? -(int)exponent : (int)exponent;
	return true;
}

/* The whole number nearest to it, if it is a thousandth away at most. */
static bool
to_whole(const struct decimal *d, __int128 *out)
{
	__int128 unit = 1, rest;

	*out = d->digits;
	if (d->digits == 0)
		return d->is_exact;
	for (int i = 0; i < d->exponent; i++) {
		if (*out > MONEY_DIGITS_MOST)
			return true; /* too much by far, and told so */
		*out *= 10;
	}
	for (int i = 0; i > d->exponent; i--) {
		if (unit > MONEY_DIGITS_MOST)
			return false; /* next to nothing */
		unit *= 10;
	}
	rest = *out % unit;
	*out /= unit;
	if (rest > unit / 2) {
		*out += 1;
		rest = unit - rest;
	}
	return *out > 0 && rest * 1000 <= unit;
}

bool
price_parse_json(
    struct slice number, int power, int64_t *pusd, struct fault *why)
{
	int shown = (int)(number.len > 64 ? 64 : number.len);
	struct decimal d;
	__int128 n;

	if (!read_json_number(number, &d))
		return fault_set(why, "%.*s is no price", shown, number.p);
	d.exponent += power;
	if (!to_whole(&d, &n))
		return fault_set(why,
		    "%.*s is finer than a pico-dollar a token", shown,
		    number.p);
	if (!check_most(n, why))
		return false;
	*pusd = (int64_t)n;
	return true;
}

/* Takes the last digit off.  Nearly all amounts fit 64 bits, whose division is
 * several times faster. */
static char
take_digit(unsigned __int128 *n)
{
	uint64_t small = (uint64_t)*n;
	char digit;

	if (*n == small) {
		digit = (char)('0' + (int)(small % 10));
		*n = small / 10;
	} else {
		digit = (char)('0' + (int)(*n % 10));
		*n /= 10;
	}
	return digit;
}

/* Writes the digits of n / 10^decimals, without a sign. */
static void
write_decimal(char *out, size_t room, unsigned __int128 n, int decimals)
{
	char text[MONEY_TEXT_BYTES];
	char *p = text + sizeof text;
	size_t len;

	*--p = '\0';
	for (int i = 0; n > 0 || i <= decimals; i++) {
		if (i == decimals && decimals > 0)
			*--p = '.';
		*--p = take_digit(&n);
	}
	len = (size_t)(text + sizeof text - p);
	assert(len <= room);
	memcpy(out, p, len);
}

/* Writes the sign, moves behind it and returns the amount without it. */
static unsigned __int128
take_sign(char **out, size_t *room, __int128 n)
{
	if (n >= 0)
		return (unsigned __int128)n;
	*(*out)++ = '-';
	--*room;
	return -(unsigned __int128)n;
}

void
money_format(char out[MONEY_TEXT_BYTES], __int128 pusd)
{
	size_t room = MONEY_TEXT_BYTES;
	unsigned __int128 n = take_sign(&out, &room, pusd);

	write_decimal(out, room, n, MONEY_DECIMALS);
}

/* Takes the zeros off that nobody needs to see. */
static void
trim_zeros(char *text)
{
	size_t len = strlen(text);
	const char *point = strchr(text, '.');

	while (text[len - 1] == '0' && text + len > point + 3)
		text[--len] = '\0';
}

void
price_format(char out[MONEY_TEXT_BYTES], int64_t pusd)
{
	write_decimal(
	    out, MONEY_TEXT_BYTES, (unsigned __int128)pusd, PRICE_DECIMALS);
	trim_zeros(out);
}

void
money_format_plain(char out[MONEY_TEXT_BYTES], __int128 pusd)
{
	money_format(out, pusd);
	trim_zeros(out);
}

bool
money_parse(struct slice text, __int128 *pusd)
{
	bool is_negative = text.len > 0 && text.p[0] == '-';
	__int128 n;

	if (is_negative) {
		text.p++;
		text.len--;
	}
	if (!read_decimal(text, MONEY_DECIMALS, &n))
		return false;
	*pusd = is_negative ? -n : n;
	return true;
}

void
money_format_short(char out[MONEY_TEXT_BYTES], __int128 pusd)
{
	const int64_t cent = PUSD_PER_USD / 100, tiny = PUSD_PER_USD / 10000;
	size_t room = MONEY_TEXT_BYTES;
	unsigned __int128 n = take_sign(&out, &room, pusd);
	unsigned __int128 in_tiny = (n + (unsigned)(tiny / 2)) / (unsigned)tiny;

	if (n > 0 && in_tiny == 0) {
		/* Not nothing, so it must not read like nothing. */
		snprintf(out, room, "<$0.0001");
		return;
	}
	*out++ = '$';
	room--;
	if (in_tiny > 0 && in_tiny < 100)
		write_decimal(out, room, in_tiny, 4);
	else
		write_decimal(out, room,
		    (n + (unsigned __int128)(cent / 2)) /
			(unsigned __int128)cent,
		    2);
}
