#include "proxy/usage_query.h"

#include <stdio.h>
#include <string.h>

#include "base/banned.h"

#define HOUR_MS INT64_C(3600000)
#define DAY_MS (24 * HOUR_MS)
#define LATEST_SECONDS UINT64_C(253402300799) /* the end of the year 9999 */
#define PAGE_PREFIX "page_"

/* The buckets that there are: word, period, width, how many on a page if
 * nothing is said, and at most. */
static const struct width {
	const char *word;
	enum report_period period;
	int64_t ms;
	uint64_t fallback, most;
} widths[] = {
    {"1d", REPORT_DAILY, DAY_MS, 7, 31},
    {"1h", REPORT_HOURLY, HOUR_MS, 24, 168},
};

static const struct group {
	const char *word;
	enum rollup_name name;
} groups[] = {
    {"model", ROLLUP_MODEL},
    {"api_key_id", ROLLUP_KEY},
    {"user_id", ROLLUP_USER},
    {"upstream", ROLLUP_UPSTREAM},
};

/* What was said, before it is put together. */
struct said {
	struct usage_query *out;
	const struct width *width;
	uint64_t start, end, page, limit; /* seconds; UINT64_MAX: not said */
	bool has_width, has_model, has_key;
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

/* Decodes %41 and +.  False if it does not fit, is damaged, or hides a control
 * character. */
static bool
decode(struct slice s, char out[USAGE_QUERY_TEXT_BYTES])
{
	size_t n = 0;

	for (size_t i = 0; i < s.len; i++) {
		char c = s.p[i] == '+' ? ' ' : s.p[i];

		if (c == '%') {
			int high = i + 2 < s.len ? hex_value(s.p[i + 1]) : -1;
			int low = i + 2 < s.len ? hex_value(s.p[i + 2]) : -1;

			if (high < 0 || low < 0)
				return false;
			c = (char)(high << 4 | low);
			i += 2;
		}
		if (n + 1 == USAGE_QUERY_TEXT_BYTES || (unsigned char)c < ' ')
			return false;
		out[n++] = c;
	}
	out[n] = '\0';
	return text_is_clean_utf8(out, n);
}

static bool
said_twice(const char *name, struct fault *why)
{
	return fault_set(why, "%s may be given once.", name);
}

static bool
take_time(const char *name, const char *value, uint64_t *to, struct fault *why)
{
	if (*to != UINT64_MAX)
		return said_twice(name, why);
	if (text_to_u64(slice_of(value), LATEST_SECONDS, to))
		return true;
	return fault_set(why,
	    "%s must be a time in whole seconds since 1970, like 1763596800.",
	    name);
}

static bool
take_width(struct said *q, const char *value, struct fault *why)
{
	if (q->has_width)
		return said_twice("bucket_width", why);
	q->has_width = true;
	for (size_t i = 0; i < COUNT_OF(widths); i++) {
		if (strcmp(value, widths[i].word) == 0) {
			q->width = &widths[i];
			return true;
		}
	}
	return fault_set(
	    why, "bucket_width must be 1h or 1d; nothing finer is kept.");
}

static bool
take_group(struct said *q, struct slice word, struct fault *why)
{
	for (size_t i = 0; i < COUNT_OF(groups); i++) {
		if (slice_is(word, groups[i].word)) {
			q->out->by[groups[i].name] = true;
			return true;
		}
	}
	return fault_set(
	    why, "group_by takes model, api_key_id, user_id and upstream.");
}

static bool
take_groups(struct said *q, const char *value, struct fault *why)
{
	for (const char *p = value;; p++) {
		size_t n = strcspn(p, ",");

		if (!take_group(q, (struct slice){p, n}, why))
			return false;
		p += n;
		if (*p == '\0')
			return true;
	}
}

static bool
take_limit(struct said *q, const char *value, struct fault *why)
{
	if (q->limit != UINT64_MAX)
		return said_twice("limit", why);
	/* How many may be asked for is not known before the width is. */
	if (text_to_u64(slice_of(value), 1000000, &q->limit) && q->limit > 0)
		return true;
	return fault_set(why, "limit must be a number of buckets, from 1 on.");
}

static bool
take_page(struct said *q, const char *value, struct fault *why)
{
	const size_t n = sizeof PAGE_PREFIX - 1;

	if (q->page != UINT64_MAX)
		return said_twice("page", why);
	if (strncmp(value, PAGE_PREFIX, n) == 0 &&
	    text_to_u64(slice_of(value + n), LATEST_SECONDS, &q->page))
		return true;
	return fault_set(
	    why, "page must be the next_page of the answer before.");
}

static bool
take_only(
    const char *name, const char *value, bool *has, char *to, struct fault *why)
{
	if (*has)
		return fault_set(why, "%s takes one at a time.", name);
	*has = true;
	if (value[0] == '\0')
		return fault_set(why, "%s must not be empty.", name);
	memcpy(to, value, strlen(value) + 1);
	return true;
}

static bool
take(struct said *q, const char *name, const char *value, struct fault *why)
{
	if (strcmp(name, "start_time") == 0)
		return take_time(name, value, &q->start, why);
	if (strcmp(name, "end_time") == 0)
		return take_time(name, value, &q->end, why);
	if (strcmp(name, "bucket_width") == 0)
		return take_width(q, value, why);
	if (strcmp(name, "group_by") == 0)
		return take_groups(q, value, why);
	if (strcmp(name, "limit") == 0)
		return take_limit(q, value, why);
	if (strcmp(name, "page") == 0)
		return take_page(q, value, why);
	if (strcmp(name, "models") == 0)
		return take_only(
		    name, value, &q->has_model, q->out->model, why);
	if (strcmp(name, "api_key_ids") == 0)
		return take_only(name, value, &q->has_key, q->out->key, why);
	return fault_set(why,
	    "The query may have start_time, end_time, bucket_width, group_by, "
	    "models, api_key_ids, limit and page.");
}

static bool
take_pair(struct said *q, struct slice pair, struct fault *why)
{
	const char *equals = memchr(pair.p, '=', pair.len);
	size_t at = equals == NULL ? pair.len : (size_t)(equals - pair.p);
	char name[USAGE_QUERY_TEXT_BYTES], value[USAGE_QUERY_TEXT_BYTES] = "";
	size_t n;

	if (!decode((struct slice){pair.p, at}, name) ||
	    (equals != NULL &&
		!decode((struct slice){equals + 1, pair.len - at - 1}, value)))
		return fault_set(why,
		    "The query is damaged: a part of it is too long, or is no "
		    "text behind its percent signs.");
	n = strlen(name);
	if (n > 2 && strcmp(name + n - 2, "[]") == 0)
		name[n - 2] = '\0';
	return take(q, name, value, why);
}

static int64_t
bucket_of(int64_t ms, int64_t width_ms)
{
	return ms / width_ms * width_ms;
}

/* From what was said to the buckets of this page.  The one that is running is
 * the last there is. */
static bool
set_range(const struct said *q, int64_t now_ms, struct fault *why)
{
	struct usage_query *out = q->out;
	int64_t width = q->width->ms;
	int64_t end = bucket_of(now_ms, width) + width;
	int64_t count =
	    (int64_t)(q->limit == UINT64_MAX ? q->width->fallback : q->limit);
	int64_t begin, page;

	if (count > (int64_t)q->width->most)
		return fault_set(why,
		    "limit is at most %llu for buckets of %s; ask for the "
		    "others by page.",
		    (unsigned long long)q->width->most, q->width->word);
	if (q->start != UINT64_MAX && q->end != UINT64_MAX &&
	    q->end <= q->start)
		return fault_set(why, "end_time must be after start_time.");
	/* Up to the end of the bucket that end_time is in. */
	if (q->end != UINT64_MAX && (int64_t)q->end * 1000 < end)
		end = bucket_of((int64_t)q->end * 1000 + width - 1, width);
	begin = q->start == UINT64_MAX
	    ? end - count * width
	    : bucket_of((int64_t)q->start * 1000, width);
	if (begin < 0)
		begin = 0;
	page = q->page == UINT64_MAX ? begin : (int64_t)q->page * 1000;
	if (page < begin || page % width != 0)
		return fault_set(
		    why, "page does not belong to this start_time.");
	out->period = q->width->period;
	out->width_ms = width;
	out->begin_ms = page;
	out->end_ms = end - page > count * width ? page + count * width : end;
	if (out->end_ms < page)
		out->end_ms = page; /* it lies in the future: no buckets */
	out->has_more = out->end_ms < end;
	return true;
}

bool
usage_query_parse(struct slice query, int64_t now_ms, struct usage_query *out,
    struct fault *why)
{
	struct said q = {.out = out,
	    .width = &widths[0],
	    .start = UINT64_MAX,
	    .end = UINT64_MAX,
	    .page = UINT64_MAX,
	    .limit = UINT64_MAX};

	memset(out, 0, sizeof *out);
	while (query.len > 0) {
		const char *and = memchr(query.p, '&', query.len);
		size_t n = and == NULL ? query.len : (size_t)(and-query.p);

		if (n > 0 && !take_pair(&q, (struct slice){query.p, n}, why))
			return false;
		n += and != NULL;
		query.p += n;
		query.len -= n;
	}
	return set_range(&q, now_ms, why);
}
