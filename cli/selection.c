#include "cli/selection.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/mem.h"
#include "cli/locate.h"
#include "cli/when.h"
#include "metering/ledger/ledger_segments.h"

#include "base/banned.h"

void
selection_init(struct selection *s, int64_t now_ms)
{
	*s = (struct selection){.now_ms = now_ms, .filter = ROLLUP_EVERYTHING};
}

void
selection_release(struct selection *s)
{
	free(s->ledger);
	free(s->state_dir);
	free(s->in_config);
	free(s->zone_name);
	s->ledger = s->state_dir = s->in_config = s->zone_name = NULL;
}

bool
selection_take(struct selection *s, int option, const char *value)
{
	if (option == 'c') {
		s->config = value;
		return true;
	}
	switch ((enum selection_flag)option) {
	case SELECTION_SINCE:
		s->since = value;
		return true;
	case SELECTION_UNTIL:
		s->until = value;
		return true;
	case SELECTION_USER:
		s->filter.only[ROLLUP_USER] = value;
		return true;
	case SELECTION_MODEL:
		s->filter.only[ROLLUP_MODEL] = value;
		return true;
	case SELECTION_UPSTREAM:
		s->filter.only[ROLLUP_UPSTREAM] = value;
		return true;
	case SELECTION_KEY:
		s->filter.only[ROLLUP_KEY] = value;
		return true;
	case SELECTION_TZ:
		s->zone = value;
		return true;
	case SELECTION_LEDGER:
		s->given_ledger = value;
		return true;
	case SELECTION_NEXT:
		break;
	}
	return false;
}

bool
selection_has_ledger(const struct selection *s)
{
	struct segments *all;
	struct fault ignored;
	bool has;

	if (access(s->ledger, F_OK) == 0 ||
	    (errno != ENOENT && errno != ENOTDIR))
		return true; /* who reads it will say what is wrong with it */
	all = segments_list(s->ledger, &ignored);
	has = all != NULL && segments_count(all) > 0;
	segments_destroy(&all);
	return has;
}

static bool
take_given_ledger(struct selection *s, const char *command, int *status)
{
	s->ledger = xstrdup(s->given_ledger);
	if (selection_has_ledger(s))
		return true;
	fprintf(
	    stderr, "weir %s: there is no ledger at %s\n", command, s->ledger);
	*status = EXIT_NOT_FOUND;
	return false;
}

static bool
take_config(struct selection *s, int *status)
{
	struct config *config = command_load_config(s->config, false, status);
	const char *user = s->filter.only[ROLLUP_USER];

	if (config == NULL)
		return false;
	s->ledger = xstrdup(config->ledger.path);
	s->state_dir = xstrdup(config->server.state_dir);
	s->in_config = xstrdup(config->path);
	if (config->server.timezone != NULL)
		s->zone_name = xstrdup(config->server.timezone);
	s->is_user_configured =
	    user != NULL && config_user(config, slice_of(user)) != NULL;
	config_unref(&config);
	return true;
}

bool
selection_locate(struct selection *s, const char *command, int *status)
{
	struct fault why;

	if (s->given_ledger != NULL ? !take_given_ledger(s, command, status)
				    : !take_config(s, status))
		return false;
	if (s->zone != NULL || s->zone_name == NULL) {
		free(s->zone_name);
		s->zone_name = xstrdup(s->zone != NULL ? s->zone : "UTC");
	}
	if (zone_use(s->zone_name, &s->is_utc, &why))
		return true;
	fprintf(stderr, "weir %s: %s\n", command, why.text);
	*status = EXIT_USAGE;
	return false;
}

bool
selection_set_times(struct selection *s, int64_t step_ms, struct fault *why)
{
	struct rollup_filter *f = &s->filter;
	bool is_ago;

	if (s->since != NULL) {
		if (!when_parse("--since", s->since, s->is_utc, s->now_ms,
			&f->since_ms, &is_ago, why))
			return false;
		if (is_ago)
			f->since_ms = rollup_start(step_ms, f->since_ms);
	}
	if (s->until == NULL)
		return true;
	if (!when_parse("--until", s->until, s->is_utc, s->now_ms, &f->until_ms,
		&is_ago, why))
		return false;
	if (is_ago)
		f->until_ms = rollup_start(step_ms, f->until_ms);
	if (f->since_ms > f->until_ms)
		return fault_set(why, "--since %s is later than --until %s",
		    s->since, s->until);
	return true;
}

void
selection_tell_no_ledger(const struct selection *s)
{
	fprintf(stderr,
	    "There is no ledger at %s yet: `weir serve` makes it.\n",
	    s->ledger);
}

void
selection_tell_no_user(const struct selection *s)
{
	const char *user = s->filter.only[ROLLUP_USER];

	if (s->in_config != NULL)
		fprintf(stderr, "There is no user %s in %s or in %s.\n", user,
		    s->in_config, s->ledger);
	else
		fprintf(
		    stderr, "There is no user %s in %s.\n", user, s->ledger);
}
