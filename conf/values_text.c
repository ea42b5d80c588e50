/* The types of value that are text.  The door is values.h. */
#include "conf/values.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/un.h>

#include "auth/address.h"
#include "conf/reference.h"
#include "conf/url.h"

#include "base/banned.h"

static bool
check_range(struct slice text, struct fault *why)
{
	struct address_list *l = address_list_create();
	bool ok = address_list_add(l, text, why);

	address_list_destroy(&l);
	return ok;
}

/* What a kernel takes for the name of a Unix socket. */
static bool
check_socket(struct slice text, struct fault *why)
{
	if (!slice_starts(text, "unix:") || text.len == 5)
		return fault_set(why, "must be unix:/path");
	if (text.len - 5 >= sizeof((struct sockaddr_un){0}).sun_path)
		return fault_set(why,
		    "the path of a socket has at most %zu "
		    "bytes",
		    sizeof((struct sockaddr_un){0}).sun_path - 1);
	return true;
}

static bool
check_target(struct slice text, struct fault *why)
{
	if (text.len == 0 || text.p[0] != '/')
		return fault_set(why, "must begin with /");
	if (!url_path_is_clean(text))
		return fault_set(why,
		    "must be a path alone: no blanks, ? or #, and no . or .. "
		    "in it");
	return true;
}

static bool
check_text(struct slice text, struct fault *why)
{
	if (text.len == 0)
		return fault_set(why, "is empty");
	if (!text_is_clean_utf8(text.p, text.len))
		return fault_set(
		    why, "holds a line break or another control character");
	return true;
}

bool
name_check(struct slice name, struct fault *why)
{
	if (!check_text(name, why))
		return false;
	if (name.len > NAME_MOST_BYTES)
		return fault_set(
		    why, "is longer than %d bytes", NAME_MOST_BYTES);
	if (slice_trim(name).len != name.len)
		return fault_set(why, "begins or ends with a blank");
	return true;
}

static bool
read_port(struct slice text, uint16_t *port, struct fault *why)
{
	uint64_t n;

	if (!text_to_u64(text, UINT16_MAX, &n))
		return fault_set(why, "the port must be a number up to 65535");
	*port = (uint16_t)n;
	return true;
}

bool
listen_read(struct slice text, struct listen_config *out, struct fault *why)
{
	const char *colon = memrchr(text.p, ':', text.len);
	char shown[QUOTED_BYTES];
	struct slice host;

	if (colon == NULL && slice_is_digits(text) && text.len <= 5)
		return fault_set(why,
		    "a port alone does not say which address; write "
		    "127.0.0.1:%.*s",
		    (int)text.len, text.p);
	if (colon == NULL || colon == text.p)
		return fault_set(why,
		    "must be an address and a port, as in "
		    "127.0.0.1:8643");
	host = (struct slice){text.p, (size_t)(colon - text.p)};
	if (!read_port((struct slice){colon + 1, text.len - host.len - 1},
		&out->port, why))
		return false;
	out->is_tailscale = slice_is(host, "tailscale");
	if (out->is_tailscale)
		return true;
	if (host.p[0] == '[' && host.p[host.len - 1] == ']') {
		host = (struct slice){host.p + 1, host.len - 2};
	} else if (memchr(host.p, ':', host.len) != NULL) {
		return fault_set(why,
		    "write an IPv6 address in brackets, as in "
		    "[::1]:8643");
	}
	if (address_parse(host, &out->address))
		return true;
	return fault_set(why,
	    "%s is not an IP address; names are not looked up here",
	    quoted(host, shown));
}

/* `${…}` means something in secrets and urls alone. */
static bool
refuse_reference(struct slice text, struct fault *why)
{
	if (!reference_is_in(text))
		return true;
	return fault_set(why,
	    "${…} works only in a url, an api_key and a "
	    "password");
}

/* The system's table of zones has a file for each. */
static bool
check_zone(struct slice text, struct fault *why)
{
	char path[256], shown[QUOTED_BYTES];
	struct stat st;
	bool is_clean = text.len > 0 && text.len < 128 && text.p[0] != '/' &&
	    memmem(text.p, text.len, "..", 2) == NULL;

	snprintf(path, sizeof path, "/usr/share/zoneinfo/%.*s",
	    is_clean ? (int)text.len : 0, text.p);
	if (slice_is(text, "UTC") ||
	    (is_clean && stat(path, &st) == 0 && S_ISREG(st.st_mode)))
		return true;
	return fault_set(why,
	    "%s is no time zone of this machine; one looks like Europe/Berlin "
	    "(timedatectl list-timezones; package tzdata)",
	    quoted(text, shown));
}

static bool
check_url(const struct key *k, struct slice text, struct fault *why)
{
	struct reference r;
	struct redis_url redis;
	struct url u;

	if (reference_is_in(text))
		return reference_parse(text, &r, why);
	return k->type == TYPE_URL ? url_read(text, &u, why)
				   : url_read_redis(text, &redis, why);
}

static bool
check_secret(const struct key *k, struct slice text, struct fault *why)
{
	struct reference r;

	if (reference_is_in(text))
		return check_text(text, why) && reference_parse(text, &r, why);
	return fault_set(why,
	    "%s must not be written here; use ${credential:NAME}, ${env:NAME} "
	    "or ${file:PATH}",
	    key_name(k));
}

static bool
check_version(struct slice text, struct fault *why)
{
	char shown[QUOTED_BYTES];

	if (slice_is(text, "1"))
		return true;
	return fault_set(why,
	    "%s is not known to this version of weir, which "
	    "reads version 1",
	    quoted(text, shown));
}

bool
value_check_text(const struct key *k, struct slice text, struct fault *why)
{
	struct listen_config listen;

	if (k->type == TYPE_SECRET)
		return check_secret(k, text, why);
	if (!check_text(text, why))
		return false;
	if (k->type == TYPE_URL || k->type == TYPE_REDIS_URL)
		return check_url(k, text, why);
	if (!refuse_reference(text, why))
		return false;
	if (k->type == TYPE_VERSION)
		return check_version(text, why);
	if (k->type == TYPE_NAME)
		return name_check(text, why);
	if (k->type == TYPE_ZONE)
		return check_zone(text, why);
	if (k->type == TYPE_TARGET)
		return check_target(text, why);
	if (k->type == TYPE_LISTEN)
		return listen_read(text, &listen, why);
	if (k->type == TYPE_SOCKET)
		return check_socket(text, why);
	if (k->type == TYPE_RANGE)
		return check_range(text, why);
	return true;
}
