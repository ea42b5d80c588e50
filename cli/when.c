#include "cli/when.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/file.h"
#include "base/text.h"
#include "metering/reports/report.h"

#include "base/banned.h"

#define DATE_CHARS 10
#define ZONES_FOLDER "/usr/share/zoneinfo"
#define ZONE_MOST_BYTES 128
#define ZONE_FILE_MOST_BYTES (1u << 20)
#define QUARTER_S 900
#define SUGGEST_FROM_BYTES 5 /* what is shorter is near to too much */

/* A zone's file begins with "TZif"; a folder of them, or a list, does not. */
static bool
is_zone(const char *name)
{
	char path[sizeof ZONES_FOLDER + ZONE_MOST_BYTES + 1];
	struct buf text = {0};
	struct fault why;
	bool ok;

	if (name[0] == '\0' || name[0] == '/' || strstr(name, "..") != NULL ||
	    strlen(name) > ZONE_MOST_BYTES)
		return false;
	snprintf(path, sizeof path, "%s/%s", ZONES_FOLDER, name);
	ok = file_read(path, ZONE_FILE_MOST_BYTES, true, &text, &why) &&
	    buf_len(&text) > 4 && memcmp(buf_data(&text), "TZif", 4) == 0;
	buf_release(&text);
	return ok;
}

/* "Berlin" and "Europe/Berln" are near to "Europe/Berlin". */
static bool
is_near(const char *zone, const char *name)
{
	const char *city = strrchr(zone, '/');

	return (city != NULL && strcasecmp(city + 1, name) == 0) ||
	    (strlen(name) >= SUGGEST_FROM_BYTES &&
		text_distance(zone, name, 2) <= 2);
}

/* Looks for what was meant in the system's list; "" if nothing is near. */
static void
suggest(const char *name, char out[ZONE_MOST_BYTES])
{
	char line[512];
	FILE *list = fopen(ZONES_FOLDER "/tzdata.zi", "re");

	out[0] = '\0';
	if (list == NULL)
		return;
	/* Z Europe/Berlin ...       L Europe/Berlin Arctic/Longyearbyen */
	while (out[0] == '\0' && fgets(line, sizeof line, list) != NULL) {
		char kind = line[0], *rest = line + 2, *word;

		if ((kind != 'Z' && kind != 'L') || line[1] != ' ')
			continue;
		rest[strcspn(rest, "\n")] = '\0';
		while ((word = strsep(&rest, " ")) != NULL) {
			if (is_near(word, name)) {
				snprintf(out, ZONE_MOST_BYTES, "%s", word);
				break;
			}
			if (kind == 'Z')
				break;
		}
	}
	fclose(list);
}

bool
zone_use(const char *name, bool *is_utc, struct fault *why)
{
	char near[ZONE_MOST_BYTES];

	*is_utc = strcmp(name, "UTC") == 0;
	if (strcmp(name, "local") == 0 || *is_utc) {
		tzset();
		return true;
	}
	if (is_zone(name)) {
		setenv("TZ", name, 1);
		tzset();
		return true;
	}
	suggest(name, near);
	if (near[0] != '\0')
		return fault_set(why,
		    "'%s' is no time zone; did you mean '%s'?", name, near);
	return fault_set(why,
	    "'%s' is no time zone; it is UTC, local, or a name like "
	    "Europe/Berlin (all: timedatectl list-timezones; package tzdata)",
	    name);
}

bool
zone_is_in_quarters(bool is_utc, int64_t wall_ms)
{
	time_t t = (time_t)(wall_ms / 1000);
	struct tm tm;

	return is_utc || localtime_r(&t, &tm) == NULL ||
	    tm.tm_gmtoff % QUARTER_S == 0;
}

bool
when_parse(const char *flag, const char *text, bool is_utc, int64_t now_ms,
    int64_t *ms, bool *is_ago, struct fault *why)
{
	struct slice s = slice_of(text);
	uint64_t ago_ms;
	struct tm tm;
	time_t t;

	*is_ago = duration_parse(s, &ago_ms);
	if (*is_ago) {
		*ms = now_ms - (int64_t)ago_ms;
		return true;
	}
	if (!clock_parse(s, ms))
		return fault_set(why,
		    "%s takes a duration (24h, 7d), a date (2026-11-01) or a "
		    "time (2026-11-01T09:00:00+01:00), not '%s'",
		    flag, text);
	if (s.len > DATE_CHARS || is_utc)
		return true;
	t = (time_t)(*ms / 1000);
	gmtime_r(&t, &tm);
	tm.tm_isdst = -1;
	tm.tm_hour = 12; /* which every day has once */
	*ms = report_period_start(
	    REPORT_DAILY, false, mktime(&tm) * INT64_C(1000));
	return true;
}
