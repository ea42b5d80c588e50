#include "cli/user_uses.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/mem.h"
#include "cli/report_source.h"
#include "cli/selection.h"
#include "cli/when.h"
#include "metering/reports/report.h"

#include "base/banned.h"

struct user_uses {
	int64_t begin_ms[PERIOD_COUNT];
	struct report *ever; /* owned; by user */
	struct report *days; /* owned; by day, user and model, since the first
				of those periods */
};

static int64_t
first_of(const int64_t *ms, size_t count)
{
	int64_t first = ms[0];

	for (size_t i = 1; i < count; i++)
		if (ms[i] < first)
			first = ms[i];
	return first;
}

static void
find_periods(struct user_uses *u, bool is_utc, int64_t now_ms)
{
	static const enum report_period periods[PERIOD_COUNT] = {
	    [PERIOD_DAY] = REPORT_DAILY,
	    [PERIOD_WEEK] = REPORT_WEEKLY,
	    [PERIOD_MONTH] = REPORT_MONTHLY,
	};

	for (unsigned p = 0; p < PERIOD_COUNT; p++)
		u->begin_ms[p] =
		    report_period_start(periods[p], is_utc, now_ms);
}

static bool
fill(struct user_uses *u, const struct selection *s, struct fault *why)
{
	struct report_query q = {
	    .is_utc = s->is_utc,
	    .filter = s->filter,
	    .by = {ROLLUP_USER, ROLLUP_MODEL},
	    .by_count = 1,
	};
	struct report_found found;

	u->ever = report_create(&q);
	q.period = REPORT_DAILY;
	q.filter.since_ms = first_of(u->begin_ms, PERIOD_COUNT);
	q.by_count = 2;
	u->days = report_create(&q);
	if (!report_fill(u->ever, s, false, &found, why) ||
	    !report_fill(u->days, s, false, &found, why))
		return false;
	report_finish(u->ever);
	report_finish(u->days);
	return true;
}

/* Makes `zone` the process's own, or with NULL what the machine says. */
static void
restore_zone(const char *zone)
{
	if (zone != NULL)
		setenv("TZ", zone, 1);
	else
		unsetenv("TZ");
	tzset();
}

struct user_uses *
user_uses_read(const struct config *config, const char *user, int64_t now_ms)
{
	const char *zone = config->server.timezone, *here = getenv("TZ");
	char *zone_here = here == NULL ? NULL : xstrdup(here);
	struct user_uses *u = xcalloc(sizeof *u);
	struct selection s;
	struct fault why;
	bool ok;

	selection_init(&s, now_ms);
	s.filter.only[ROLLUP_USER] = user;
	s.ledger = xstrdup(config->ledger.path);
	s.state_dir = xstrdup(config->server.state_dir);
	ok = zone_use(zone == NULL ? "UTC" : zone, &s.is_utc, &why);
	if (ok) {
		find_periods(u, s.is_utc, now_ms);
		ok = fill(u, &s, &why);
	}
	if (!ok) {
		fprintf(stderr, "weir user: what was used is not known: %s\n",
		    why.text);
		user_uses_destroy(&u);
	}
	selection_release(&s);
	restore_zone(zone_here); /* times are shown as people here have them */
	free(zone_here);
	return u;
}

void
user_uses_destroy(struct user_uses **up)
{
	if (*up == NULL)
		return;
	report_destroy(&(*up)->ever);
	report_destroy(&(*up)->days);
	free(*up);
	*up = NULL;
}

static bool
is_name(const char *name, const char *wanted)
{
	return wanted == NULL || (name != NULL && strcmp(name, wanted) == 0);
}

struct rollup_sums
user_uses_in(const struct user_uses *u, enum period period, const char *user,
    const char *model)
{
	struct rollup_sums sums = {0};

	for (size_t i = 0; i < report_row_count(u->days); i++) {
		const struct report_row *row = report_row(u->days, i);

		if (row->start_ms >= u->begin_ms[period] &&
		    is_name(row->group[0], user) &&
		    is_name(row->group[1], model))
			rollup_sums_add(&sums, &row->sums);
	}
	return sums;
}

int64_t
user_uses_last_ms(const struct user_uses *u, const char *user)
{
	for (size_t i = 0; i < report_row_count(u->ever); i++)
		if (is_name(report_row(u->ever, i)->group[0], user))
			return report_row(u->ever, i)->sums.last_ms;
	return 0;
}
