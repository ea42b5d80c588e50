#include "metering/inflate.h"

#include <assert.h>
#include <limits.h>
#include <stdlib.h>
#include <zlib.h>

#include "base/banned.h"

#define PIECE_BYTES 16384

/* For inflateReset2(): the formats that zlib tells apart, and bare deflate. */
#define WINDOW_DETECT (15 + 32)
#define WINDOW_RAW (-15)

enum state {
	ST_HEAD, /* the format is not known yet */
	ST_BODY,
	ST_WHOLE,  /* at an end; another gzip member may follow */
	ST_IGNORE, /* whole; what follows is not part of it */
	ST_FAILED,
	ST_SPENT,
};

struct inflater {
	z_stream z;
	enum state state;
	unsigned char head[2];
	size_t head_len;
	bool is_gzip;
	uint64_t in, out;
};

bool
inflate_knows(struct slice content_encoding)
{
	struct slice s = slice_trim(content_encoding);

	return slice_is_nocase(s, "gzip") || slice_is_nocase(s, "x-gzip") ||
	    slice_is_nocase(s, "deflate");
}

struct inflater *
inflater_create(void)
{
	struct inflater *f = calloc(1, sizeof *f);

	if (f == NULL || inflateInit2(&f->z, WINDOW_DETECT) != Z_OK) {
		free(f);
		return NULL;
	}
	return f;
}

/* Hands on what has been unpacked.  False if that is too much. */
static bool
deliver(struct inflater *f, char *piece, inflate_piece_fn on_piece, void *arg)
{
	size_t len = PIECE_BYTES - f->z.avail_out;

	f->out += len;
	if (f->out > INFLATE_BYTES_FREE &&
	    f->out / INFLATE_RATIO_MOST > f->in) {
		f->state = ST_SPENT;
		return false;
	}
	if (len > 0)
		on_piece(arg, piece, len);
	return true;
}

/* Unpacks until this input is used up or the stream ends.  Returns what is left
 * of the input. */
static size_t
unpack(struct inflater *f, const unsigned char *p, size_t len,
    inflate_piece_fn on_piece, void *arg)
{
	char piece[PIECE_BYTES];
	int status = Z_OK;

	assert(len <= UINT_MAX);
	f->z.next_in = (unsigned char *)(uintptr_t)p;
	f->z.avail_in = (unsigned)len;
	do {
		unsigned before = f->z.avail_in;

		f->z.next_out = (unsigned char *)piece;
		f->z.avail_out = PIECE_BYTES;
		status = inflate(&f->z, Z_NO_FLUSH);
		f->in += before - f->z.avail_in;
		if (!deliver(f, piece, on_piece, arg))
			return 0;
	} while (status == Z_OK && (f->z.avail_in > 0 || f->z.avail_out == 0));
	if (status == Z_STREAM_END)
		f->state = ST_WHOLE;
	else if (status != Z_OK && status != Z_BUF_ERROR)
		f->state = ST_FAILED;
	return f->z.avail_in;
}

/* Two bytes tell the format: the magic of gzip, a checked header of zlib, or
 * else deflate without any. */
static void
choose_format(struct inflater *f)
{
	unsigned a = f->head[0], b = f->head[1];
	bool is_zlib = (a & 0x0f) == 8 && (a << 8 | b) % 31 == 0;

	f->is_gzip = a == 0x1f && b == 0x8b;
	f->state = ST_BODY;
	if (inflateReset2(&f->z,
		f->is_gzip || is_zlib ? WINDOW_DETECT : WINDOW_RAW) != Z_OK)
		f->state = ST_FAILED;
}

/* Takes the bytes that tell the format, over any split.  Returns those used. */
static size_t
take_head(struct inflater *f, const unsigned char *p, size_t len,
    inflate_piece_fn on_piece, void *arg)
{
	bool is_first = f->state == ST_HEAD && !f->is_gzip;
	size_t n = 0;

	while (n < len && f->head_len < sizeof f->head)
		f->head[f->head_len++] = p[n++];
	if (f->head_len < sizeof f->head)
		return n;
	if (is_first) {
		choose_format(f);
	} else if (f->head[0] == 0x1f && f->head[1] == 0x8b &&
	    inflateReset(&f->z) == Z_OK) {
		f->state = ST_BODY;
	} else {
		f->state = ST_IGNORE;
	}
	if (f->state == ST_BODY)
		(void)unpack(f, f->head, sizeof f->head, on_piece, arg);
	f->head_len = 0;
	return n;
}

bool
inflater_feed(struct inflater *f, const void *data, size_t len,
    inflate_piece_fn on_piece, void *arg)
{
	const unsigned char *p = data;

	while (len > 0 && f->state <= ST_WHOLE) {
		size_t used;

		if (f->state == ST_BODY)
			used = len - unpack(f, p, len, on_piece, arg);
		else if (f->state == ST_HEAD || f->is_gzip)
			used = take_head(f, p, len, on_piece, arg);
		else
			break;
		if (f->state == ST_SPENT)
			break;
		p += used;
		len -= used;
	}
	return f->state < ST_FAILED;
}

bool
inflater_is_whole(const struct inflater *f)
{
	return f->state == ST_WHOLE || f->state == ST_IGNORE;
}

bool
inflater_is_spent(const struct inflater *f)
{
	return f->state == ST_SPENT;
}

void
inflater_destroy(struct inflater **fp)
{
	if (*fp == NULL)
		return;
	inflateEnd(&(*fp)->z);
	free(*fp);
	*fp = NULL;
}
