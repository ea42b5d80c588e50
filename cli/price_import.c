/*
 * `weir price import`: holds a public price map against the prices of the
 * configuration, says what is different, and writes it down if told to.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/file.h"
#include "base/mem.h"
#include "cli/locate.h"
#include "cli/price_run.h"
#include "conf/config.h"
#include "conf/price_edit.h"
#include "metering/price_map.h"

#include "base/banned.h"

#define DAY_MS INT64_C(86400000)

/* What becomes of one model. */
enum verdict { IS_SAME, IS_NEW, IS_CHANGED, IS_LEFT, IS_MISSING };

struct item {
	const struct price_place *place;
	enum verdict verdict;
	const struct price *old; /* in force; NULL: none */
	struct price new;        /* of IS_NEW and IS_CHANGED */
};

struct import {
	const struct price_run *run;
	struct arena arena;
	char *path; /* owned; of the configuration, links followed */
	struct buf map_text, text;
	struct price_map map;
	struct price_places places;
	struct item *items; /* in the arena */
	size_t count, counts[IS_MISSING + 1];
};

/* --- what is different --------------------------------------------------- */

static bool
is_same_money(const struct price *a, const struct price *b)
{
	return a->input_pusd == b->input_pusd &&
	    a->input_cached_pusd == b->input_cached_pusd &&
	    a->cache_write_pusd == b->cache_write_pusd &&
	    a->output_pusd == b->output_pusd &&
	    a->request_pusd == b->request_pusd;
}

/* A price of part of the input: as the map has it, else as it is now, if it is
 * one of its own. */
static int64_t
part_of_input(
    int64_t offered, int64_t input, const struct price *old, int64_t old_part)
{
	if (offered >= 0)
		return offered;
	return old != NULL && old_part != old->input_pusd ? old_part : input;
}

static struct price
merge(const struct price_offer *o, const struct price *old, int64_t from_ms)
{
	struct price p = {.from_ms = from_ms};

	p.input_pusd = o->input_pusd;
	p.input_cached_pusd = part_of_input(o->input_cached_pusd, o->input_pusd,
	    old, old == NULL ? 0 : old->input_cached_pusd);
	p.cache_write_pusd = part_of_input(o->cache_write_pusd, o->input_pusd,
	    old, old == NULL ? 0 : old->cache_write_pusd);
	p.output_pusd = o->output_pusd < 0 ? 0 : o->output_pusd;
	if (o->request_pusd >= 0)
		p.request_pusd = o->request_pusd;
	else if (old != NULL)
		p.request_pusd = old->request_pusd;
	return p;
}

/* Why a new price cannot simply be put beside the others; NULL: it can. */
static const char *
reason_to_leave(
    const struct price_list *l, const struct price *old, int64_t today_ms)
{
	for (size_t i = 0; i < l->count; i++) {
		const struct price *p = &l->prices[i];

		if (p->hour_begin != p->hour_end && p->from_ms >= old->from_ms)
			return "has prices by the hour, which the map does not "
			       "know";
		if (p->from_ms == today_ms)
			return "has a price from today on already";
	}
	return NULL;
}

static void
note(const struct import *m, const struct item *i, const char *text)
{
	price_say(
	    m->run, "%s: %s: %s\n", i->place->upstream, i->place->model, text);
}

/* The offer for it; NULL, with the reason told, if there is none that can be
 * used. */
static const struct price_offer *
find_offer(struct import *m, const struct item *i)
{
	const struct price_place *p = i->place;
	const char *provider = price_map_provider(&m->map, p->kind, p->host);
	const struct price_offer *o;

	if (provider == NULL) {
		note(m, i,
		    "neither the upstream's kind nor its host says which "
		    "provider it is");
		return NULL;
	}
	o = price_map_find(&m->map, provider, p->model);
	if (o == NULL)
		note(m, i,
		    arena_printf(&m->arena, "%s has no such model under %s",
			price_map_name(&m->map), provider));
	else if (o->damage != NULL)
		note(m, i, o->damage);
	else if (o->input_pusd < 0)
		note(m, i, "the map has it, but not its price");
	else
		return o;
	return NULL;
}

static void
judge(struct import *m, struct item *i)
{
	int64_t today_ms = m->run->now_ms / DAY_MS * DAY_MS;
	const struct price_offer *o = find_offer(m, i);
	const struct price_list *l = &i->place->prices;
	const char *reason;

	i->old = price_at(l, m->run->now_ms);
	i->verdict = IS_MISSING;
	if (o == NULL)
		return;
	if (o->not_covered != NULL)
		note(m, i,
		    arena_printf(&m->arena,
			"the map has further prices, which are not covered: %s",
			o->not_covered));
	i->new = merge(o, i->old, today_ms);
	if (i->old == NULL) {
		i->verdict = IS_NEW;
	} else if (is_same_money(&i->new, i->old)) {
		i->verdict = IS_SAME;
	} else if ((reason = reason_to_leave(l, i->old, today_ms)) != NULL) {
		i->verdict = IS_LEFT;
		note(m, i,
		    arena_printf(&m->arena, "%s; it is left as it is", reason));
	} else {
		i->verdict = IS_CHANGED;
	}
}

static void
judge_all(struct import *m)
{
	m->items = arena_alloc(&m->arena, m->places.count * sizeof *m->items);
	for (size_t k = 0; k < m->places.count; k++) {
		struct item *i = &m->items[m->count];

		i->place = &m->places.all[k];
		if (m->run->upstream != NULL &&
		    strcmp(m->run->upstream, i->place->upstream) != 0)
			continue;
		judge(m, i);
		m->counts[i->verdict]++;
		m->count++;
	}
}

static bool
is_written(const struct item *i)
{
	return i->verdict == IS_NEW || i->verdict == IS_CHANGED;
}

/* --- what is said -------------------------------------------------------- */

static int
print_diff(const struct import *m)
{
	struct buf out = {0};
	bool ok;

	for (size_t k = 0; k < m->count; k++) {
		const struct item *i = &m->items[k];

		if (!is_written(i))
			continue;
		buf_printf(
		    &out, "  %s: %s\n", i->place->upstream, i->place->model);
		if (i->old != NULL) {
			buf_puts(&out, "- ");
			price_write(&out, i->old, false);
			buf_puts(&out, "\n");
		}
		buf_puts(&out, "+ ");
		price_write(&out, &i->new, false);
		buf_puts(&out, "\n");
	}
	ok =
	    fwrite(buf_data(&out), 1, buf_len(&out), stdout) == buf_len(&out) &&
	    fflush(stdout) == 0;
	buf_release(&out);
	return ok ? EXIT_OK : price_fail(EXIT_FAILED, "cannot write to stdout");
}

static void
say_counts(const struct import *m)
{
	price_say(m->run,
	    "%s: %zu changed, %zu new, %zu the same, %zu left alone, %zu not "
	    "found.\n",
	    price_map_name(&m->map), m->counts[IS_CHANGED], m->counts[IS_NEW],
	    m->counts[IS_SAME], m->counts[IS_LEFT], m->counts[IS_MISSING]);
}

/* --- what is written ----------------------------------------------------- */

/* Puts every new price into the text, one after the other. */
static bool
insert_all(struct import *m, struct fault *why)
{
	for (size_t k = 0; k < m->count; k++) {
		const struct item *i = &m->items[k];
		struct buf next = {0};

		if (!is_written(i))
			continue;
		if (!price_insert(
			(struct slice){buf_data(&m->text), buf_len(&m->text)},
			i->place->upstream, i->place->model, &i->new, &next,
			why))
			return false;
		buf_release(&m->text);
		m->text = next;
	}
	return true;
}

/* Whether the new text is a configuration that the gateway would take. */
static bool
is_good(const struct import *m)
{
	struct config_env env = config_env_default();
	struct slice text = {buf_data(&m->text), buf_len(&m->text)};
	struct diagnostics found = {0};
	struct buf out = {0};
	struct config *c;
	bool ok;

	env.without_secrets = true;
	c = config_parse(m->path, text, &env, &found);
	ok = c != NULL && text.len <= CONFIG_FILE_MOST_BYTES;

	if (c == NULL) {
		diagnostics_print(&found, m->path, text, &out);
		fwrite(buf_data(&out), 1, buf_len(&out), stderr);
	}
	buf_release(&out);
	diagnostics_release(&found);
	config_unref(&c);
	return ok;
}

static int
write_all(struct import *m)
{
	struct fault why;

	if (m->counts[IS_NEW] + m->counts[IS_CHANGED] == 0) {
		price_say(m->run, "There is nothing to write.\n");
		return EXIT_OK;
	}
	if (!(m->run->given & OPTION_WRITE)) {
		price_say(m->run,
		    "Nothing was written. To add them to %s: "
		    "--write\n",
		    m->path);
		return EXIT_OK;
	}
	if (!insert_all(m, &why))
		return price_fail(
		    EXIT_FAILED, "%s. Nothing was written", why.text);
	if (!is_good(m))
		return price_fail(EXIT_FINDINGS,
		    "with these prices the configuration would be wrong still. "
		    "Nothing was written");
	if (!file_replace(
		m->path, buf_data(&m->text), buf_len(&m->text), 0640, &why))
		return price_fail(EXIT_FAILED, "%s", why.text);
	price_say(m->run,
	    "Written to %s. A running gateway takes them when it reloads.\n",
	    m->path);
	return EXIT_OK;
}

/* --- what is read -------------------------------------------------------- */

static int
read_map(struct import *m)
{
	const char *file = m->run->operand;
	struct fault why;

	if (!file_read(file, PRICE_MAP_MOST_BYTES, true, &m->map_text, &why))
		return price_fail(EXIT_FAILED, "%s", why.text);
	if (!price_map_read(
		(struct slice){buf_data(&m->map_text), buf_len(&m->map_text)},
		&m->map, &why))
		return price_fail(EXIT_FAILED, "%s %s", file, why.text);
	return EXIT_OK;
}

static bool
is_upstream(const struct import *m)
{
	for (size_t i = 0; i < m->places.count; i++)
		if (strcmp(m->places.all[i].upstream, m->run->upstream) == 0)
			return true;
	return false;
}

static int
read_config(struct import *m)
{
	struct diagnostics found = {0};
	struct fault why;
	char *path;
	bool ok;

	if (!config_locate(m->run->config_file, &path, &why))
		return price_fail(EXIT_FAILED, "%s", why.text);
	m->path = realpath(path, NULL);
	if (m->path == NULL)
		m->path = xstrdup(path);
	free(path);
	if (!file_read(m->path, CONFIG_FILE_MOST_BYTES, true, &m->text, &why))
		return price_fail(EXIT_FAILED, "%s", why.text);
	ok = price_places_read(
	    (struct slice){buf_data(&m->text), buf_len(&m->text)}, &m->arena,
	    &m->places, &found);
	diagnostics_release(&found);
	if (!ok)
		return price_fail(EXIT_FINDINGS,
		    "%s cannot be read. See: weir check", m->path);
	if (m->run->upstream != NULL && !is_upstream(m))
		return price_fail(EXIT_NOT_FOUND,
		    "no model of an upstream '%s' costs money in %s",
		    m->run->upstream, m->path);
	return EXIT_OK;
}

int
price_run_import(const struct price_run *r)
{
	struct import m = {.run = r};
	int status;

	arena_init(&m.arena);
	if ((status = read_config(&m)) == EXIT_OK &&
	    (status = read_map(&m)) == EXIT_OK) {
		judge_all(&m);
		say_counts(&m);
		if ((status = print_diff(&m)) == EXIT_OK)
			status = write_all(&m);
	}
	price_map_release(&m.map);
	buf_release(&m.map_text);
	buf_release(&m.text);
	free(m.path);
	arena_release(&m.arena);
	return status;
}
