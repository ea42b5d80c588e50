#include "proxy/chunked.h"

#include <stdbool.h>
#include <string.h>

#include "base/banned.h"

enum state {
	ST_SIZE, /* hex digits */
	ST_EXTENSION,
	ST_SIZE_LF,
	ST_DATA,
	ST_DATA_CR,
	ST_DATA_LF,
	ST_TRAILER, /* the beginning of a trailer line, or of the last line */
	ST_TRAILER_LINE,
	ST_TRAILER_LF,
	ST_LAST_LF,
};

static int
hex_value(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if ((c | 32) >= 'a' && (c | 32) <= 'f')
		return (c | 32) - 'a' + 10;
	return -1;
}

static bool
step_size(struct chunked *c, char byte)
{
	int digit = hex_value(byte);

	if (digit >= 0) {
		c->left = c->left << 4 | (unsigned)digit;
		return ++c->digits <= 16;
	}
	if (c->digits == 0)
		return false;
	c->skipped = 0;
	if (byte == '\r')
		c->state = ST_SIZE_LF;
	else if (byte == ';')
		c->state = ST_EXTENSION;
	else
		return false;
	return true;
}

/* A byte that may stand in an extension or a trailer line. */
static bool
is_plain(char byte)
{
	return (unsigned char)byte >= 0x20 ? byte != 0x7f : byte == '\t';
}

/* One byte that is not data.  False if it does not belong. */
static bool
step(struct chunked *c, char byte)
{
	switch ((enum state)c->state) {
	case ST_SIZE:
		return step_size(c, byte);
	case ST_EXTENSION:
		if (byte == '\r')
			c->state = ST_SIZE_LF;
		else if (!is_plain(byte) ||
		    ++c->skipped > CHUNK_EXTENSION_MOST_BYTES)
			return false;
		return true;
	case ST_SIZE_LF:
		c->state = c->left > 0 ? ST_DATA : ST_TRAILER;
		c->skipped = 0;
		return byte == '\n';
	case ST_DATA_CR:
		c->state = ST_DATA_LF;
		return byte == '\r';
	case ST_DATA_LF:
		c->state = ST_SIZE;
		c->digits = 0;
		return byte == '\n';
	case ST_TRAILER:
		if (byte == '\r') {
			c->state = ST_LAST_LF;
			return true;
		}
		c->state = ST_TRAILER_LINE;
		/* fall through */
	case ST_TRAILER_LINE:
		if (byte == '\r')
			c->state = ST_TRAILER_LF;
		else if (!is_plain(byte) ||
		    ++c->skipped > CHUNK_TRAILERS_MOST_BYTES)
			return false;
		return true;
	case ST_TRAILER_LF:
		c->state = ST_TRAILER;
		return byte == '\n';
	case ST_LAST_LF:
		return byte == '\n';
	case ST_DATA:
		break;
	}
	return false;
}

/* The usual case at once: CRLF behind the data before, a size, CRLF, all of it
 * here.  Returns where the data begins, or NULL: then byte by byte. */
static char *
whole_size_line(struct chunked *c, char *from, const char *end)
{
	uint64_t size = 0;
	unsigned digits = 0;
	int digit;

	if (c->state == ST_DATA_CR) {
		if (end - from < 2 || from[0] != '\r' || from[1] != '\n')
			return NULL;
		from += 2;
	} else if (c->state != ST_SIZE || c->digits > 0) {
		return NULL;
	}
	while (
	    end - from > 2 && digits < 8 && (digit = hex_value(*from)) >= 0) {
		size = size << 4 | (unsigned)digit;
		digits++;
		from++;
	}
	if (digits == 0 || size == 0 || end - from < 2 || from[0] != '\r' ||
	    from[1] != '\n')
		return NULL;
	c->left = size;
	c->state = ST_DATA;
	return from + 2;
}

enum chunked_verdict
chunked_decode(struct chunked *c, char *p, size_t *len, size_t *rest)
{
	char *from = p, *end = p + *len, *to = p, *data;

	*rest = 0;
	while (from < end) {
		if (c->state == ST_DATA) {
			size_t n = (size_t)(end - from);

			if (n > c->left)
				n = (size_t)c->left;
			if (to != from)
				memmove(to, from, n);
			to += n;
			from += n;
			if ((c->left -= n) == 0)
				c->state = ST_DATA_CR;
			continue;
		}
		if ((data = whole_size_line(c, from, end)) != NULL) {
			from = data;
			continue;
		}
		if (c->state == ST_LAST_LF && *from == '\n') {
			*rest = (size_t)(end - from) - 1;
			*len = (size_t)(to - p);
			return CHUNKED_END;
		}
		if (!step(c, *from++)) {
			*len = 0;
			return CHUNKED_BAD;
		}
	}
	*len = (size_t)(to - p);
	return CHUNKED_MORE;
}
