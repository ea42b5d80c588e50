#include "plan.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

#include <zlib.h>

#include "api.h"
#include "ask.h"
#include "head.h"
#include "replay.h"
#include "slots.h"

#define DEFAULT_TOKENS 16
#define SLOW_CHUNK_BYTES (8u << 20)
#define BOMB_BYTES (80u << 20)
#define BOMB_STEP 65536
#define GZIP_CUT_BYTES 12
#define WHY_MAX 512
#define TYPE_JSON "application/json"
#define TYPE_STREAM "text/event-stream; charset=utf-8"

static const char html_page[] =
    "<!DOCTYPE html><html><body><h1>It works!</h1></body></html>\n";

static bool
is_model_known(const struct server *s, const char *model)
{
	for (int i = 0; i < s->n_models; i++)
		if (strcmp(s->models[i], model) == 0)
			return true;
	return s->n_models == 0;
}

/* Returns the status that a real server would refuse with, and why; or 0. */
static int
refuse(const struct ask *ask, const struct directives *d,
    const struct plan_facts *f, const char **why)
{
	if (f->is_chunked && d->kind->is_http10) {
		*why = "Content-Length is required.";
		return 411;
	}
	if (!kind_has_route(d->kind, f->route) ||
	    (f->has_query && d->kind->is_http10)) {
		*why = "Not Found";
		return 404;
	}
	if (!ask->has_model) {
		*why = "you must provide a model parameter";
		return 400;
	}
	if (!is_model_known(f->server, ask->model)) {
		*why = "The model does not exist or you do not have access "
		       "to it.";
		return 404;
	}
	if (ask->has_stream_options && !ask->is_stream) {
		*why = "Stream options can only be defined when `stream=True`.";
		return 400;
	}
	return 0;
}

static bool
is_streamable(enum route r)
{
	return r == ROUTE_chat || r == ROUTE_completions ||
	    r == ROUTE_responses || r == ROUTE_messages;
}

static uint64_t
count_or(int64_t said, uint64_t otherwise)
{
	return said == DIRECTIVE_UNSET ? otherwise : (uint64_t)said;
}

/* Decides what the model must do for it.  What it knows of the prompt, it knows
 * when the request arrives. */
static void
plan_work(struct answer *a, const struct ask *ask, const struct directives *d,
    enum route route)
{
	struct work *w = &a->work;
	uint64_t cached = (uint64_t)d->cached, known = 0;

	w->is_due = route != ROUTE_count_tokens;
	w->goes_on = d->works_on == DIRECTIVE_UNSET
	    ? d->kind->works_on && !a->is_stream
	    : d->works_on > 0;
	if (d->prefix_cache > 0 && w->is_due && ask->prompt_n > 0) {
		known = (uint64_t)((__int128)a->usage.prompt *
		    prefix_known(ask->prompt, ask->prompt_n) / ask->prompt_n);
		bytes_add(&w->prompt, ask->prompt, ask->prompt_n);
	}
	if (known >= a->usage.prompt && known > 0)
		known = a->usage.prompt - 1; /* the last one is always read */
	if (cached < known)
		cached = known;
	if (cached > a->usage.prompt)
		cached = a->usage.prompt;
	if (api_tells(d->kind, route) & TELLS_CACHED)
		a->usage.cached = cached;
	if (d->prefill > 0 && w->is_due)
		w->reads = a->usage.prompt - cached;
}

/* Decides how much there will be to say. */
static void
measure(struct answer *a, struct job *j, const struct ask *ask,
    const struct directives *d)
{
	uint64_t limit =
	    ask->max_tokens < 0 ? DEFAULT_TOKENS : (uint64_t)ask->max_tokens;
	bool has_output = is_streamable(j->route);
	unsigned tells = api_tells(d->kind, j->route);

	if (limit > DEFAULT_TOKENS)
		limit = DEFAULT_TOKENS;
	if (j->route == ROUTE_chat || j->route == ROUTE_completions)
		a->choices = ask->choices;
	a->texts = has_output ? count_or(d->tokens, limit) * a->choices : 0;
	if (has_output && api_may_think(d->kind, j->route))
		a->thinks = (uint64_t)d->reasoning * a->choices;
	if (d->fault == FAULT_empty_stream)
		a->texts = a->thinks = 0;
	a->word_size = a->is_stream ? (size_t)d->size : 0;
	a->usage.prompt = count_or(d->prompt, ask->prompt_bytes / 4 + 1);
	plan_work(a, ask, d, j->route);
	if (tells & TELLS_WRITTEN)
		a->usage.written = (uint64_t)d->written;
	if (a->usage.written > a->usage.prompt - a->usage.cached)
		a->usage.written = a->usage.prompt - a->usage.cached;
	if (tells & TELLS_REASONING)
		a->usage.reasoning = a->thinks;
	a->usage.completion = a->thinks + a->texts;
	j->is_length = ask->max_tokens >= 0 && has_output &&
	    a->usage.completion >= (uint64_t)ask->max_tokens * a->choices;
	if (d->fault != FAULT_zero_usage)
		j->said = a->usage;
}

/* Decides what usage will be told, and where. */
static void
choose_usage(const struct answer *a, struct job *j, const struct ask *ask)
{
	bool is_chunked_api =
	    j->route == ROUTE_chat || j->route == ROUTE_completions;
	enum fault fault = j->d->fault;

	j->has_usage =
	    fault != FAULT_no_usage && api_has_usage(j->kind, j->route);
	if (!a->is_stream || !is_chunked_api)
		return;
	if (fault != FAULT_usage_every_chunk && !ask->has_usage_wish &&
	    !api_is_usage_always(j->kind, j->route))
		j->has_usage = false;
	j->has_running = j->has_usage &&
	    (fault == FAULT_usage_every_chunk ||
		(ask->has_running_wish && j->kind->can_run &&
		    fault != FAULT_zero_usage));
}

static void
render(struct answer *a, const struct job *j)
{
	api_render(a, j);
	if (!a->is_stream)
		a->usage_in_close = j->has_usage ? a->close.n : 0;
	if (j->d->fault == FAULT_zero_usage || j->d->damage != DAMAGE_NONE)
		a->usage_in_close = 0;
}

/* Puts another body in place of what was rendered. */
static void
replace_body(struct answer *a, const char *text)
{
	a->open.n = a->middle.n = a->close.n = 0;
	a->thinks = a->texts = 0;
	a->usage_in_close = 0;
	a->usage.completion = a->usage.reasoning = 0;
	bytes_puts(&a->close, text);
}

static void
spoil_stream(struct answer *a, const struct directives *d, const struct job *j)
{
	uint64_t total = a->thinks + a->texts;
	uint64_t after =
	    (uint64_t)d->after < total ? (uint64_t)d->after : total;

	a->cut_after = after;
	if (d->fault == FAULT_error_first_event) {
		replace_body(a, "");
		api_error_event(&a->close, j);
	} else if (d->fault == FAULT_empty_stream) {
		replace_body(a, "");
		api_end_mark(&a->close, j);
	} else if (d->fault == FAULT_error_mid) {
		a->insert_at = after;
		a->is_insert_last = true;
		a->insert.n = 0;
		api_error_event(&a->insert, j);
	} else if (d->fault == FAULT_malformed_sse) {
		a->insert_at = after;
		a->insert.n = 0;
		api_broken_event(&a->insert, j->route);
	}
}

/* The same mistakes in an answer that is one JSON document. */
static void
spoil_plain(struct answer *a, const struct directives *d, enum route r)
{
	if (d->fault == FAULT_error_first_event ||
	    d->fault == FAULT_error_mid) {
		replace_body(a, "");
		api_error(&a->close, d->kind, r, 500, "The mock broke off.");
	} else if (d->fault == FAULT_malformed_sse) {
		a->close.n /= 2;
		a->usage_in_close = 0;
	}
}

/* Deflates `close` in place; with `bomb`, behind BOMB_BYTES of line ends. */
static void
compress_body(struct answer *a, bool is_bomb)
{
	static const size_t slack = 1024;
	char blanks[BOMB_STEP];
	struct bytes out = {0};
	z_stream z = {0};
	size_t left = is_bomb ? BOMB_BYTES : 0;

	memset(blanks, '\n', sizeof blanks);
	if (deflateInit2(&z, Z_BEST_SPEED, Z_DEFLATED, 15 + 16, 8,
		Z_DEFAULT_STRATEGY) != Z_OK)
		return;
	for (;;) {
		bool is_last = left == 0;

		z.next_in = (Bytef *)(is_last ? a->close.p : blanks);
		z.avail_in = (uInt)(is_last ? a->close.n : sizeof blanks);
		do {
			size_t room = z.avail_in + slack;

			z.next_out = (Bytef *)bytes_room(&out, room);
			z.avail_out = (uInt)room;
			(void)deflate(&z, is_last ? Z_FINISH : Z_NO_FLUSH);
			out.n += room - z.avail_out;
		} while (z.avail_out == 0);
		if (is_last)
			break;
		left -= sizeof blanks;
	}
	deflateEnd(&z);
	bytes_free(&a->close);
	a->close = out;
}

/* Faults that replace or encode the body. */
static void
spoil_body(struct answer *a, const struct directives *d, struct head_facts *h)
{
	bool had_usage = a->usage_in_close > 0;

	if (d->fault == FAULT_html) {
		replace_body(a, html_page);
		h->type = "text/html";
	} else if (d->fault == FAULT_empty_body || d->fault == FAULT_redirect) {
		replace_body(a, "");
	} else if (d->fault == FAULT_empty_json) {
		replace_body(a, "{}");
	} else if (d->fault == FAULT_wrong_encoding) {
		h->encoding = "br";
	} else if (d->fault == FAULT_gzip || d->fault == FAULT_gzip_cut ||
	    d->fault == FAULT_gzip_bomb || d->fault == FAULT_te_gzip) {
		answer_flatten(a);
		compress_body(a, d->fault == FAULT_gzip_bomb);
		if (d->fault == FAULT_gzip_cut)
			a->close.n -= GZIP_CUT_BYTES;
		if (d->fault != FAULT_te_gzip)
			h->encoding = "gzip";
		a->usage_in_close =
		    had_usage && d->fault != FAULT_gzip_cut ? a->close.n : 0;
	}
}

/* Faults that need one body of known length, or chunks where none were. */
static void
spoil_framing(struct answer *a, const struct directives *d)
{
	switch ((int)d->fault) {
	case FAULT_cl_mismatch_long:
		a->is_kept = false;
		/* fallthrough */
	case FAULT_two_cl:
	case FAULT_body_on_204:
	case FAULT_empty_body:
	case FAULT_redirect:
		answer_flatten(a);
		a->framing = FRAMING_LENGTH;
		break;
	case FAULT_cl_and_te:
	case FAULT_slow_chunk:
		answer_flatten(a);
		a->framing = FRAMING_CHUNKED;
		break;
	case FAULT_chunk_ext:
	case FAULT_trailers:
	case FAULT_bad_chunk:
	case FAULT_te_gzip:
		a->framing = FRAMING_CHUNKED;
		break;
	default:
		break;
	}
	a->has_chunk_ext = d->fault == FAULT_chunk_ext;
	a->has_trailers = d->fault == FAULT_trailers;
	a->has_bad_chunk = d->fault == FAULT_bad_chunk;
	a->has_garbage = d->fault == FAULT_garbage_after;
	a->is_dripping = d->fault == FAULT_slow_chunk;
}

/* Chooses the framing and writes the head: the last step of every plan. */
static void
frame(struct answer *a, const struct directives *d, const struct plan_facts *f,
    struct head_facts *h)
{
	a->framing = a->is_stream ? FRAMING_CHUNKED : FRAMING_LENGTH;
	a->is_kept = f->is_kept && !f->is_http10;
	if (d->head == HEAD_HTTP10 || d->head == HEAD_NOLENGTH ||
	    (f->is_http10 && a->is_stream)) {
		a->framing = FRAMING_CLOSE;
		a->is_kept = false;
	}
	spoil_framing(a, d);
	if (d->fault == FAULT_body_on_204)
		h->status = 204;
	if (d->fault == FAULT_redirect)
		h->status = 307;
	if (h->status == 204 || h->status == 307)
		a->usage_in_close = 0;
	if (d->early != DIRECTIVE_UNSET)
		a->early = (int)d->early;
	a->cut_at = fault_table[d->fault].where;
	a->cut_act = fault_table[d->fault].act;
	a->status = h->status;
	h->framing = a->framing;
	h->is_kept = a->is_kept;
	h->length = a->close.n;
	h->name = f->server->name;
	h->id = f->id;
	head_render(&a->head, h, d);
	bytes_free(&h->more);
}

static void
plan_error(struct answer *a, const struct directives *d,
    const struct plan_facts *f, int status, const char *message)
{
	struct head_facts h = {.status = status, .type = TYPE_JSON};

	a->is_stream = false;
	api_error(&a->close, d->kind, f->route, status, message);
	if (d->fault == FAULT_error_usage) {
		a->usage = (struct usage){.prompt = 7, .completion = 3};
		while (a->close.p[a->close.n - 1] != '}')
			a->close.n--;
		a->close.n--;
		bytes_puts(&a->close, ",\"usage\":");
		api_error_usage(&a->close, &a->usage);
		bytes_puts(&a->close, "}");
		a->usage_in_close = a->close.n;
	}
	frame(a, d, f, &h);
}

static void
plan_replay(
    struct answer *a, const struct directives *d, const struct plan_facts *f)
{
	struct head_facts h = {.status = 200};

	replay_copy(d->replay, &a->close);
	h.type = a->is_stream ? TYPE_STREAM : TYPE_JSON;
	spoil_body(a, d, &h);
	frame(a, d, f, &h);
	a->piece_size = (size_t)d->split;
	if (d->replay == REPLAY_RAW) {
		a->head.n = 0;
		a->framing = FRAMING_CLOSE;
		a->is_kept = false;
	}
}

static void
plan_good(struct answer *a, struct directives *d, const struct plan_facts *f,
    const struct ask *ask)
{
	struct job j = {
	    .ask = ask,
	    .d = d,
	    .kind = d->kind,
	    .name = f->server->name,
	    .id = f->id,
	    .created = (int64_t)time(NULL),
	    .route = f->route,
	};
	struct head_facts h = {.status = 200};

	measure(a, &j, ask, d);
	if (a->is_stream)
		a->early = d->kind->early;
	a->hold_at = count_or(d->pause, ANSWER_NEVER);
	if (d->fault == FAULT_slow_chunk) {
		d->size = SLOW_CHUNK_BYTES;
		if (a->is_stream && a->texts > 0)
			a->word_size = SLOW_CHUNK_BYTES / a->texts + 1;
	}
	choose_usage(a, &j, ask);
	render(a, &j);
	api_headers(&h.more, a, &j);
	if (d->kind->is_http10 && ask->has_stream_options &&
	    !ask->has_usage_key)
		a->close.n = 0; /* it looks for the key, and breaks down */
	h.type = a->is_stream ? TYPE_STREAM : TYPE_JSON;
	if (a->is_stream)
		spoil_stream(a, d, &j);
	else
		spoil_plain(a, d, f->route);
	if (!a->is_stream)
		a->thinks = a->texts = 0; /* it is all in the body */
	spoil_body(a, d, &h);
	frame(a, d, f, &h);
}

void
plan_api(struct answer *a, struct directives *d, const struct plan_facts *f)
{
	static __thread struct ask ask; /* too large for each stack frame */
	const char *why = NULL;
	char text[WHY_MAX];
	int status = 0;

	if (!ask_read(&ask, f->body, f->body_n, &why)) {
		plan_error(a, d, f, 400, why);
		return;
	}
	if (!directives_apply(d, ask.mock, strlen(ask.mock), SCOPE_REQUEST,
		text, sizeof text)) {
		plan_error(a, d, f, 400, text);
		return;
	}
	if (d->kind->is_http10 && d->head == HEAD_NORMAL)
		d->head = HEAD_HTTP10;
	a->is_stream = ask.is_stream && is_streamable(f->route);
	if (d->replay != REPLAY_OFF) {
		plan_replay(a, d, f);
		return;
	}
	status = refuse(&ask, d, f, &why);
	if (status != 0 && d->kind->refuses_with != 0 && status != 411)
		status = d->kind->refuses_with;
	if (status == 0 && d->status != 0 && d->status != 200) {
		status = (int)d->status;
		why = "The mock was told to fail.";
	}
	if (status != 0)
		plan_error(a, d, f, status, why);
	else
		plan_good(a, d, f, &ask);
}

void
plan_plain(
    struct answer *a, const struct plan_facts *f, int status, const char *type)
{
	struct head_facts h = {.status = status, .type = type};
	struct directives d;

	directives_init(&d);
	frame(a, &d, f, &h);
}
