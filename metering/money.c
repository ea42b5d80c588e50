/* Money as text, both ways.  The door is price.h. */
#include "metering/price.h"

#include <stdio.h>

#include "base/banned.h"

#define MONEY_DECIMALS 12
#define MONEY_WHOLE_DIGITS_MOST 18 /* a hundred million such sums fit */
#define PRICE_DECIMALS 6
#define PRICE_UNIT 1000000 /* 10^PRICE_DECIMALS */

static bool
is_digit(char c)
{
	return c >= '0' && c <= '9';
}

/* Reads digits with at most `decimals` after a point, as a whole number scaled
 * by 10^decimals.  A digit must stand on each side of a point. */
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
		if (i < s.len)
			return false;
	}
	for (; decimals > 0; decimals--)
		n *= 10;
	*out = n;
	return true;
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
	if (n > (__int128)PRICE_MOST_USD_PER_MILLION * PRICE_UNIT)
		return fault_set(why,
		    "a price of more than $%d a million tokens cannot be meant",
		    PRICE_MOST_USD_PER_MILLION);
	/* A millionth of a dollar a million tokens is a pico-dollar a token. */
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

	*--p = '\0';
	for (int i = 0; n > 0 || i <= decimals; i++) {
		if (i == decimals && decimals > 0)
			*--p = '.';
		*--p = take_digit(&n);
	}
	snprintf(out, room, "%s", p);
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
