/*
 * agree.h - the same limits over several gateways (`limits: {scope: shared}`):
 * what a request takes here it takes in Redis, too.
 *
 * Each function is called when the gate of this gateway has said yes, so what
 * it refuses costs no question.  Where Redis is unknown (gone, slow, its sums
 * not whole) rates and tokens fall back to this gateway's part, 1/N of them for
 * the N gateways last seen; money for paid routes fails closed, but for
 * limits.unverified_usd; and what is free is served.
 */
#pragma once

#include <stdbool.h>

#include "auth/account.h"
#include "base/attr.h"
#include "proxy/exchange_steps.h"

struct exchange;
struct route_config;
struct worker;

/* Makes and ends a worker's part of it; nothing if limits are local.  False
 * with the reason. */
MUST_CHECK bool agree_open(struct worker *w, struct fault *why);
void agree_close(struct worker *w);

/* The steps SHARE (rates and tokens), PAY (money for x->candidate, which is
 * refused by going back to ROUTE) and SLOT (one of the user's `concurrent`; if
 * there is none it waits).  Where limits are local they go on at once. */
enum next step_share(struct exchange *x);
enum next step_pay(struct exchange *x);
enum next step_slot(struct exchange *x);

/* The paid route is not taken, or has failed: what it might have cost is not
 * held any more, what earlier ones did cost is. */
void agree_unpay(struct exchange *x);

/* The running counts have passed what is held. */
void agree_grow(struct exchange *x, int64_t tokens, int64_t pusd);

/* The user's slot is given back: the place that it was for is, or its client
 * has gone. */
void agree_give_slot(struct exchange *x);

/* It goes on under another id, x->id, which its line will have. */
void agree_rename(struct exchange *x);

/* The end of what it holds; `use` NULL: it was not served. */
void agree_settle(struct exchange *x, const struct account_use *use);
