#include "proxy/models.h"

#include <string.h>

#include "base/clock.h"
#include "base/json_out.h"

#include "base/banned.h"

/* Clients want a birthday; ours is the same for all, so that the document only
 * changes with the configuration. */
#define CREATED_SECONDS INT64_C(1764547200)

bool
models_may_use(const struct user_config *u, const struct key_record *r,
    const struct model_config *m)
{
	if (!user_may_use(u, m))
		return false;
	if (r == NULL || r->models == NULL)
		return true;
	for (size_t i = 0; i < r->model_count; i++)
		if (strcmp(r->models[i], m->name) == 0)
			return true;
	return false;
}

void
models_write_names(const struct user_config *u, const struct key_record *r,
    const struct config *c, struct buf *to)
{
	bool has_any = false;

	for (size_t i = 0; i < c->model_count; i++) {
		if (!models_may_use(u, r, &c->models[i]))
			continue;
		buf_printf(to, "%s%s",
		    has_any ? ", " : " It may use: ", c->models[i].name);
		has_any = true;
	}
	buf_puts(to, has_any ? "." : " It may use no model at all.");
}

/* Dollars a token, the form of OpenRouter; what this user would be charged on
 * the first route that it may take. */
static void
write_pricing(struct json_out *o, const struct user_config *u,
    const struct model_config *m)
{
	char text[MONEY_TEXT_BYTES];
	const struct price *p = NULL;

	for (size_t i = 0; i < m->route_count; i++) {
		const struct route_config *r = &m->routes[i];

		if (r->upstream->is_paid && !u->limits.paid_routes)
			continue;
		if (r->upstream->is_paid)
			p = price_at(&r->prices, clock_wall_ms());
		break;
	}
	json_key(o, "pricing");
	json_open(o, '{');
	money_format(text, p == NULL ? 0 : p->input_pusd);
	json_member_string(o, "prompt", slice_of(p == NULL ? "0" : text));
	money_format(text, p == NULL ? 0 : p->output_pusd);
	json_member_string(o, "completion", slice_of(p == NULL ? "0" : text));
	money_format(text, p == NULL ? 0 : p->input_cached_pusd);
	json_member_string(
	    o, "input_cache_read", slice_of(p == NULL ? "0" : text));
	json_close(o, '}');
}

static void
write_architecture(struct json_out *o, const struct model_config *m)
{
	json_key(o, "architecture");
	json_open(o, '{');
	json_key(o, "input_modalities");
	json_open(o, '[');
	json_string(o, SLICE("text"));
	if (m->takes_images)
		json_string(o, SLICE("image"));
	json_close(o, ']');
	json_key(o, "output_modalities");
	json_open(o, '[');
	json_string(o,
	    m->type == MODEL_EMBEDDING    ? SLICE("embeddings")
		: m->type == MODEL_RERANK ? SLICE("rerank")
					  : SLICE("text"));
	json_close(o, ']');
	json_close(o, '}');
}

static void
write_model(struct json_out *o, const struct user_config *u,
    const struct model_config *m, const char *id)
{
	char created[CLOCK_TEXT_BYTES];

	clock_format(created, CREATED_SECONDS * 1000);
	json_open(o, '{');
	json_member_string(o, "id", slice_of(id));
	json_member_string(o, "object", SLICE("model"));
	json_member_string(o, "type", SLICE("model"));
	json_member_int(o, "created", CREATED_SECONDS);
	json_member_string(o, "created_at", slice_of(created));
	json_member_string(o, "owned_by", SLICE("weir"));
	json_member_string(o, "name", slice_of(m->display_name));
	json_member_string(o, "display_name", slice_of(m->display_name));
	if (m->description != NULL)
		json_member_string(o, "description", slice_of(m->description));
	if (m->context > 0) {
		json_member_int(o, "context_length", m->context);
		json_member_int(o, "max_model_len", m->context);
	}
	write_pricing(o, u, m);
	write_architecture(o, m);
	json_close(o, '}');
}

/* Calls for every id that the key's list shows, in order. */
static void
write_all(struct json_out *o, const struct user_config *u,
    const struct key_record *r, const struct config *c, const char **first,
    const char **last)
{
	for (size_t i = 0; i < c->model_count; i++) {
		const struct model_config *m = &c->models[i];

		if (!models_may_use(u, r, m))
			continue;
		write_model(o, u, m, m->name);
		if (*first == NULL)
			*first = m->name;
		*last = m->name;
		for (size_t k = 0; m->lists_aliases && k < m->alias_count;
		     k++) {
			write_model(o, u, m, m->aliases[k]);
			*last = m->aliases[k];
		}
	}
}

static void
member_or_null(struct json_out *o, const char *name, const char *value)
{
	json_key(o, name);
	if (value == NULL)
		json_null(o);
	else
		json_string(o, slice_of(value));
}

void
models_write_list(const struct user_config *u, const struct key_record *r,
    const struct config *c, struct buf *to)
{
	struct json_out o = json_out_to(to);
	const char *first = NULL, *last = NULL;

	json_open(&o, '{');
	json_member_string(&o, "object", SLICE("list"));
	json_key(&o, "data");
	json_open(&o, '[');
	write_all(&o, u, r, c, &first, &last);
	json_close(&o, ']');
	json_member_bool(&o, "has_more", false);
	member_or_null(&o, "first_id", first);
	member_or_null(&o, "last_id", last);
	json_close(&o, '}');
}

static int
hex_value(char ch)
{
	if (ch >= '0' && ch <= '9')
		return ch - '0';
	if ((ch | 32) >= 'a' && (ch | 32) <= 'f')
		return (ch | 32) - 'a' + 10;
	return -1;
}

/* Decodes once; what is no escape stays.  Returns the length; 0 if a NUL or a
 * control byte comes out, or there is no room. */
static size_t
percent_decode(struct slice s, char *out, size_t room)
{
	size_t n = 0;

	for (size_t i = 0; i < s.len; i++) {
		int high, low;
		char ch = s.p[i];

		if (ch == '%' && i + 2 < s.len &&
		    (high = hex_value(s.p[i + 1])) >= 0 &&
		    (low = hex_value(s.p[i + 2])) >= 0) {
			ch = (char)(high << 4 | low);
			i += 2;
		}
		if (n == room || (unsigned char)ch < 0x20 || ch == 0x7f)
			return 0;
		out[n++] = ch;
	}
	return n;
}

bool
models_write_one(const struct user_config *u, const struct key_record *r,
    const struct config *c, struct slice id, struct buf *to)
{
	char name[1024];
	size_t len = percent_decode(id, name, sizeof name - 1);
	const struct model_config *m;
	struct json_out o = json_out_to(to);

	name[len] = '\0';
	m = config_model(c, (struct slice){name, len});
	if (len == 0 || m == NULL || !models_may_use(u, r, m))
		return false;
	write_model(&o, u, m, name);
	return true;
}
