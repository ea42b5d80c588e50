#include "proxy/receive.h"

#include <stdio.h>
#include <string.h>

#include "auth/throttle.h"
#include "base/clock.h"
#include "base/log.h"
#include "proxy/admin.h"
#include "proxy/exchange.h"
#include "proxy/models.h"
#include "proxy/own_usage.h"

#include <openssl/crypto.h>

#include "base/banned.h"

#define LABEL_MOST_BYTES 128 /* of a request id, session, user agent */

enum place {
	PLACE_ROOT,
	PLACE_HEALTH,
	PLACE_READY,
	PLACE_MODELS,
	PLACE_MODEL, /* a prefix: what follows is the id */
	PLACE_KEY,
	PLACE_USAGE,
	PLACE_API,
	PLACE_NONE,
};

struct endpoint {
	const char *path;
	enum place place;
	enum server_api api; /* PLACE_API */
};

/* Exact paths, no decoding.  What is not here is 404. */
static const struct endpoint endpoints[] = {
    {"/v1/chat/completions", PLACE_API, API_CHAT},
    {"/v1/completions", PLACE_API, API_COMPLETIONS},
    {"/v1/embeddings", PLACE_API, API_EMBEDDINGS},
    {"/v1/rerank", PLACE_API, API_RERANK},
    {"/rerank", PLACE_API, API_RERANK},
    {"/v2/rerank", PLACE_API, API_RERANK},
    {"/v1/responses", PLACE_API, API_RESPONSES},
    {"/v1/messages", PLACE_API, API_MESSAGES},
    {"/v1/messages/count_tokens", PLACE_API, API_COUNT_TOKENS},
    {"/v1/models", PLACE_MODELS, API_COUNT},
    {"/v1/key", PLACE_KEY, API_COUNT},
    {"/api/v1/key", PLACE_KEY, API_COUNT},
    {"/api/v1/auth/key", PLACE_KEY, API_COUNT},
    {"/v1/usage", PLACE_USAGE, API_COUNT},
    {"/healthz", PLACE_HEALTH, API_COUNT},
    {"/health", PLACE_HEALTH, API_COUNT},
    {"/readyz", PLACE_READY, API_COUNT},
    {"/", PLACE_ROOT, API_COUNT},
};

#define MODEL_PREFIX "/v1/models/"

static const struct endpoint *
find_endpoint(struct slice path)
{
	static const struct endpoint model = {
	    MODEL_PREFIX, PLACE_MODEL, API_COUNT};
	static const struct endpoint none = {"", PLACE_NONE, API_COUNT};

	for (size_t i = 0; i < COUNT_OF(endpoints); i++)
		if (slice_is(path, endpoints[i].path))
			return &endpoints[i];
	if (slice_starts(path, MODEL_PREFIX))
		return &model;
	return &none;
}

static void
refuse(struct client *c, enum end e, const char *message)
{
	client_refuse(c, e, SLICE(""), slice_of(message));
}

static void
answer_text(struct client *c, int status, const char *text)
{
	client_answer(
	    c, status, "text/plain; charset=utf-8", SLICE(""), slice_of(text));
}

static void
refuse_path(struct client *c, struct slice path)
{
	static const char hint[] = "There is no such path here; base_url must "
				   "end in /v1.";
	char with_v1[64];
	int n = snprintf(with_v1, sizeof with_v1, "/v1%.*s",
	    path.len > 48 ? 48 : (int)path.len, path.p);

	if (find_endpoint((struct slice){with_v1, (size_t)n})->place !=
	    PLACE_NONE)
		refuse(c, END_NOT_FOUND, hint);
	else if (slice_starts(path, "/v1/v1/"))
		refuse(c, END_NOT_FOUND,
		    "There is no such path here; this client adds /v1 by "
		    "itself, so its base_url must not end in /v1.");
	else
		refuse(c, END_NOT_FOUND, "");
}

/* Goes through one X-Forwarded-For from its end, as long as what was found is a
 * proxy of ours.  False if something in it is no address. */
static bool
follow_hops(
    struct slice list, const struct address_list *trusted, struct address *out)
{
	while (list.len > 0 && address_list_has(trusted, out)) {
		const char *comma = memrchr(list.p, ',', list.len);
		struct slice hop = list;

		if (comma != NULL)
			hop = (struct slice){
			    comma + 1, list.len - (size_t)(comma + 1 - list.p)};
		list.len = comma == NULL ? 0 : (size_t)(comma - list.p);
		if (!address_parse(slice_trim(hop), out))
			return false;
	}
	return true;
}

/* The caller's address: the peer's, or, behind proxies that are trusted, the
 * last one in X-Forwarded-For that is not such a proxy; a proxy may add to the
 * field or add a field.  False if that is no address. */
static bool
effective_address(
    const struct client *c, const struct request *r, struct address *out)
{
	const struct address_list *trusted =
	    c->w->snapshot->config->server.trusted_proxies;

	*out = c->peer;
	for (size_t i = r->head->count; i > 0; i--) {
		const struct http_field *f = &r->head->fields[i - 1];

		if (slice_is_nocase(f->name, "x-forwarded-for") &&
		    !follow_hops(f->value, trusted, out))
			return false;
	}
	return true;
}

/* --- the key ------------------------------------------------------------- */

/* Judges the key; a connection that has shown the same bytes before, against
 * the same table, is believed without a hash. */
static enum key_verdict
check_key(struct client *c, struct slice key, const struct key_record **record)
{
	struct worker *w = c->w;
	int64_t now = clock_wall_ms();
	enum key_verdict verdict;

	if (c->credential_generation == w->keys_generation &&
	    key.len == KEY_CHARS &&
	    CRYPTO_memcmp(key.p, c->credential, KEY_CHARS) == 0) {
		*record = c->record;
		return key_record_state(c->record, now);
	}
	verdict = key_table_check(w->keys, w->hasher, key, now, record);
	if (verdict == KEY_OK) {
		memcpy(c->credential, key.p, KEY_CHARS);
		c->credential_generation = w->keys_generation;
		c->record = *record;
	}
	return verdict;
}

static void
refuse_key(
    struct client *c, enum key_verdict verdict, const struct address *from)
{
	uint64_t wait =
	    throttle_wrong_key(c->w->gateway->throttle, from, clock_mono_ns());
	char fields[64];
	const char *message = "";

	if (wait > 0) {
		snprintf(fields, sizeof fields,
		    "retry-after: %llu\r\nx-should-retry: false\r\n",
		    (unsigned long long)(wait / NS_PER_SECOND + 1));
		client_refuse(
		    c, END_KEY_THROTTLED, slice_of(fields), SLICE(""));
		return;
	}
	switch (verdict) {
	case KEY_MISTYPED:
		message = "This API key is mistyped: its check characters do "
			  "not fit. Copy it again, whole.";
		break;
	case KEY_UNKNOWN:
		message = "This API key is unknown here. Ask the gateway's "
			  "owner for one.";
		break;
	case KEY_REVOKED:
		message = "This API key was revoked. Ask the gateway's owner "
			  "for a new one.";
		break;
	case KEY_EXPIRED:
		message = "This API key has expired. Ask the gateway's owner "
			  "for a new one.";
		break;
	case KEY_FOREIGN:
		message = "This is no key of this gateway: they begin with "
			  "sk-weir-.";
		break;
	case KEY_OK:
		message = "The user of this API key is no longer known here.";
		break;
	}
	refuse(c, END_KEY_WRONG, message);
}

/* Finds out who asks.  NULL if they were refused (and answered). */
static const struct user_config *
identify(
    struct client *c, const struct request *r, const struct key_record **record)
{
	const struct config *config = c->w->snapshot->config;
	const struct user_config *user;
	struct address from;
	enum key_verdict verdict;

	*record = NULL;
	if (!effective_address(c, r, &from) ||
	    (!address_list_is_empty(config->server.allow_from) &&
		!address_list_has(config->server.allow_from, &from))) {
		refuse(c, END_ADDRESS, "");
		return NULL;
	}
	if (r->credential.p == NULL) {
		user = config_keyless_user(config, &from);
		if (user == NULL)
			refuse(c, END_KEY_MISSING, "");
		return user;
	}
	verdict = check_key(c, r->credential, record);
	user = verdict != KEY_OK
	    ? NULL
	    : config_user(config, slice_of((*record)->user));
	if (user == NULL) {
		refuse_key(c, verdict, &from);
		return NULL;
	}
	if (!address_list_is_empty(user->from) &&
	    !address_list_has(user->from, &from)) {
		refuse(c, END_ADDRESS,
		    "This key may not be used from this address.");
		return NULL;
	}
	return user;
}

/* --- what goes on to the upstream ---------------------------------------- */

/* Fields of the request that are the client's to say.  Credentials, cookies,
 * hop-by-hop fields and what names a caller stay here. */
static bool
is_forwarded(struct slice name)
{
	static const struct slice names[] = {SLICE_OF("accept"),
	    SLICE_OF("user-agent"), SLICE_OF("accept-language"),
	    SLICE_OF("traceparent"), SLICE_OF("tracestate"),
	    SLICE_OF("openai-beta"), SLICE_OF("http-referer"),
	    SLICE_OF("x-title"), SLICE_OF("x-app"), SLICE_OF("x-session-id")};
	/* Claude Code wants these passed on, also those yet to come. */
	static const struct slice prefixes[] = {SLICE_OF("anthropic-version"),
	    SLICE_OF("anthropic-beta"), SLICE_OF("anthropic-dangerous-"),
	    SLICE_OF("x-claude-code-"), SLICE_OF("x-stainless-")};

	if (slice_is_among_nocase(name, names, COUNT_OF(names)))
		return true;
	for (size_t i = 0; i < COUNT_OF(prefixes); i++) {
		struct slice start = {name.p, prefixes[i].len};

		if (name.len >= start.len &&
		    slice_is_among_nocase(start, &prefixes[i], 1))
			return true;
	}
	return false;
}

/* In lower case, so that they can be looked for. */
static void
put_lower(struct buf *to, struct slice name)
{
	buf_put(to, name.p, name.len);
	for (char *p = to->base + to->end - name.len; name.len > 0;
	     p++, name.len--)
		if (*p >= 'A' && *p <= 'Z')
			*p = (char)(*p | 32);
}

static const char *
forward_fields(struct exchange *x, const struct head *h)
{
	struct buf *text = &x->w->line;

	buf_clear(text);
	for (size_t i = 0; i < h->count; i++) {
		const struct http_field *f = &h->fields[i];

		if (!is_forwarded(f->name))
			continue;
		put_lower(text, f->name);
		buf_put_literal(text, ": ");
		buf_put(text, f->value.p, f->value.len);
		buf_put_literal(text, "\r\n");
	}
	return arena_strndup(&x->arena, buf_data(text), buf_len(text));
}

/* A text of the client's that is only a label: visible ASCII, not too long;
 * NULL if it was not sent or holds anything else. */
static const char *
label(struct exchange *x, struct slice s)
{
	if (s.len == 0)
		return NULL;
	if (s.len > LABEL_MOST_BYTES)
		s.len = LABEL_MOST_BYTES;
	for (size_t i = 0; i < s.len; i++)
		if (s.p[i] <= 0x20 || s.p[i] >= 0x7f || s.p[i] == '"' ||
		    s.p[i] == '\\')
			return NULL;
	return arena_strndup(&x->arena, s.p, s.len);
}

static struct slice
first_word(struct slice s)
{
	const char *blank = memchr(s.p, ' ', s.len);

	return blank == NULL ? s : (struct slice){s.p, (size_t)(blank - s.p)};
}

/* What a client says that it will wait: seconds, as SDKs write them, also "0.5"
 * or "600.0", or a duration with its unit.  0: nothing that makes sense. */
static uint64_t
patience_ms(struct slice s)
{
	const char *dot = s.len == 0 ? NULL : memchr(s.p, '.', s.len);
	uint64_t n, tenths = 0;

	if (duration_parse(s, &n))
		return n;
	if (dot != NULL) {
		struct slice rest = {dot + 1, 1};

		if (dot + 1 == s.p + s.len || !text_to_u64(rest, 9, &tenths))
			return 0;
		s.len = (size_t)(dot - s.p);
	}
	if (!text_to_u64(s, 365 * 24 * 3600, &n))
		return 0;
	n = n * 1000 + tenths * 100;
	/* "0" is what an SDK makes of less than a second. */
	return n == 0 ? 500 : n;
}

static void
note_patience(struct exchange *x, const struct request *r)
{
	uint64_t in_all = patience_ms(r->timeout);

	x->patience_ms = patience_ms(r->read_timeout);
	if (in_all > 0 && (x->patience_ms == 0 || in_all < x->patience_ms))
		x->patience_ms = in_all;
	x->max_ttft_ms = patience_ms(r->max_ttft);
}

static void
note_request(struct exchange *x, const struct request *r)
{
	x->client_request_id = label(x, r->request_id);
	x->session = label(x, r->session);
	x->user_agent =
	    r->user_agent.len == 0 ? NULL : label(x, first_word(r->user_agent));
	x->is_batch = slice_is_nocase(r->class, "batch");
	note_patience(x, r);
	x->query = slice_is(r->query, "beta=true") ? "?beta=true" : "";
	x->is_http11 = r->minor == 1;
	x->forward_fields = forward_fields(x, r->head);
}

/* --- answers ------------------------------------------------------------- */

static void
begin_exchange(struct client *c, const struct request *r, enum server_api api,
    char *p, size_t len)
{
	const struct key_record *record;
	const struct user_config *user;
	struct exchange *x;
	enum end e = END_OK;

	/* Who is refused has their body unread: it is no request. */
	c->closes = true;
	if ((user = identify(c, r, &record)) == NULL)
		return;
	c->closes = !r->keeps_alive;
	x = exchange_create(c, api, user, record);
	note_request(x, r);
	if (r->is_encoded)
		e = END_BODY_ENCODED;
	else if (r->framing == FRAMING_NONE)
		e = END_LENGTH_REQUIRED;
	else if (r->framing == FRAMING_LENGTH &&
	    r->content_length > x->snapshot->config->server.max_body)
		e = END_BODY_TOO_LARGE;
	if (e == END_BODY_TOO_LARGE) {
		exchange_body_broken(x, e);
	} else if (e != END_OK) {
		c->closes = true;
		exchange_end(x, e, "");
	} else {
		client_read_body(
		    c, r->framing, r->content_length, p, len, r->says_continue);
	}
}

static void
answer_models(struct client *c, const struct request *r)
{
	const struct config *config = c->w->snapshot->config;
	struct slice id = {r->path.p + sizeof MODEL_PREFIX - 1, 0};
	const struct key_record *record;
	const struct user_config *user = identify(c, r, &record);
	struct buf body = {0};
	bool is_found = true;

	if (user == NULL)
		return;
	if (slice_starts(r->path, MODEL_PREFIX)) {
		id.len = r->path.len - (sizeof MODEL_PREFIX - 1);
		is_found = models_write_one(user, record, config, id, &body);
	} else {
		models_write_list(user, record, config, &body);
	}
	if (is_found) {
		client_answer(c, 200, "application/json", SLICE(""),
		    (struct slice){buf_data(&body), buf_len(&body)});
	} else {
		buf_puts(&body, "There is no such model for this key.");
		models_write_names(user, record, config, &body);
		client_refuse(c, END_MODEL_UNKNOWN, SLICE(""),
		    (struct slice){buf_data(&body), buf_len(&body)});
	}
	buf_release(&body);
}

/* What the user has used: only here is a query read. */
static void
answer_own_usage(struct client *c, const struct request *r, enum place place)
{
	struct own_usage own = {.snapshot = c->w->snapshot,
	    .gate = c->w->gateway->gate,
	    .rollups = c->w->gateway->rollups,
	    .now_ms = clock_wall_ms()};
	struct usage_query query;
	struct buf body = {0};
	struct fault why;

	own.user = identify(c, r, &own.record);
	if (own.user == NULL)
		return;
	if (place == PLACE_USAGE &&
	    !usage_query_parse(r->query, own.now_ms, &query, &why)) {
		refuse(c, END_BAD_REQUEST, why.text);
		return;
	}
	if (place == PLACE_USAGE)
		own_usage_write_history(&own, &query, &body);
	else
		own_usage_write_key(&own, &body);
	client_answer(c, 200, "application/json", SLICE(""),
	    (struct slice){buf_data(&body), buf_len(&body)});
	buf_release(&body);
}

static bool
is_ready(const struct client *c)
{
	const struct gateway *g = c->w->gateway;

	return __atomic_load_n(&g->is_ready, __ATOMIC_RELAXED) &&
	    !__atomic_load_n(&g->is_draining, __ATOMIC_RELAXED) &&
	    ledger_is_writable(g->ledger);
}

static void
refuse_method(struct client *c, const struct endpoint *e)
{
	client_refuse(c, END_METHOD,
	    e->place == PLACE_API ? SLICE("Allow: POST\r\n")
				  : SLICE("Allow: GET, HEAD\r\n"),
	    SLICE(""));
}

void
receive_request(struct client *c, const struct request *r, char *p, size_t len)
{
	const struct endpoint *e = find_endpoint(r->path);
	bool is_post = r->method == METHOD_POST;

	if (c->w->gateway->is_admin) {
		admin_receive(c, r);
		return;
	}
	c->is_anthropic = slice_starts(r->path, "/v1/messages");
	if (e->place == PLACE_API && is_post) {
		begin_exchange(c, r, e->api, p, len);
		return;
	}
	/* Nothing below reads a body: what follows the head is no request. */
	if (len > 0 || r->content_length > 0 || r->framing == FRAMING_CHUNKED)
		c->closes = true;
	if (e->place == PLACE_NONE) {
		refuse_path(c, r->path);
		return;
	}
	if (e->place == PLACE_API || is_post) {
		refuse_method(c, e);
		return;
	}
	switch (e->place) {
	case PLACE_ROOT:
		answer_text(c, 200,
		    "Weir, a gateway to LLM servers. "
		    "The API is under /v1; it needs a key.\n");
		break;
	case PLACE_HEALTH:
		answer_text(c, 200, "ok\n");
		break;
	case PLACE_READY:
		answer_text(c, is_ready(c) ? 200 : 503,
		    is_ready(c) ? "ok\n" : "not ready\n");
		break;
	case PLACE_MODELS:
	case PLACE_MODEL:
		answer_models(c, r);
		break;
	case PLACE_KEY:
	case PLACE_USAGE:
		answer_own_usage(c, r, e->place);
		break;
	case PLACE_API:
	case PLACE_NONE:
		break;
	}
}
