#include "directives.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "listener.h"

#define SECOND_US 1000000

const struct fault_info fault_table[FAULT_COUNT] = {
#define FAULT_ROW(name, where, act, help) \
	{#name, help, WHERE_##where, ACT_##act},
    FAULTS(FAULT_ROW)
#undef FAULT_ROW
};

enum unit {
	UNIT_COUNT,
	UNIT_TIME, /* 5, 5ms, 5us, 5s; bare numbers are milliseconds */
};

struct key {
	const char *name;
	size_t offset;
	int64_t max;
	enum unit unit;
};

#define KEY(name, field, max, unit)                                        \
	{                                                                  \
		name, offsetof(struct directives, field), max, UNIT_##unit \
	}

/* The keys whose value is a number. */
static const struct key keys[] = {
    KEY("tokens", tokens, 10000000, COUNT),
    KEY("prompt", prompt, 1000000000, COUNT),
    KEY("cached", cached, 1000000000, COUNT),
    KEY("cache_write", written, 1000000000, COUNT),
    KEY("reasoning", reasoning, 10000000, COUNT),
    KEY("ttft", ttft_us, 3600LL * SECOND_US, TIME),
    KEY("interval", interval_us, 3600LL * SECOND_US, TIME),
    KEY("tail", tail_us, 3600LL * SECOND_US, TIME),
    KEY("early", early, 2, COUNT),
    KEY("slots", slots, 1000000, COUNT),
    KEY("prefill", prefill, 1000000000, COUNT),
    KEY("rate", rate, 1000000, COUNT),
    KEY("prefix_cache", prefix_cache, 1, COUNT),
    KEY("works_on", works_on, 1, COUNT),
    KEY("pause", pause, 10000000, COUNT),
    KEY("iterations", iterations, 1, COUNT),
    KEY("shred", shred, 64 << 20, COUNT),
    KEY("size", size, 64 << 20, COUNT),
    KEY("interims", interims, 100000, COUNT),
    KEY("status", status, 999, COUNT),
    KEY("retry_after", retry_after, 1000000000, COUNT),
    KEY("after", after, 10000000, COUNT),
    KEY("fail_times", fail_times, 1000000000, COUNT),
    KEY("slow_read", slow_read, 2, COUNT),
    KEY("idle_close", idle_close_us, 3600LL * SECOND_US, TIME),
    KEY("drop_reused", drop_reused, 1, COUNT),
    KEY("health", health, 999, COUNT),
    KEY("split", split, 64 << 20, COUNT),
};

static const char *const head_names[] = {
    [HEAD_NORMAL] = "normal",
    [HEAD_HUGE] = "huge",
    [HEAD_HTTP10] = "http10",
    [HEAD_NOLENGTH] = "nolength",
    [HEAD_CONTINUE103] = "continue103",
};

static const char *const replay_names[] = {
    [REPLAY_OFF] = "off",
    [REPLAY_BODY] = "body",
    [REPLAY_RAW] = "raw",
};

static const char *const damage_names[] = {
    [DAMAGE_NONE] = "none",
    [DAMAGE_NEGATIVE] = "negative",
    [DAMAGE_FLOAT] = "float",
    [DAMAGE_STRING] = "string",
    [DAMAGE_HUGE] = "huge",
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct directives defaults;   /* under lock */
static struct directives kept;       /* under lock */
static const char *server_name = ""; /* set before threads run */
static int64_t fail_left;            /* under lock */

#define ARRAY_LENGTH(a) (sizeof(a) / sizeof *(a))

void
directives_init(struct directives *d)
{
	*d = (struct directives){
	    .tokens = DIRECTIVE_UNSET,
	    .prompt = DIRECTIVE_UNSET,
	    .retry_after = DIRECTIVE_UNSET,
	    .fail_times = DIRECTIVE_UNSET,
	    .idle_close_us = DIRECTIVE_UNSET,
	    .after = 2,
	    .early = DIRECTIVE_UNSET,
	    .works_on = DIRECTIVE_UNSET,
	    .pause = DIRECTIVE_UNSET,
	    .kind = kind_default(),
	};
}

/* Returns the place of `word` among `names`, or -1. */
static int
find_name(const char *const *names, size_t n, const char *word)
{
	for (size_t i = 0; i < n; i++)
		if (strcmp(names[i], word) == 0)
			return (int)i;
	return -1;
}

static bool
set_number(struct directives *d, const struct key *k, const char *value)
{
	int64_t unit = 1, *field = (int64_t *)(void *)((char *)d + k->offset);
	char *end;
	long long n;

	if (*value < '0' || *value > '9' || strlen(value) > 15)
		return false;
	n = strtoll(value, &end, 10);
	if (k->unit == UNIT_TIME) {
		if (*end == '\0' || strcmp(end, "ms") == 0)
			unit = 1000;
		else if (strcmp(end, "s") == 0)
			unit = SECOND_US;
		else if (strcmp(end, "us") != 0)
			return false;
		end += strlen(end);
	}
	if (*end != '\0' || n > k->max / unit)
		return false;
	*field = n * unit;
	return true;
}

static bool
set_fault(struct directives *d, char *value)
{
	char *argument = strchr(value, ':');

	if (argument != NULL)
		*argument++ = '\0';
	for (int i = 0; i < FAULT_COUNT; i++) {
		if (strcmp(fault_table[i].name, value) != 0)
			continue;
		if ((i == FAULT_bad_status) != (argument != NULL))
			return false;
		if (argument != NULL)
			snprintf(d->bad_status, sizeof d->bad_status, "%s",
			    argument);
		d->fault = (enum fault)i;
		return true;
	}
	return false;
}

static bool
set_listen(const char *value)
{
	if (strcmp(value, "on") == 0)
		return listener_open_all();
	if (strcmp(value, "off") != 0)
		return false;
	listener_close_all();
	return true;
}

/* Keys whose value is a word.  Returns false if the value does not fit, and
 * sets *is_known false if the key is none of these. */
static bool
set_word(struct directives *d, const char *name, char *value,
    enum directive_scope scope, bool *is_known)
{
	int found;

	if (strcmp(name, "fault") == 0)
		return set_fault(d, value);
	if (strcmp(name, "head") == 0) {
		found = find_name(head_names, ARRAY_LENGTH(head_names), value);
		d->head = found < 0 ? HEAD_NORMAL : (enum head_kind)found;
		return found >= 0;
	}
	if (strcmp(name, "replay") == 0) {
		found =
		    find_name(replay_names, ARRAY_LENGTH(replay_names), value);
		d->replay = found < 0 ? REPLAY_OFF : (enum replay_kind)found;
		return found >= 0;
	}
	if (strcmp(name, "damage") == 0) {
		found =
		    find_name(damage_names, ARRAY_LENGTH(damage_names), value);
		d->damage = found < 0 ? DAMAGE_NONE : (enum damage)found;
		return found >= 0;
	}
	if (strcmp(name, "kind") == 0) {
		if (kind_find(value) == NULL)
			return false;
		d->kind = kind_find(value);
		return true;
	}
	if (strcmp(name, "extra-header") == 0) {
		snprintf(d->extra_header, sizeof d->extra_header, "%s", value);
		return strchr(value, ':') != NULL;
	}
	if (strcmp(name, "listen") == 0 && scope == SCOPE_SERVER)
		return set_listen(value);
	*is_known = false;
	return false;
}

static bool
set_one(struct directives *d, char *item, enum directive_scope scope, char *why,
    size_t why_size)
{
	char *value = strchr(item, '=');
	bool is_known = true;

	if (value == NULL) {
		snprintf(why, why_size, "'%s' is not key=value", item);
		return false;
	}
	*value++ = '\0';
	if ((strcmp(item, "fail_times") == 0 || strcmp(item, "slots") == 0) &&
	    scope == SCOPE_REQUEST) {
		snprintf(why, why_size, "%s is the server's to count", item);
		return false;
	}
	for (size_t i = 0; i < ARRAY_LENGTH(keys); i++) {
		if (strcmp(keys[i].name, item) != 0)
			continue;
		if (set_number(d, &keys[i], value))
			return true;
		snprintf(why, why_size, "%s cannot be '%s'", item, value);
		return false;
	}
	if (set_word(d, item, value, scope, &is_known))
		return true;
	snprintf(why, why_size,
	    is_known ? "%s cannot be '%s'" : "unknown directive '%s=%s'", item,
	    value);
	return false;
}

bool
directives_apply(struct directives *d, const char *text, size_t n,
    enum directive_scope scope, char *why, size_t why_size)
{
	char item[DIRECTIVE_VALUE_MAX + 32];
	size_t i = 0;

	while (i < n) {
		const char *p = text + i;
		size_t len = 0;

		while (i + len < n && p[len] != ',' && p[len] != '\n')
			len++;
		i += len + 1;
		while (len > 0 && *p == ' ')
			p++, len--;
		while (len > 0 && p[len - 1] == ' ')
			len--;
		if (len == 0)
			continue;
		if (len >= sizeof item) {
			snprintf(why, why_size, "a directive is too long");
			return false;
		}
		memcpy(item, p, len);
		item[len] = '\0';
		if (strncmp(item, "only=", 5) == 0) {
			if (strcmp(item + 5, server_name) != 0)
				return true; /* the rest is for another */
			continue;
		}
		if (!set_one(d, item, scope, why, why_size))
			return false;
	}
	return true;
}

void
directives_set_name(const char *name)
{
	server_name = name;
}

void
directives_start(void)
{
	pthread_mutex_lock(&lock);
	directives_init(&defaults);
	pthread_mutex_unlock(&lock);
}

void
directives_defaults(struct directives *d, bool is_counted)
{
	pthread_mutex_lock(&lock);
	*d = defaults;
	if (is_counted && d->fail_times != DIRECTIVE_UNSET) {
		if (fail_left > 0) {
			fail_left--;
		} else {
			d->status = 0;
			d->fault = FAULT_none;
		}
	}
	pthread_mutex_unlock(&lock);
}

bool
directives_set_defaults(const char *text, size_t n, char *why, size_t why_size)
{
	struct directives d;
	bool ok;

	pthread_mutex_lock(&lock);
	d = defaults;
	d.fail_times = DIRECTIVE_UNSET;
	ok = directives_apply(&d, text, n, SCOPE_SERVER, why, why_size);
	if (ok && d.fail_times != DIRECTIVE_UNSET)
		fail_left = d.fail_times;
	else if (d.fault == defaults.fault && d.status == defaults.status)
		d.fail_times = defaults.fail_times; /* still counting */
	if (ok)
		defaults = d;
	pthread_mutex_unlock(&lock);
	return ok;
}

void
directives_keep_defaults(void)
{
	pthread_mutex_lock(&lock);
	kept = defaults;
	pthread_mutex_unlock(&lock);
}

void
directives_reset_defaults(void)
{
	pthread_mutex_lock(&lock);
	defaults = kept;
	fail_left = kept.fail_times > 0 ? kept.fail_times : 0;
	pthread_mutex_unlock(&lock);
}
