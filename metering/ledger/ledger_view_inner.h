/*
 * ledger_view_inner.h - what the two readers behind ledger_view.h share.
 */
#pragma once

#include "metering/ledger/ledger_view.h"

static inline void
view_clear_attempt(struct ledger_view_attempt *a)
{
	*a = (struct ledger_view_attempt){.usage = USAGE_UNKNOWN};
}

/* Decodes what stands between the quotes into the view's memory.  It fits: the
 * line is no longer than that, and nothing grows.  False if an escape is none.
 */
MUST_CHECK bool view_decode(
    struct ledger_view *v, struct slice raw, struct slice *out);

/* Finds a source of usage by its name. */
MUST_CHECK bool view_source(struct slice name, enum usage_source *out);

/* Reads any JSON into a view that is clear. */
MUST_CHECK bool view_read_json(
    struct ledger_view *v, struct slice line, struct fault *why);
