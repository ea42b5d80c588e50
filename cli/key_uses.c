#include "cli/key_uses.h"

#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "cli/report_source.h"
#include "cli/selection.h"

#include "base/banned.h"

struct report *
key_uses_read(const struct config *config, int64_t now_ms)
{
	struct report_query q = {
	    .is_utc = true,
	    .filter = ROLLUP_EVERYTHING,
	    .by = {ROLLUP_KEY},
	    .by_count = 1,
	};
	struct report *uses = report_create(&q);
	struct selection s;
	struct report_found found;
	struct fault why;

	selection_init(&s, now_ms);
	s.ledger = xstrdup(config->ledger.path);
	s.state_dir = xstrdup(config->server.state_dir);
	if (report_fill(uses, &s, false, &found, &why)) {
		report_finish(uses);
	} else {
		fprintf(stderr, "weir key: what was used is not known: %s\n",
		    why.text);
		report_destroy(&uses);
	}
	selection_release(&s);
	return uses;
}

const struct rollup_sums *
key_uses_find(const struct report *uses, const char *id)
{
	for (size_t i = 0; i < report_row_count(uses); i++) {
		const struct report_row *row = report_row(uses, i);

		if (row->group[0] != NULL && strcmp(row->group[0], id) == 0)
			return &row->sums;
	}
	return NULL;
}
