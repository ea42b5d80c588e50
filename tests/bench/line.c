#include "tests/bench/line.h"

#include <string.h>

#include "base/banned.h"

static void
advance(struct slice *in, size_t len)
{
	in->p += len;
	in->len -= len;
}

enum line_verdict
line_take(struct line *l, struct slice *in, struct slice *out)
{
	const char *lf;
	size_t len;

	if (l->is_told) {
		buf_clear(&l->part);
		l->is_told = false;
	}
	if (in->len == 0)
		return LINE_MORE;
	lf = memchr(in->p, '\n', in->len);
	len = lf == NULL ? in->len : (size_t)(lf - in->p);
	if (lf != NULL && buf_len(&l->part) == 0) {
		*out = (struct slice){in->p, len};
		advance(in, len + 1);
		return LINE_READY;
	}
	if (!buf_add(&l->part, in->p, len, LINE_MOST_BYTES))
		return LINE_TOO_LONG;
	advance(in, lf == NULL ? len : len + 1);
	if (lf == NULL)
		return LINE_MORE;
	*out = (struct slice){buf_data(&l->part), buf_len(&l->part)};
	l->is_told = true;
	return LINE_READY;
}

bool
line_chop_cr(struct slice *line)
{
	if (line->len == 0 || line->p[line->len - 1] != '\r')
		return false;
	line->len--;
	return true;
}

void
line_release(struct line *l)
{
	buf_release(&l->part);
	l->is_told = false;
}
