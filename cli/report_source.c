#include "cli/report_source.h"

#include <inttypes.h>
#include <stdio.h>
#include <unistd.h>

#include "base/clock.h"
#include "cli/locate.h"
#include "cli/when.h"
#include "metering/reports/report_raw.h"
#include "metering/reports/report_stored.h"
#include "metering/reports/rollup_keeper.h"

#include "base/banned.h"

#define DAMAGE_TOLD_MOST 10
#define PROGRESS_AFTER_NS (NS_PER_SECOND / 2)

/* Who is told while the ledger is read. */
struct watch {
	uint64_t damages;
	uint64_t begun_ns;
	bool has_progress; /* a line of it stands on the terminal */
};

static void
clear_progress(struct watch *w)
{
	if (w->has_progress)
		fputs("\r\033[K", stderr);
	w->has_progress = false;
}

static void
on_damage(void *arg, const char *path, uint64_t line, const char *why)
{
	struct watch *w = arg;

	clear_progress(w);
	if (++w->damages <= DAMAGE_TOLD_MOST)
		fprintf(stderr, "%s:%" PRIu64 ": not counted: %s\n", path, line,
		    why);
}

static void
on_progress(void *arg, uint64_t done, uint64_t all)
{
	struct watch *w = arg;
	uint64_t ns = clock_mono_ns() - w->begun_ns;
	double share, left;

	if (ns < PROGRESS_AFTER_NS || done == 0 || all == 0)
		return;
	share = (double)done / (double)all;
	if (share > 1)
		share = 1;
	left = (double)ns / 1e9 * (1 - share) / share;
	fprintf(stderr,
	    "\rReading the ledger: %3.0f%%, %.1f GB, %.0f s left\033[K",
	    100 * share, (double)all / 1e9, left);
	w->has_progress = true;
}

static bool
is_quarter(int64_t ms)
{
	return ms == INT64_MIN || ms == INT64_MAX ||
	    ms % ROLLUP_QUARTER_MS == 0;
}

/* Whether sums of quarters of an hour can answer it. */
static bool
may_use_rollups(const struct report *r, const struct selection *s)
{
	const struct report_query *q = report_query(r);
	const struct rollup_filter *f = &q->filter;

	if (s->state_dir == NULL || !is_quarter(f->since_ms) ||
	    !is_quarter(f->until_ms))
		return false;
	if (q->period == REPORT_ALL ||
	    (zone_is_in_quarters(q->is_utc, s->now_ms) &&
		(f->since_ms == INT64_MIN ||
		    zone_is_in_quarters(q->is_utc, f->since_ms))))
		return true;
	fputs("This zone is not whole quarters of an hour from UTC: all of the "
	      "ledger is read.\n",
	    stderr);
	return false;
}

static bool
fill_raw(struct report *r, const struct selection *s,
    struct report_found *found, struct fault *why)
{
	struct watch w = {.begun_ns = clock_mono_ns()};
	struct report_raw_found raw;
	struct report_raw_options o = {
	    .on_damage = on_damage,
	    .on_progress = isatty(STDERR_FILENO) ? on_progress : NULL,
	    .arg = &w,
	};
	bool ok = report_raw(r, s->ledger, &o, &raw, why);

	clear_progress(&w);
	found->has_ledger = raw.segments > 0;
	found->damaged = raw.damaged;
	return ok;
}

bool
report_fill(struct report *r, const struct selection *s, bool is_raw,
    struct report_found *found, struct fault *why)
{
	struct watch w = {0};

	*found = (struct report_found){.has_ledger = true};
	if (is_raw || !may_use_rollups(r, s))
		return fill_raw(r, s, found, why);
	switch (report_stored(
	    r, s->state_dir, s->ledger, on_damage, &w, &found->damaged, why)) {
	case REPORT_STORED:
		return true;
	case REPORT_STORED_FAILED:
		return false;
	case REPORT_NOT_STORED:
		break;
	}
	if (why->text[0] != '\0')
		fprintf(stderr,
		    "All of the ledger is read, for the kept sums cannot be: "
		    "%s.  weir report rebuild\n",
		    why->text);
	return fill_raw(r, s, found, why);
}

uint64_t
report_look_for(const struct selection *s, const struct rollup_filter *f,
    bool is_raw, int64_t *last_ms)
{
	struct report_query q = {
	    .period = REPORT_ALL, .is_utc = true, .filter = *f};
	struct report *r = report_create(&q);
	struct report_raw_options o = {0};
	enum report_stored stored = REPORT_NOT_STORED;
	struct report_raw_found raw;
	uint64_t damaged, requests = 0;
	struct fault why;

	if (!is_raw && s->state_dir != NULL && is_quarter(f->since_ms) &&
	    is_quarter(f->until_ms))
		stored = report_stored(
		    r, s->state_dir, s->ledger, NULL, NULL, &damaged, &why);
	if (stored == REPORT_STORED ||
	    (stored == REPORT_NOT_STORED &&
		report_raw(r, s->ledger, &o, &raw, &why))) {
		report_finish(r);
		requests = report_total(r)->sums.requests;
		*last_ms = report_total(r)->sums.last_ms;
	}
	report_destroy(&r);
	return requests;
}

int
report_rebuild(const struct selection *s)
{
	struct rollup_keeper_options o = {
	    .state_dir = s->state_dir,
	    .ledger_path = s->ledger,
	};
	struct rollup_rebuilt done;
	struct fault why;

	if (s->state_dir == NULL) {
		fputs("weir report rebuild: the sums belong to a configuration:"
		      " -c FILE instead of --ledger.\n",
		    stderr);
		return EXIT_USAGE;
	}
	if (!rollup_rebuild(&o, &done, &why)) {
		fprintf(stderr,
		    "weir report rebuild: %s\n"
		    "If a gateway runs, stop it first: it keeps the sums.  "
		    "Beside it: weir report --raw\n",
		    why.text);
		return EXIT_FAILED;
	}
	fprintf(stderr,
	    "Counted %" PRIu64 " line%s of the ledger into %zu month%s.\n",
	    done.lines, done.lines == 1 ? "" : "s", done.months,
	    done.months == 1 ? "" : "s");
	if (done.kept_quarters > 0)
		fprintf(stderr,
		    "Kept %zu quarter%s of an hour whose segments are gone.\n",
		    done.kept_quarters, done.kept_quarters == 1 ? "" : "s");
	return EXIT_OK;
}
