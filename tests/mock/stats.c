#include "stats.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <string.h>

#define STATUS_END 1000

enum stat_kind {
	KIND_COUNT,
	KIND_GAUGE,
	KIND_PEAK,
};

struct route_info {
	const char *name;
	const char *method;
	const char *path;
};

static const char *const stat_names[STAT_COUNT] = {
#define STAT_NAME(name, kind, help) #name,
    STATS(STAT_NAME)
#undef STAT_NAME
};

static const enum stat_kind stat_kinds[STAT_COUNT] = {
#define STAT_KIND(name, kind, help) KIND_##kind,
    STATS(STAT_KIND)
#undef STAT_KIND
};

static const struct route_info routes[ROUTE_NONE] = {
#define ROUTE_INFO(name, method, path) {#name, method, path},
    ROUTES(ROUTE_INFO)
#undef ROUTE_INFO
};

static _Atomic uint64_t stats[STAT_COUNT];
static _Atomic uint64_t route_counts[ROUTE_NONE];
static _Atomic uint64_t status_counts[STATUS_END];

static bool
is_text(const char *p, size_t n, const char *text)
{
	return strlen(text) == n && memcmp(p, text, n) == 0;
}

enum route
stats_find_route(
    const char *method, size_t method_len, const char *path, size_t path_len)
{
	if (is_text(path, path_len, "/v2/rerank") ||
	    (path_len > 4 && memcmp(path, "/v1/", 4) == 0)) {
		path += 3;
		path_len -= 3;
	}
	for (int i = 0; i < ROUTE_NONE; i++)
		if (is_text(path, path_len, routes[i].path) &&
		    is_text(method, method_len, routes[i].method))
			return (enum route)i;
	return ROUTE_NONE;
}

const char *
stats_route_name(enum route r)
{
	if (r < ROUTE_NONE)
		return routes[r].name;
	return r == ROUTE_CONTROL ? "control" : "none";
}

void
stats_add(enum stat s, uint64_t n)
{
	atomic_fetch_add_explicit(&stats[s], n, memory_order_relaxed);
}

void
stats_sub(enum stat s, uint64_t n)
{
	atomic_fetch_sub_explicit(&stats[s], n, memory_order_relaxed);
}

void
stats_peak(enum stat gauge, enum stat peak)
{
	uint64_t now = atomic_fetch_add(&stats[gauge], 1) + 1;
	uint64_t seen = atomic_load(&stats[peak]);

	while (now > seen &&
	    !atomic_compare_exchange_weak(&stats[peak], &seen, now))
		continue;
}

void
stats_count_route(enum route r)
{
	if (r < ROUTE_NONE)
		atomic_fetch_add(&route_counts[r], 1);
}

void
stats_count_status(int status)
{
	if (status >= 0 && status < STATUS_END)
		atomic_fetch_add(&status_counts[status], 1);
}

void
stats_render(struct bytes *b, const char *name)
{
	const char *comma = "";

	bytes_puts(b, "{\"name\":");
	bytes_json(b, name, strlen(name));
	for (int i = 0; i < STAT_COUNT; i++)
		bytes_printf(b, ",\"%s\":%lu", stat_names[i],
		    (unsigned long)atomic_load(&stats[i]));
	bytes_puts(b, ",\"routes\":{");
	for (int i = 0; i < ROUTE_NONE; i++)
		bytes_printf(b, "%s\"%s\":%lu", i > 0 ? "," : "",
		    routes[i].name,
		    (unsigned long)atomic_load(&route_counts[i]));
	bytes_puts(b, "},\"statuses\":{");
	for (int i = 0; i < STATUS_END; i++) {
		uint64_t n = atomic_load(&status_counts[i]);

		if (n == 0)
			continue;
		bytes_printf(b, "%s\"%d\":%lu", comma, i, (unsigned long)n);
		comma = ",";
	}
	bytes_puts(b, "}}\n");
}

void
stats_reset(void)
{
	for (int i = 0; i < STAT_COUNT; i++)
		if (stat_kinds[i] != KIND_GAUGE)
			atomic_store(&stats[i], 0);
	for (int i = 1; i < STAT_COUNT; i++) /* each behind its gauge */
		if (stat_kinds[i] == KIND_PEAK)
			atomic_store(&stats[i], atomic_load(&stats[i - 1]));
	for (int i = 0; i < ROUTE_NONE; i++)
		atomic_store(&route_counts[i], 0);
	for (int i = 0; i < STATUS_END; i++)
		atomic_store(&status_counts[i], 0);
}
