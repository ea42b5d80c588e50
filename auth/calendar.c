#include "auth/calendar.h"

#include <time.h>

#include "base/banned.h"

#define SECONDS_PER_DAY (24 * 3600)
#define MS_PER_SECOND INT64_C(1000)

static time_t
to_seconds(int64_t wall_ms)
{
	return wall_ms / MS_PER_SECOND - (wall_ms % MS_PER_SECOND < 0);
}

static struct tm
local(time_t t)
{
	struct tm tm = {0};

	localtime_r(&t, &tm);
	return tm;
}

static long
offset_at(time_t t)
{
	return local(t).tm_gmtoff;
}

/* The first moment from `low` on with the offset of `high`; `low` itself if
 * that is not the earlier one. */
static time_t
find_change(time_t low, time_t high)
{
	long after = offset_at(high);

	while (low < high) {
		time_t middle = low + (high - low) / 2;

		if (offset_at(middle) == after)
			high = middle;
		else
			low = middle + 1;
	}
	return low;
}

/* When a date begins; it need not exist.  Not mktime(): asked for a midnight
 * that is skipped or comes twice, its answer depends on what it was asked
 * before. */
static time_t
first_moment(struct tm date)
{
	time_t midnight, early, late;
	long before, after;

	date.tm_hour = date.tm_min = date.tm_sec = 0;
	midnight = timegm(&date);
	before = offset_at(midnight - SECONDS_PER_DAY);
	after = offset_at(midnight + SECONDS_PER_DAY);
	early = midnight - before;
	late = midnight - after;
	if (offset_at(early) == before)
		return early; /* also the first of two */
	/* Clocks are put forward over it; or else they were changed earlier on
	 * the day before, and the late one it is. */
	return find_change(late, early);
}

static struct span
span_of_date(enum period p, struct tm date)
{
	struct tm next;

	if (p == PERIOD_WEEK)
		date.tm_mday -= (date.tm_wday + 6) % 7;
	else if (p == PERIOD_MONTH)
		date.tm_mday = 1;
	next = date;
	if (p == PERIOD_MONTH)
		next.tm_mon += 1;
	else
		next.tm_mday += p == PERIOD_WEEK ? 7 : 1;
	return (struct span){first_moment(date) * MS_PER_SECOND,
	    first_moment(next) * MS_PER_SECOND};
}

struct span
calendar_span(enum period p, int64_t wall_ms)
{
	struct span s = span_of_date(p, local(to_seconds(wall_ms)));

	/* Clocks that are put back from after midnight to before it show the
	 * old date again for minutes that are the new one's. */
	if (wall_ms >= s.end_ms)
		s = span_of_date(p, local(to_seconds(s.end_ms)));
	return s;
}
