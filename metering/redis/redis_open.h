/*
 * redis_open.h - the scripts behind limits that several gateways share: what is
 * open (reserved and not in the counters yet), rates, slots, and who is alive.
 *
 * Used is what the follower has counted; held is what is open.  The follower's
 * script takes a reservation away together with counting its line, so that
 * nothing is in both or in neither.  Every script looks at everything before it
 * writes anything.  The keys do not belong to an epoch: when the counters are
 * made anew, requests that are under way still hold what they hold.
 *
 * All take the same first words:
 * KEYS 1 epoch, 2 workers:GATEWAY, 3 open:GATEWAY, 4 held, 5 leases
 * ARGV 1 tag, 2 gateway, 3 the worker's number, 4 its join,
 *      5 no later than (us of Redis's clock; "": whenever)
 * and may answer `join` (this worker is unknown: what it had may be gone; it
 * must join and say again what it holds) or `late`.
 */
#pragma once

/* Takes rates and holds amounts, all or nothing.  An amount stands for what the
 * request holds in all of that subject, kind and period, so that doing it twice
 * is doing it once; and rates are not taken again by a request that has a
 * reservation.
 * ARGV 6 the request's id, 7 check | force (fits or not),
 *      8 the epoch whose counters are whole ("": they need not be),
 *      9 how many rates; then of each
 *        subject, bucket, ns a cell, cells of the burst, cost
 *      then of each amount
 *        subject, tokens | money | fallback, begin, end of the period (ms),
 *        most ("": unlimited), amount
 * -> ok | rate, i, ns to wait (-1: never) | amount, i, used, held
 *    | epoch | damaged; ok and the refusals: then the us of Redis's clock and
 *    each rate's debt in ns */
extern const char redis_script_take[];

/* A request has ended: gives back rates that it has not used.
 * ARGV 6 id, 7 line (its line will come, and take the reservation) | none,
 *      8 the subject of its slot ("": none), then of each rate
 *        subject, bucket, ns a cell, cells to give back (less than 0: to take)
 * -> ok */
extern const char redis_script_settle[];

/* A slot of a subject's `concurrent`: freed by settling, by
 * redis_script_slot_give, or when the gateway's lease has lapsed.
 * ARGV 6 id, 7 check | force, 8 subject, 9 most
 * -> ok, taken | full, taken */
extern const char redis_script_slot_take[];

/* ARGV 6 id, 7 subject -> ok */
extern const char redis_script_slot_give[];

/* The worker's join begins; those of the gateway's earlier starts end.
 * ARGV 6 writer, 7 ms of the lease -> ok, us of Redis's clock */
extern const char redis_script_join[];

/* It has said again what it holds, and is alive.
 * ARGV 6 writer, 7 ms of the lease, 8 run of the server
 * -> ok, us of Redis's clock, gateways alive */
extern const char redis_script_alive[];

/* Takes away reservations whose line is counted or will never come: ended, or
 * of a join that is over, REDIS_SWEEP_MS ago.  Only for who knows that all
 * lines until then are counted.
 * ARGV 6 REDIS_SWEEP_MS -> ok, how many */
extern const char redis_script_sweep[];

#define REDIS_SWEEP_MS 60000

/* Gives up what a gateway that does not come back holds; at most a thousand
 * reservations at once.
 * KEYS open:GATEWAY, workers:GATEWAY, leases; ARGV tag, gateway
 * -> ok, how many, whether there are more | alive, ms of its lease */
extern const char redis_script_forget[];
