#include "cli/selection.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/mem.h"
#include "cli/locate.h"
#include "cli/when.h"

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
	s->ledger = s->state_dir = NULL;
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
selection_locate(struct selection *s, const char *command, int *status)
{
	struct config *config = NULL;
	const char *zone = s->zone;
	struct fault why;
	bool ok;

	if (s->given_ledger != NULL) {
		s->ledger = xstrdup(s->given_ledger);
	} else {
		config = command_load_config(s->config, false, status);
		if (config == NULL)
			return false;
		s->ledger = xstrdup(config->ledger.path);
		s->state_dir = xstrdup(config->server.state_dir);
		if (zone == NULL)
			zone = config->server.timezone;
	}
	ok = zone_use(zone == NULL ? "UTC" : zone, &s->is_utc, &why);
	if (!ok) {
		fprintf(stderr, "weir %s: %s\n", command, why.text);
		*status = EXIT_USAGE;
	}
	config_unref(&config);
	return ok;
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
	return true;
}
