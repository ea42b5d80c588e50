#include "metering/usage.h"

#include <assert.h>

#include "base/banned.h"

const char *
usage_source_name(enum usage_source s)
{
	static const char *const names[] = {
#define X(name, text, help) text,
	    USAGE_SOURCES(X)
#undef X
	};

	assert(s < COUNT_OF(names));
	return names[s];
}

bool
usage_is_known(const struct usage *u)
{
	return u->input >= 0 || u->output >= 0;
}

#define COST_MOST_PUSD UINT64_C(1000000000000000000) /* a million dollars */
#define PUSD_DIGITS 12                               /* 10^12 to the dollar */
#define PUSD_OF_TICK 100

/* A decimal number as it is read: digits * 10^power. */
struct decimal {
	uint64_t digits;
	int power;
};

static bool
is_digit(char c)
{
	return c >= '0' && c <= '9';
}

/* Digits beyond the seventeenth are left out; their place is not. */
static size_t
read_digits(struct slice s, size_t i, bool is_fraction, struct decimal *d)
{
	for (; i < s.len && is_digit(s.p[i]); i++) {
		bool has_room = d->digits < UINT64_C(10000000000000000);

		if (has_room)
			d->digits = d->digits * 10 + (uint64_t)(s.p[i] - '0');
		d->power += (has_room ? 0 : 1) - (is_fraction ? 1 : 0);
	}
	return i;
}

/* "e-06" from s.p[i] on; a greater one than any number needs is cut. */
static size_t
read_exponent(struct slice s, size_t i, struct decimal *d)
{
	bool is_negative = i + 1 < s.len && s.p[i + 1] == '-';
	int e = 0;

	i += i + 1 < s.len && (s.p[i + 1] == '-' || s.p[i + 1] == '+') ? 2 : 1;
	for (; i < s.len && is_digit(s.p[i]); i++)
		e = e < 1000 ? e * 10 + (s.p[i] - '0') : e;
	d->power += is_negative ? -e : e;
	return i;
}

bool
usage_read_dollars(struct slice s, int64_t *pusd)
{
	struct decimal d = {0, PUSD_DIGITS};
	size_t i = 0;

	if (s.len == 0 || !is_digit(s.p[0]))
		return false;
	i = read_digits(s, i, false, &d);
	if (i < s.len && s.p[i] == '.')
		i = read_digits(s, i + 1, true, &d);
	if (i < s.len && (s.p[i] | 32) == 'e')
		i = read_exponent(s, i, &d);
	if (i < s.len)
		return false;
	for (; d.power > 0 && d.digits <= COST_MOST_PUSD && d.digits > 0;
	     d.power--)
		d.digits *= 10;
	for (; d.power < -1 && d.digits > 0; d.power++)
		d.digits /= 10;
	if (d.power == -1)
		d.digits = (d.digits + 5) / 10;
	if (d.digits > COST_MOST_PUSD)
		return false;
	*pusd = (int64_t)d.digits;
	return true;
}

bool
usage_read_ticks(struct slice number, int64_t *pusd)
{
	uint64_t ticks;

	if (!text_to_u64(number, COST_MOST_PUSD / PUSD_OF_TICK, &ticks))
		return false;
	*pusd = (int64_t)ticks * PUSD_OF_TICK;
	return true;
}

/* Forgets *count if it exceeds `most`; a `most` below 0 is not known. */
static bool
limit(int64_t *count, int64_t most)
{
	if (most < 0 || *count <= most)
		return true;
	*count = -1;
	return false;
}

bool
usage_make_sane(struct usage *u)
{
	bool is_sane = limit(&u->input, USAGE_MOST_TOKENS);

	is_sane &= limit(&u->output, USAGE_MOST_TOKENS);
	is_sane &= limit(&u->cached, u->input);
	is_sane &= limit(&u->reasoning, u->output);
	if (u->input >= 0 && u->cached > 0)
		is_sane &= limit(&u->cache_write, u->input - u->cached);
	else
		is_sane &= limit(&u->cache_write, u->input);
	return is_sane;
}
