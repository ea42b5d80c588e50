/*
 * exchange_steps.h - the way of a request: one table, one function a step.
 *
 * X(name, file, what it does).  A step's function returns NEXT to go on with
 * the step that exchange->step names then, WAIT when a callback will run it
 * again, or OVER when the exchange has ended.
 */
#pragma once

#define EXCHANGE_STEPS(X)                                             \
	X(RECEIVE, "receive.c", "the body is read")                   \
	X(ADMIT, "admit.c", "model, limits: may this user ask this?") \
	X(SHARE, "agree.c", "the same, over all gateways")            \
	X(ROUTE, "route.c", "the next upstream that may be asked")    \
	X(PAY, "agree.c", "its price, over all gateways")             \
	X(GATE, "queue.c", "a place at it, now or after a wait")      \
	X(SLOT, "agree.c", "one of the user's, over all gateways")    \
	X(FORWARD, "forward.c", "a connection; the request is sent")  \
	X(RELAY, "relay.c", "the answer passes")

enum step {
#define X(name, file, help) STEP_##name,
	EXCHANGE_STEPS(X)
#undef X
};

enum next { NEXT, WAIT, OVER };
