#include "metering/redis/redis_peers.h"

#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/file.h"
#include "base/mem.h"

#include "base/banned.h"

#define FILE_MOST_BYTES (1u << 20)
#define FILE_MODE 0640

void
redis_peers_release(struct redis_peers *p)
{
	for (size_t i = 0; i < p->count; i++)
		free(p->names[i]);
	free(p->names);
	*p = (struct redis_peers){0};
}

void
redis_peers_add(struct redis_peers *p, struct slice name)
{
	char *copy;

	if (p->count == REDIS_PEERS_MOST || name.len == 0 ||
	    !text_is_clean_utf8(name.p, name.len))
		return;
	copy = xcalloc(name.len + 1);
	memcpy(copy, name.p, name.len);
	p->names = xrealloc_array(p->names, p->count + 1, sizeof *p->names);
	p->names[p->count++] = copy;
}

bool
redis_peers_equal(const struct redis_peers *a, const struct redis_peers *b)
{
	if (a->count != b->count || strcmp(a->epoch, b->epoch) != 0)
		return false;
	for (size_t i = 0; i < a->count; i++)
		if (strcmp(a->names[i], b->names[i]) != 0)
			return false;
	return true;
}

static void
read_line(struct redis_peers *p, struct slice line, bool is_first)
{
	if (!is_first)
		redis_peers_add(p, line);
	else if (line.len == ULID_CHARS)
		memcpy(p->epoch, line.p, line.len);
}

void
redis_peers_load(struct redis_peers *p, const char *path)
{
	struct buf text = {0};
	const char *at, *end;
	bool is_first = true;

	redis_peers_release(p);
	if (!file_read(path, FILE_MOST_BYTES, false, &text, NULL))
		buf_clear(&text);
	at = buf_data(&text);
	end = at + buf_len(&text);
	while (at < end) {
		const char *newline = memchr(at, '\n', (size_t)(end - at));

		if (newline == NULL)
			break;
		read_line(
		    p, (struct slice){at, (size_t)(newline - at)}, is_first);
		is_first = false;
		at = newline + 1;
	}
	buf_release(&text);
	if (p->epoch[0] == '\0')
		redis_peers_release(p);
}

bool
redis_peers_save(
    const struct redis_peers *p, const char *path, struct fault *why)
{
	struct buf text = {0};
	bool ok;

	buf_printf(&text, "%s\n", p->epoch);
	for (size_t i = 0; i < p->count; i++)
		buf_printf(&text, "%s\n", p->names[i]);
	ok =
	    file_replace(path, buf_data(&text), buf_len(&text), FILE_MODE, why);
	buf_release(&text);
	return ok;
}
