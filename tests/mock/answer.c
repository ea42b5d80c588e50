#include "answer.h"

#include <stdio.h>
#include <string.h>

#define KEEP_BYTES 16384 /* of each piece's memory between answers */
#define WORD_BYTES 4

static const char words[16][WORD_BYTES + 1] = {" tea", " sea", " sun", " owl",
    " oak", " elm", " bee", " fox", " hen", " ant", " cup", " jar", " rye",
    " fig", " sky", " bay"};

static const char hex_digits[] = "0123456789abcdef";

static void
template_reset(struct event_template *t)
{
	for (int i = 0; i <= EVENT_HOLES_MOST; i++)
		bytes_clear(&t->part[i], KEEP_BYTES);
	t->holes = 0;
}

void
answer_reset(struct answer *a)
{
	struct answer fresh = {
	    .head = a->head,
	    .open = a->open,
	    .middle = a->middle,
	    .insert = a->insert,
	    .close = a->close,
	    .think = a->think,
	    .text = a->text,
	    .work.prompt = a->work.prompt,
	    .insert_at = ANSWER_NEVER,
	    .hold_at = ANSWER_NEVER,
	    .choices = 1,
	    .usage_end = ANSWER_NEVER,
	};

	*a = fresh;
	bytes_clear(&a->head, KEEP_BYTES);
	bytes_clear(&a->open, KEEP_BYTES);
	bytes_clear(&a->middle, KEEP_BYTES);
	bytes_clear(&a->insert, KEEP_BYTES);
	bytes_clear(&a->close, KEEP_BYTES);
	bytes_clear(&a->work.prompt, KEEP_BYTES);
	template_reset(&a->think);
	template_reset(&a->text);
}

/* Writes the digits of n and returns how many they are. */
static size_t
put_number(char *to, uint64_t n)
{
	char digits[20];
	size_t len = 0;

	do {
		digits[len++] = (char)('0' + n % 10);
		n /= 10;
	} while (n > 0);
	for (size_t i = 0; i < len; i++)
		to[i] = digits[len - 1 - i];
	return len;
}

static size_t
put_word(char *to, uint64_t k, size_t size)
{
	const char *word = words[k % 16];

	if (size == 0)
		size = WORD_BYTES;
	memcpy(to, word, size < WORD_BYTES ? size : WORD_BYTES);
	if (size > WORD_BYTES)
		memset(to + WORD_BYTES, 'o', size - WORD_BYTES);
	return size;
}

void
answer_words(struct bytes *b, uint64_t n, size_t word_size)
{
	for (uint64_t k = 0; k < n; k++)
		b->n += put_word(
		    bytes_room(b, WORD_BYTES + word_size), k, word_size);
}

/* Appends what stands before and behind the data of one chunk. */
static void
chunk_begin(const struct answer *a, struct bytes *out, size_t n)
{
	char digits[16];
	size_t len = 0;

	if (a->has_bad_chunk) {
		bytes_puts(out, "zz\r\n");
		return;
	}
	do {
		digits[sizeof digits - ++len] = hex_digits[n & 15];
		n >>= 4;
	} while (n > 0);
	bytes_add(out, digits + sizeof digits - len, len);
	if (a->has_chunk_ext)
		bytes_puts(out, ";mock=\"yes; \\\" it is\";n=1");
	bytes_add(out, "\r\n", 2);
}

static void
add_framed(const struct answer *a, struct bytes *out, const char *p, size_t n)
{
	if (n == 0)
		return;
	if (a->framing == FRAMING_CHUNKED)
		chunk_begin(a, out, n);
	bytes_add(out, p, n);
	if (a->framing == FRAMING_CHUNKED)
		bytes_add(out, "\r\n", 2);
}

/* Fills a hole that is a number; returns its digits. */
static size_t
put_hole(
    const struct answer *a, const struct hole *h, uint64_t k, char digits[20])
{
	switch (h->kind) {
	case HOLE_SEQUENCE:
		return put_number(digits, h->first + k);
	case HOLE_CHOICE:
		return put_number(digits, k % a->choices);
	case HOLE_COUNT:
		return put_number(digits, h->first + k / a->choices);
	case HOLE_WORD:
		break;
	}
	return 0;
}

static void
add_event(const struct answer *a, const struct event_template *t, uint64_t k,
    struct bytes *out)
{
	size_t word = a->word_size > 0 ? a->word_size : WORD_BYTES;
	size_t digits[EVENT_HOLES_MOST], n = t->part[0].n;
	char number[EVENT_HOLES_MOST][20];

	for (int i = 0; i < t->holes; i++) {
		digits[i] = put_hole(a, &t->hole[i], k, number[i]);
		n += t->hole[i].kind == HOLE_WORD ? word : digits[i];
		n += t->part[i + 1].n;
	}
	(void)bytes_room(out, n + 64);
	if (a->framing == FRAMING_CHUNKED)
		chunk_begin(a, out, n);
	bytes_add(out, t->part[0].p, t->part[0].n);
	for (int i = 0; i < t->holes; i++) {
		if (t->hole[i].kind == HOLE_WORD)
			out->n += put_word(bytes_room(out, word + WORD_BYTES),
			    k / a->choices, word);
		else
			bytes_add(out, number[i], digits[i]);
		bytes_add(out, t->part[i + 1].p, t->part[i + 1].n);
	}
	if (a->framing == FRAMING_CHUNKED)
		bytes_add(out, "\r\n", 2);
}

static enum next
next_content(struct answer *a, struct bytes *out)
{
	uint64_t total = a->thinks + a->texts;

	if (a->k == a->hold_at && !a->was_held) {
		a->was_held = true;
		return NEXT_HOLD;
	}
	if (a->k == a->insert_at && !a->is_insert_out) {
		add_framed(a, out, a->insert.p, a->insert.n);
		a->is_insert_out = true;
		if (a->is_insert_last)
			a->stage = STAGE_LAST;
		return NEXT_PAUSE;
	}
	if (a->cut_at == WHERE_MID && a->is_stream && a->k == a->cut_after)
		return NEXT_CUT;
	if (a->k == a->thinks && !a->is_middle_out) {
		add_framed(a, out, a->middle.p, a->middle.n);
		a->is_middle_out = true;
	}
	if (a->k < a->thinks)
		add_event(a, &a->think, a->k, out);
	else if (a->k < total)
		add_event(a, &a->text, a->k - a->thinks, out);
	else
		a->stage = STAGE_TAIL;
	if (a->stage != STAGE_CONTENT)
		return NEXT_MORE;
	a->k++;
	return a->k < total || a->k == a->insert_at ? NEXT_PAUSE : NEXT_MORE;
}

static enum next
next_close(struct answer *a, struct bytes *out)
{
	size_t left = a->close.n - a->close_at, n = left;

	if (a->cut_at == WHERE_MID && !a->is_stream)
		n = (left + 1) / 2;
	else if (a->piece_size > 0 && n > a->piece_size)
		n = a->piece_size;
	add_framed(a, out, a->close.p + a->close_at, n);
	a->close_at += n;
	if (a->cut_at == WHERE_MID && !a->is_stream)
		return NEXT_CUT;
	if (a->close_at < a->close.n)
		return NEXT_PAUSE;
	a->stage = STAGE_LAST;
	return NEXT_MORE;
}

static void
add_last(struct answer *a, struct bytes *out)
{
	if (a->framing == FRAMING_CHUNKED) {
		bytes_puts(out, "0\r\n");
		if (a->has_trailers)
			bytes_puts(out,
			    "X-Mock-Trailer: yes\r\n"
			    "Content-Length: 3\r\n");
		bytes_puts(out, "\r\n");
	}
	if (a->has_garbage)
		bytes_puts(out,
		    "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n"
		    "wrong");
}

static enum next
next_piece(struct answer *a, struct bytes *out)
{
	switch (a->stage) {
	case STAGE_HEAD:
		if (a->cut_at == WHERE_BEFORE_HEAD)
			return NEXT_CUT;
		bytes_add(out, a->head.p, a->head.n);
		a->stage = STAGE_OPEN;
		if (a->cut_at == WHERE_AFTER_HEAD)
			return NEXT_CUT;
		return a->early == 1 ? NEXT_FIRST : NEXT_MORE;
	case STAGE_OPEN:
		add_framed(a, out, a->open.p, a->open.n);
		a->stage = STAGE_CONTENT;
		if (a->cut_at == WHERE_AFTER_OPEN)
			return NEXT_CUT;
		return a->early == 2 ? NEXT_FIRST : NEXT_MORE;
	case STAGE_CONTENT:
		return next_content(a, out);
	case STAGE_TAIL:
		a->stage = STAGE_CLOSE;
		return NEXT_TAIL;
	case STAGE_CLOSE:
		return next_close(a, out);
	case STAGE_LAST:
		add_last(a, out);
		a->stage = STAGE_END;
		return NEXT_END;
	case STAGE_END:
		break;
	}
	return NEXT_END;
}

enum next
answer_next(struct answer *a, struct bytes *out)
{
	size_t before = out->n, close_before = a->close_at;
	enum next next = next_piece(a, out);

	/* Usage counts as sent with the last byte of the piece it is in. */
	if (a->usage_in_close > close_before &&
	    a->usage_in_close <= a->close_at)
		a->usage_end = a->made + (out->n - before);
	a->made += out->n - before;
	return next;
}

void
answer_flatten(struct answer *a)
{
	struct bytes whole = {0};
	enum framing framing = a->framing;
	size_t close_n = a->close.n;

	a->framing = FRAMING_CLOSE;
	a->stage = STAGE_OPEN;
	while (a->stage < STAGE_LAST)
		(void)next_piece(a, &whole);
	if (a->usage_in_close > 0)
		a->usage_in_close += whole.n - close_n;
	bytes_free(&a->close);
	a->close = whole;
	bytes_clear(&a->open, KEEP_BYTES);
	bytes_clear(&a->middle, KEEP_BYTES);
	a->framing = framing;
	a->thinks = a->texts = a->k = 0;
	a->insert_at = ANSWER_NEVER;
	a->is_middle_out = a->is_insert_out = false;
	a->close_at = 0;
	a->stage = STAGE_HEAD;
}

struct usage
answer_charged(const struct answer *a)
{
	uint64_t total = a->thinks + a->texts;
	struct usage u = a->usage;

	if (total > 0 && a->k < total) {
		u.completion = a->k;
		if (u.completion < a->opened && a->stage > STAGE_OPEN)
			u.completion = a->opened;
		if (u.reasoning > a->k)
			u.reasoning = a->k;
	} else if (total == 0 && a->stage == STAGE_HEAD) {
		u.completion = u.reasoning = 0;
	}
	return u;
}

void
answer_free(struct answer *a)
{
	bytes_free(&a->head);
	bytes_free(&a->open);
	bytes_free(&a->middle);
	bytes_free(&a->insert);
	bytes_free(&a->close);
	bytes_free(&a->work.prompt);
	for (int i = 0; i <= EVENT_HOLES_MOST; i++) {
		bytes_free(&a->think.part[i]);
		bytes_free(&a->text.part[i]);
	}
}
