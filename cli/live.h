/*
 * live.h - what only a running gateway knows of users: its document of the
 * gate, looked up by name.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "auth/limits.h"
#include "base/attr.h"
#include "base/text.h"
#include "conf/config.h"

struct live;

/* One user's account, or the user's at one model. */
struct live_account {
	int64_t in_flight;               /* requests */
	int64_t rate_used[LIMIT_COUNT];  /* of the limits a minute; -1: it is
					    none of them, or is unlimited */
	__int128 fallback[PERIOD_COUNT]; /* pico-dollars */
};

/* Asks the configuration's gateway, or that of $WEIR_SOCKET.  NULL if none
 * runs or it may not be asked; the caller owns it. */
struct live *live_read(const struct config *c);

/* The same from the text of the document; NULL if it is none. */
struct live *live_parse(struct slice json);

/* Frees *lp and sets it to NULL.  *lp may be NULL. */
void live_destroy(struct live **lp);

/* False if nothing is known of it.  `model` NULL: the user's own account.  `l`
 * may be NULL: nothing is known. */
MUST_CHECK bool live_find(const struct live *l, const char *user,
    const char *model, struct live_account *out);
