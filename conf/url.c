#include "conf/url.h"

#include <ctype.h>
#include <string.h>

#include "auth/address.h"

#include "base/banned.h"

#define HOST_MOST_BYTES 253

/* Where clouds tell a machine its own secrets; no model server is there. */
static const char *const metadata_addresses[] = {
    "169.254.169.254", "fd00:ec2::254"};

/* Tails of our own routes: written by who takes the base for the whole. */
static const char *const route_tails[] = {"/chat/completions", "/completions",
    "/embeddings", "/rerank", "/responses", "/messages"};

static bool
ends_with(struct slice s, const char *tail)
{
	size_t n = strlen(tail);

	return s.len >= n && memcmp(s.p + s.len - n, tail, n) == 0;
}

static bool
has_dot_segment(struct slice path)
{
	for (size_t i = 0; i + 1 < path.len; i++) {
		struct slice rest = {path.p + i, path.len - i};

		if (slice_is(rest, "/.") || slice_starts(rest, "/./") ||
		    slice_is(rest, "/..") || slice_starts(rest, "/../"))
			return true;
	}
	return false;
}

bool
url_path_is_clean(struct slice path)
{
	for (size_t i = 0; i < path.len; i++)
		if (path.p[i] <= ' ' || path.p[i] > '~' ||
		    strchr("?#\"<>\\", path.p[i]) != NULL)
			return false;
	return !has_dot_segment(path);
}

static bool
take(struct slice *s, const char *prefix)
{
	size_t n = strlen(prefix);

	if (!slice_starts(*s, prefix))
		return false;
	s->p += n;
	s->len -= n;
	return true;
}

/* The system's resolver takes 2852039166 or 0xa9.254 for addresses too. */
static bool
looks_numeric(struct slice host)
{
	const char *dot;
	struct slice last = host;

	while (last.len > 0 && last.p[last.len - 1] == '.')
		last.len--;
	dot = last.len == 0 ? NULL : memrchr(last.p, '.', last.len);
	if (dot != NULL) {
		last.len -= (size_t)(dot + 1 - last.p);
		last.p = dot + 1;
	}
	if (slice_starts(last, "0x") || slice_starts(last, "0X"))
		return true;
	for (size_t i = 0; i < last.len; i++)
		if (!isdigit((unsigned char)last.p[i]))
			return false;
	return last.len > 0;
}

static bool
check_address(const struct address *a, struct fault *why)
{
	for (size_t i = 0; i < COUNT_OF(metadata_addresses); i++) {
		struct address metadata;

		if (address_parse(slice_of(metadata_addresses[i]), &metadata) &&
		    address_equal(a, &metadata))
			return fault_set(why,
			    "%s is a cloud's metadata service, no model "
			    "server",
			    metadata_addresses[i]);
	}
	return true;
}

static bool
check_host(struct slice host, bool is_bracketed, struct fault *why)
{
	struct address a;

	if (host.len == 0)
		return fault_set(why, "has no host");
	if (address_parse(host, &a)) {
		if (is_bracketed != (memchr(host.p, ':', host.len) != NULL))
			return fault_set(
			    why, "brackets are for IPv6 addresses");
		return check_address(&a, why);
	}
	if (is_bracketed || looks_numeric(host))
		return fault_set(why, "its host is not an IP address");
	if (host.len > HOST_MOST_BYTES)
		return fault_set(
		    why, "its host is longer than %d bytes", HOST_MOST_BYTES);
	for (size_t i = 0; i < host.len; i++)
		if (!isalnum((unsigned char)host.p[i]) &&
		    strchr("-._", host.p[i]) == NULL)
			return fault_set(why,
			    "its host has a character that no host name has");
	if (strchr("-.", host.p[0]) != NULL)
		return fault_set(why, "its host begins with '%c'", host.p[0]);
	return true;
}

static bool
read_port(struct slice digits, uint16_t *port, struct fault *why)
{
	uint64_t n;

	if (!text_to_u64(digits, UINT16_MAX, &n) || n == 0)
		return fault_set(why, "its port must be 1 to 65535");
	*port = (uint16_t)n;
	return true;
}

/* Takes host[:port] or [address][:port] apart. */
static bool
read_authority(struct url *u, struct fault *why)
{
	struct slice rest = u->authority;
	bool is_bracketed = rest.len > 0 && rest.p[0] == '[';
	size_t n = 0;

	while (n < rest.len && rest.p[n] != (is_bracketed ? ']' : ':'))
		n++;
	u->host = (struct slice){rest.p, n};
	if (is_bracketed) {
		u->host = (struct slice){rest.p + 1, n - 1};
		n += n < rest.len;
	}
	rest = (struct slice){rest.p + n, rest.len - n};
	if (!check_host(u->host, is_bracketed, why))
		return false;
	if (rest.len == 0)
		return true;
	if (!take(&rest, ":"))
		return fault_set(why,
		    "its host is followed by something that "
		    "is no port");
	return read_port(rest, &u->port, why);
}

static bool
check_path(struct slice path, struct fault *why)
{
	if (!url_path_is_clean(path))
		return fault_set(why,
		    "its path has a character that does not "
		    "belong there, or . or ..");
	for (size_t i = 0; i < COUNT_OF(route_tails); i++)
		if (ends_with(path, route_tails[i]))
			return fault_set(why,
			    "is the base alone; leave out %s at its end",
			    route_tails[i]);
	return true;
}

/* A secret in a url would be logged by everyone on the way. */
static bool
refuse_secrets(struct slice rest, struct fault *why)
{
	size_t host_end = 0;

	while (host_end < rest.len && strchr("/?#", rest.p[host_end]) == NULL)
		host_end++;
	if (memchr(rest.p, '@', host_end) != NULL)
		return fault_set(why,
		    "must not hold a user or a password; use "
		    "api_key: ${…}");
	if (memchr(rest.p, '?', rest.len) != NULL)
		return fault_set(why,
		    "must not hold a query; a key goes into "
		    "api_key: ${…}");
	if (memchr(rest.p, '#', rest.len) != NULL)
		return fault_set(why, "must not hold a fragment (#)");
	return true;
}

bool
url_read(struct slice text, struct url *out, struct fault *why)
{
	struct slice rest = text;
	const char *slash;

	*out = (struct url){0};
	if (text.len > URL_MOST_BYTES)
		return fault_set(
		    why, "is longer than %d bytes", URL_MOST_BYTES);
	out->is_tls = take(&rest, "https://");
	if (!out->is_tls && !take(&rest, "http://"))
		return fault_set(why, "must begin with http:// or https://");
	if (!refuse_secrets(rest, why))
		return false;
	slash = memchr(rest.p, '/', rest.len);
	out->authority = rest;
	if (slash != NULL) {
		out->authority.len = (size_t)(slash - rest.p);
		out->path =
		    (struct slice){slash, rest.len - out->authority.len};
	}
	while (out->path.len > 0 && out->path.p[out->path.len - 1] == '/')
		out->path.len--;
	out->has_path = out->path.len > 0;
	out->port = out->is_tls ? 443 : 80;
	return read_authority(out, why) && check_path(out->path, why);
}

bool
url_read_redis(struct slice text, struct redis_url *out, struct fault *why)
{
	struct slice rest = text;
	struct url u = {.port = 6379};
	const char *slash;
	uint64_t db = 0;

	*out = (struct redis_url){0};
	if (take(&rest, "unix:")) {
		out->path = rest;
		return rest.len > 0 && rest.p[0] == '/'
		    ? true
		    : fault_set(why, "unix: is followed by a path");
	}
	out->is_tls = take(&rest, "rediss://");
	if (!out->is_tls && !take(&rest, "redis://"))
		return fault_set(why,
		    "must begin with redis://, rediss:// or "
		    "unix:/");
	if (memchr(rest.p, '@', rest.len) != NULL)
		return fault_set(why,
		    "must not hold a user or a password; use "
		    "password: ${…}");
	slash = memchr(rest.p, '/', rest.len);
	u.authority = rest;
	if (slash != NULL) {
		u.authority.len = (size_t)(slash - rest.p);
		rest.p += u.authority.len + 1;
		rest.len -= u.authority.len + 1;
		if (rest.len > 0 && !text_to_u64(rest, 1000000, &db))
			return fault_set(
			    why, "has no number of a database behind its /");
	}
	if (u.authority.len == 0)
		return fault_set(why, "has no host");
	if (!read_authority(&u, why))
		return false;
	out->host = u.host;
	out->port = u.port;
	out->db = (unsigned)db;
	return true;
}
