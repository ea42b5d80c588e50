/*
 * micro.c - what single steps of a request cost, a line each.
 *
 * Run it on a quiet core of a release build: it takes the best of several
 * rounds, since whatever disturbs a round only makes it slower.
 */
#include <openssl/crypto.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "auth/key_table.h"
#include "base/clock.h"
#include "metering/ledger/ledger_line.h"
#include "metering/tap.h"
#include "proxy/body_scan.h"
#include "proxy/gate/gate.h"

#include "base/banned.h"

#define ROUNDS 15
#define ROUND_NS (20 * NS_PER_MS)
#define BODY_BYTES (400 * 1024)

/* Runs the step so many times. */
typedef void (*step_fn)(void *arg, size_t times);

static uint64_t
time_of(step_fn step, void *arg, size_t times)
{
	uint64_t begin = clock_mono_ns();

	step(arg, times);
	return clock_mono_ns() - begin;
}

static void
report(const char *name, step_fn step, void *arg)
{
	uint64_t best = UINT64_MAX;
	size_t times = 1;

	/* As often as fills a round. */
	while (time_of(step, arg, times) < ROUND_NS)
		times *= 2;
	for (int i = 0; i < ROUNDS; i++) {
		uint64_t ns = time_of(step, arg, times);

		if (ns < best)
			best = ns;
	}
	printf("%10.1f ns  %s\n", (double)best / (double)times, name);
}

static void
must(bool ok, const char *what)
{
	if (ok)
		return;
	fprintf(stderr, "weir-micro: %s\n", what);
	exit(1);
}

/* --- the body ------------------------------------------------------------ */

/* A chat of one long message, made of these lines. */
static void
make_body(struct buf *body, const char *line)
{
	buf_clear(body);
	buf_puts(body,
	    "{\"model\":\"m\",\"stream\":true,\"messages\":"
	    "[{\"role\":\"user\",\"content\":\"");
	while (buf_len(body) < BODY_BYTES)
		buf_puts(body, line);
	buf_puts(body, "\"}]}");
}

static void
scan_body(void *arg, size_t times)
{
	const struct buf *body = arg;

	for (size_t i = 0; i < times; i++) {
		struct body_facts facts;
		struct arena arena;
		struct fault why;

		arena_init(&arena);
		must(body_scan(
			 buf_data(body), buf_len(body), &arena, &facts, &why),
		    "the body is refused");
		arena_release(&arena);
	}
}

/* --- an event ------------------------------------------------------------ */

struct stream {
	struct tap tap;
	struct buf events;
	size_t at; /* where the next one begins */
};

/* Events as a server sends them: 200 bytes, alike but for the text, and perhaps
 * with a running count. */
static void
make_events(struct buf *to, bool has_counts)
{
	static const char *const words[] = {" the", "mat", " \\\"over", ".",
	    " jumps", "ing", " l\\u00e4uft", "\\n\\n", " lazy", " a", "3.14",
	    " because"};

	buf_clear(to);
	for (size_t i = 0; i < COUNT_OF(words); i++) {
		buf_printf(to,
		    "data: {\"id\":\"chatcmpl-0123456789abcdef\",\"object\":"
		    "\"chat.completion.chunk\",\"created\":1779978121,"
		    "\"model\":\"mock-model\",\"choices\":[{\"index\":0,"
		    "\"delta\":{\"content\":\"%s\"},\"finish_reason\":"
		    "null}]",
		    words[i]);
		if (has_counts)
			buf_printf(to,
			    ",\"usage\":{\"prompt_tokens\":2100,"
			    "\"total_tokens\":%zu,\"completion_tokens\":%zu,"
			    "\"completion_tokens_details\":null}",
			    2100 + i, i);
		buf_puts(to, "}\n\n");
	}
}

static void
pass_event(void *arg, size_t times)
{
	struct stream *s = arg;
	enum tap_verdict v;

	for (size_t i = 0; i < times; i++) {
		s->at += tap_next(&s->tap, buf_data(&s->events) + s->at,
		    buf_len(&s->events) - s->at, &v);
		must(v == TAP_PASS, "an event is not one");
		if (s->at == buf_len(&s->events))
			s->at = 0;
	}
}

/* --- a key --------------------------------------------------------------- */

struct gatekeeper {
	struct key_table *keys;
	struct key_hasher *hasher;
	char key[KEY_CHARS + 1], remembered[KEY_CHARS + 1];
	const struct key_record *record;
};

static void
make_keys(struct gatekeeper *g)
{
	static const uint8_t pepper[PEPPER_BYTES] = {1, 2, 3};
	uint8_t hash[KEY_HASH_BYTES];
	struct fault why = {""};
	struct buf json = {0};

	must(key_make(g->key, &why), why.text);
	g->hasher = key_hasher_create(pepper);
	key_hash(g->hasher, slice_of(g->key), hash);
	buf_printf(&json,
	    "{\"version\":1,\"keys\":[{\"id\":\"%.*s\",\"user\":\"bob\","
	    "\"hash\":\"",
	    KEY_ID_CHARS, key_id(slice_of(g->key)).p);
	for (size_t i = 0; i < KEY_HASH_BYTES; i++)
		buf_printf(&json, "%02x", hash[i]);
	buf_puts(&json, "\"}]}");
	g->keys = key_table_parse(
	    (struct slice){buf_data(&json), buf_len(&json)}, pepper, &why);
	must(g->keys != NULL, why.text);
	g->record = key_table_at(g->keys, 0);
	memcpy(g->remembered, g->key, sizeof g->key);
	buf_release(&json);
}

static void
check_key(void *arg, size_t times)
{
	struct gatekeeper *g = arg;
	const struct key_record *r;

	for (size_t i = 0; i < times; i++)
		must(key_table_check(g->keys, g->hasher, slice_of(g->key),
			 clock_wall_ms(), &r) == KEY_OK,
		    "the key is refused");
}

/* A connection that has shown the same key before. */
static void
check_remembered_key(void *arg, size_t times)
{
	struct gatekeeper *g = arg;

	for (size_t i = 0; i < times; i++)
		must(CRYPTO_memcmp(g->key, g->remembered, KEY_CHARS) == 0 &&
			key_record_state(g->record, clock_wall_ms()) == KEY_OK,
		    "the key is refused");
}

/* --- the ledger ---------------------------------------------------------- */

static void
write_line(void *arg, size_t times)
{
	struct buf *to = arg;
	struct ledger_line line = {.ts_ms = 1779978121000,
	    .user = "bob",
	    .model = "deepseek-v4-flash",
	    .prompt_tokens = 15000,
	    .completion_tokens = 700,
	    .duration_ms = 12345,
	    .id = "01JW0000000000000000000000",
	    .key = "k7q2m9",
	    .api = "chat",
	    .stream = true,
	    .status = 200,
	    .end = "ok",
	    .usage_source = "upstream",
	    .cached_tokens = 14000,
	    .ttft_ms = 300,
	    .bytes_in = 60000,
	    .bytes_out = 9000,
	    .upstream = "spark",
	    .upstream_model = "deepseek-v4-flash",
	    .client = "openai-python/2.1",
	    .attempt_count = 1};

	line.attempts[0] = (struct ledger_attempt){.upstream = "spark",
	    .result = "ok",
	    .usage = {15000, 700, 14000, -1, -1, -1, -1},
	    .source = USAGE_UPSTREAM};
	for (size_t i = 0; i < times; i++) {
		buf_clear(to);
		ledger_line_write(to, &line);
	}
}

/* --- the gate ------------------------------------------------------------ */

#define USERS 100
#define WAITING 1000

struct door {
	struct gate *gate;
	struct gate_upstream *up;
	struct limits limits;
	struct gate_subject users[USERS];
	struct gate_bell bell;
	struct gate_place *places; /* owned; WAITING and those that are in */
	uint64_t now_ns;
};

static void
on_ring(void *arg)
{
	(void)arg;
}

static void
make_door(struct door *d)
{
	const struct gate_room room = {
	    .max_inflight = 4, .queue_size = 2000, .queue_per_user = 2000};

	d->gate = gate_create();
	d->up = gate_upstream(d->gate, "spark");
	gate_set_room(d->gate, d->up, &room);
	d->limits = limits_none();
	d->limits.most[LIMIT_REQUESTS] = LIMIT_MOST;
	d->limits.most[LIMIT_CONCURRENT] = 8;
	for (size_t i = 0; i < USERS; i++) {
		char name[8];

		snprintf(name, sizeof name, "user%zu", i);
		d->users[i] = (struct gate_subject){
		    gate_account(d->gate, SUBJECT_USER, name, NULL),
		    &d->limits};
	}
	d->bell.ring = on_ring;
	list_init(&d->bell.ready);
	d->places = xcalloc_array(WAITING + 4, sizeof d->places[0]);
}

static void
come(struct door *d, struct gate_place *p, size_t n)
{
	size_t why;
	enum gate_verdict v;

	*p = (struct gate_place){.subjects = {d->users[n % USERS]},
	    .subject_count = 1,
	    .user = n % USERS,
	    .flow = n % 3,
	    .weight = 1,
	    .tokens = 1000 + n * 7919 % 20000,
	    .may_wait = true,
	    .bell = &d->bell};
	v = gate_enter(d->gate, d->up, p, d->now_ns, &why);
	must(v == GATE_GO || v == GATE_LATER, "the gate is closed");
}

/* From claim to settlement, with nobody else there. */
static void
pass_alone(void *arg, size_t times)
{
	const struct account_ask ask = {.input = 1000, .output = 500};
	const struct account_use use = {.input = 1000, .output = 300};
	struct door *d = arg;

	for (size_t i = 0; i < times; i++) {
		int64_t wall_ms = 1779978121000 + (int64_t)(d->now_ns >> 20);
		struct gate_quotas quotas;
		struct gate_claim claim;
		struct refusal refusal;
		size_t refused;

		d->now_ns += NS_PER_MS;
		must(gate_admit(d->gate, d->users, 1, &ask, d->now_ns, wall_ms,
			 &claim, &quotas, &refusal, &refused),
		    "a claim is refused");
		come(d, d->places, 0);
		gate_leave(d->gate, d->places, 1300, d->now_ns);
		gate_settle(d->gate, &claim, &use, d->now_ns, wall_ms);
	}
}

/* One leaves, the next by right is let in, and a new one waits. */
static void
pass_a_crowd(void *arg, size_t times)
{
	struct door *d = arg;
	static size_t n = WAITING + 4;

	for (size_t i = 0; i < times; i++) {
		struct gate_place *p = gate_next_ready(d->gate, &d->bell);

		must(p != NULL, "nobody was let in");
		d->now_ns += NS_PER_MS;
		gate_leave(d->gate, p, 1 + n * 104729 % 20000, d->now_ns);
		come(d, p, n++);
	}
}

static int
by_time(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return (x > y) - (x < y);
}

/* The same step by step: what is promised is a median. */
static void
report_crowd(struct door *d)
{
	enum { SAMPLES = 20001 };
	uint64_t *ns = xcalloc_array(SAMPLES, sizeof *ns);

	for (size_t i = 0; i < WAITING + 4; i++)
		come(d, &d->places[i], i);
	for (size_t i = 0; i < 4; i++)
		gate_leave(d->gate, &d->places[i], 0, d->now_ns);
	for (size_t i = 0; i < 4; i++)
		come(d, &d->places[i], i);
	report("leave and enter, 1000 of 100 users wait", pass_a_crowd, d);
	for (size_t i = 0; i < SAMPLES; i++)
		ns[i] = time_of(pass_a_crowd, d, 1);
	qsort(ns, SAMPLES, sizeof *ns, by_time);
	printf("%10.1f ns  the same, median; 99th percentile %.1f\n",
	    (double)ns[SAMPLES / 2], (double)ns[SAMPLES / 100 * 99]);
	for (size_t i = 0; i < WAITING + 4; i++)
		gate_leave(d->gate, &d->places[i], 0, d->now_ns);
	free(ns);
}

int
main(void)
{
	struct gatekeeper keeper = {0};
	static const struct tap_job job = {.kind = KIND_VLLM,
	    .api = API_CHAT,
	    .is_stream = true,
	    .hides_usage = true,
	    .strips_running = true};
	struct stream *stream = xcalloc(sizeof *stream);
	struct door door = {.now_ns = NS_PER_SECOND};
	struct buf body = {0}, line = {0};

	make_body(&body, "The quick brown fox jumps over the lazy dog. ");
	report("body_scan, 400 KB of plain text", scan_body, &body);
	make_body(&body, "The quick brown fox jumps over the lazy dog.\\n");
	report("body_scan, 400 KB of short lines", scan_body, &body);
	make_events(&stream->events, false);
	tap_init(&stream->tap, &job);
	report("tap_next, an event of 200 bytes", pass_event, stream);
	make_events(&stream->events, true);
	stream->at = 0;
	tap_init(&stream->tap, &job);
	report("tap_next, one with running counts", pass_event, stream);
	make_keys(&keeper);
	report("a key, hashed", check_key, &keeper);
	report("a key, remembered", check_remembered_key, &keeper);
	report("ledger_line_write", write_line, &line);
	make_door(&door);
	report("gate_admit, enter, leave, settle, alone", pass_alone, &door);
	report_crowd(&door);
	free(door.places);
	gate_destroy(&door.gate);
	key_hasher_destroy(&keeper.hasher);
	key_table_unref(&keeper.keys);
	buf_release(&stream->events);
	buf_release(&body);
	buf_release(&line);
	free(stream);
	return 0;
}
