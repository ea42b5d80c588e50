#include "base/clock.h"

#include <stdio.h>
#include <time.h>

#include "base/banned.h"

#define DURATION_MOST_MS (UINT64_C(3653) * 86400000)

uint64_t
clock_mono_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * NS_PER_SECOND + (uint64_t)ts.tv_nsec;
}

int64_t
clock_wall_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_REALTIME, &ts);
	return (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

/* Writes `n` in so many digits; strftime(3) takes ten times as long. */
static char *
put_digits(char *at, unsigned n, int digits)
{
	for (int i = digits - 1; i >= 0; i--) {
		at[i] = (char)('0' + n % 10);
		n /= 10;
	}
	return at + digits;
}

void
clock_format(char out[CLOCK_TEXT_BYTES], int64_t wall_ms)
{
	time_t t = (time_t)(wall_ms / 1000);
	struct tm tm;
	char *at = out;

	gmtime_r(&t, &tm);
	at = put_digits(at, (unsigned)tm.tm_year + 1900, 4);
	*at++ = '-';
	at = put_digits(at, (unsigned)tm.tm_mon + 1, 2);
	*at++ = '-';
	at = put_digits(at, (unsigned)tm.tm_mday, 2);
	*at++ = 'T';
	at = put_digits(at, (unsigned)tm.tm_hour, 2);
	*at++ = ':';
	at = put_digits(at, (unsigned)tm.tm_min, 2);
	*at++ = ':';
	at = put_digits(at, (unsigned)tm.tm_sec, 2);
	*at++ = 'Z';
	*at = '\0';
}

/* Takes exactly `digits` digits off the front of *s. */
static bool
take_number(struct slice *s, size_t digits, int most, int *out)
{
	uint64_t v;

	if (s->len < digits ||
	    !text_to_u64((struct slice){s->p, digits}, (uint64_t)most, &v))
		return false;
	s->p += digits;
	s->len -= digits;
	*out = (int)v;
	return true;
}

static bool
take_char(struct slice *s, char c)
{
	if (s->len == 0 || s->p[0] != c)
		return false;
	s->p++;
	s->len--;
	return true;
}

/* The fraction of a second, in ms; more digits than three are dropped. */
static int
take_fraction(struct slice *s)
{
	int ms = 0, weight = 100;

	if (!take_char(s, '.'))
		return 0;
	while (s->len > 0 && s->p[0] >= '0' && s->p[0] <= '9') {
		ms += (s->p[0] - '0') * weight;
		weight /= 10;
		s->p++;
		s->len--;
	}
	return ms;
}

static bool
take_offset(struct slice *s, int64_t *offset_ms)
{
	int hours, minutes, sign;

	*offset_ms = 0;
	if (take_char(s, 'Z') || take_char(s, 'z'))
		return true;
	if (s->len == 0 || (s->p[0] != '+' && s->p[0] != '-'))
		return false;
	sign = s->p[0] == '-' ? -1 : 1;
	s->p++;
	s->len--;
	if (!take_number(s, 2, 23, &hours) || !take_char(s, ':') ||
	    !take_number(s, 2, 59, &minutes))
		return false;
	*offset_ms = sign * (hours * 60 + minutes) * INT64_C(60000);
	return true;
}

bool
clock_parse(struct slice s, int64_t *wall_ms)
{
	struct tm tm = {0}, back;
	int64_t offset_ms = 0;
	int ms = 0;
	time_t t;

	if (!take_number(&s, 4, 9999, &tm.tm_year) || !take_char(&s, '-') ||
	    !take_number(&s, 2, 12, &tm.tm_mon) || !take_char(&s, '-') ||
	    !take_number(&s, 2, 31, &tm.tm_mday))
		return false;
	if (s.len > 0) {
		if (!(take_char(&s, 'T') || take_char(&s, ' ')) ||
		    !take_number(&s, 2, 23, &tm.tm_hour) ||
		    !take_char(&s, ':') ||
		    !take_number(&s, 2, 59, &tm.tm_min) ||
		    !take_char(&s, ':') || !take_number(&s, 2, 60, &tm.tm_sec))
			return false;
		ms = take_fraction(&s);
		if (!take_offset(&s, &offset_ms) || s.len > 0)
			return false;
	}
	tm.tm_year -= 1900;
	tm.tm_mon -= 1;
	back = tm;
	t = timegm(&back);
	if (back.tm_mday != tm.tm_mday || back.tm_mon != tm.tm_mon)
		return false; /* the 31st of June */
	*wall_ms = (int64_t)t * 1000 + ms - offset_ms;
	return true;
}

bool
duration_parse(struct slice s, uint64_t *ms)
{
	static const struct {
		const char *unit;
		uint64_t ms;
	} units[] = {{"ms", 1}, {"s", 1000}, {"m", 60000}, {"h", 3600000},
	    {"d", 86400000}};
	size_t digits = 0;
	uint64_t n;

	while (digits < s.len && s.p[digits] >= '0' && s.p[digits] <= '9')
		digits++;
	for (size_t i = 0; i < COUNT_OF(units); i++) {
		struct slice unit = {s.p + digits, s.len - digits};

		if (!slice_is(unit, units[i].unit))
			continue;
		if (!text_to_u64((struct slice){s.p, digits},
			DURATION_MOST_MS / units[i].ms, &n))
			return false;
		*ms = n * units[i].ms;
		return true;
	}
	return false;
}

void
duration_format(char out[CLOCK_TEXT_BYTES], uint64_t ms)
{
	unsigned long long s = ms / 1000;

	if (ms < 1000)
		snprintf(
		    out, CLOCK_TEXT_BYTES, "%llums", (unsigned long long)ms);
	else if (s < 120)
		snprintf(out, CLOCK_TEXT_BYTES, "%llu s", s);
	else if (s < 7200)
		snprintf(out, CLOCK_TEXT_BYTES, "%llu min", s / 60);
	else if (s < 172800)
		snprintf(out, CLOCK_TEXT_BYTES, "%llu h %llu min", s / 3600,
		    s / 60 % 60);
	else
		snprintf(out, CLOCK_TEXT_BYTES, "%llu days", s / 86400);
}
