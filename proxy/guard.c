#include "proxy/guard.h"

#include "base/banned.h"

static enum method
method_of(struct slice s)
{
	if (slice_is(s, "GET"))
		return METHOD_GET;
	if (slice_is(s, "POST"))
		return METHOD_POST;
	if (slice_is(s, "HEAD"))
		return METHOD_HEAD;
	return METHOD_OTHER;
}

/* The target in origin form: visible ASCII that begins with a slash, and no
 * fragment. */
static bool
is_target(struct slice t)
{
	if (t.len == 0 || t.p[0] != '/')
		return false;
	for (size_t i = 0; i < t.len; i++)
		if (t.p[i] <= 0x20 || t.p[i] >= 0x7f || t.p[i] == '#')
			return false;
	return true;
}

static enum end
check_request_line(struct slice line, struct request *r)
{
	const char *end = line.p + line.len;
	const char *space = memchr(line.p, ' ', line.len);
	const char *second;
	struct slice method, version;

	if (space == NULL)
		return END_BAD_REQUEST;
	method = (struct slice){line.p, (size_t)(space - line.p)};
	second = memchr(space + 1, ' ', (size_t)(end - space - 1));
	if (second == NULL || !is_token(method))
		return END_BAD_REQUEST;
	r->target = (struct slice){space + 1, (size_t)(second - space - 1)};
	version = (struct slice){second + 1, (size_t)(end - second - 1)};
	if (r->target.len > GUARD_TARGET_MOST_BYTES)
		return END_TARGET_TOO_LONG;
	if (version.len != 8 || !slice_starts(version, "HTTP/") ||
	    memchr(version.p, ' ', version.len) != NULL)
		return END_BAD_REQUEST;
	if (!slice_is(version, "HTTP/1.1") && !slice_is(version, "HTTP/1.0"))
		return END_VERSION;
	r->minor = (uint8_t)(version.p[7] - '0');
	r->method = method_of(method);
	if (!is_target(r->target))
		return r->method == METHOD_OTHER ? END_METHOD : END_BAD_REQUEST;
	return END_OK;
}

static void
split_target(struct request *r)
{
	const char *mark = memchr(r->target.p, '?', r->target.len);

	r->path = r->target;
	if (mark == NULL)
		return;
	r->path.len = (size_t)(mark - r->target.p);
	r->query = (struct slice){mark + 1, r->target.len - r->path.len - 1};
}

/* What counts while the fields are gone through once. */
struct counts {
	unsigned hosts, authorizations, expects;
};

/* One key may come by several names, if it is the same one.  An empty value is
 * no credential. */
static bool
take_credential(struct request *r, struct slice value)
{
	if (value.len == 0)
		return true;
	if (r->credential.p == NULL) {
		r->credential = value;
		return true;
	}
	return r->credential.len == value.len &&
	    memcmp(r->credential.p, value.p, value.len) == 0;
}

/* The token behind "Bearer " (RFC 6750: one blank; the scheme's case does not
 * matter).  Another scheme stays whole, and will be no key of ours. */
static struct slice
bearer(struct slice value)
{
	struct slice scheme = {value.p, value.len < 7 ? 0 : 7};

	if (slice_is_nocase(scheme, "bearer "))
		return (struct slice){value.p + 7, value.len - 7};
	if (slice_is_nocase(value, "bearer"))
		return (struct slice){value.p, 0};
	return value;
}

static enum end
check_expect(struct request *r, struct counts *n, struct slice value)
{
	if (++n->expects > 1 || !slice_is_nocase(value, "100-continue"))
		return END_EXPECTATION;
	r->says_continue = r->minor == 1;
	return END_OK;
}

/* A name that differs from a framing field's only by '_' for '-' is read as
 * that field by some servers. */
static bool
is_framing_lookalike(struct slice name)
{
	return slice_is_nocase(name, "content_length") ||
	    slice_is_nocase(name, "transfer_encoding");
}

static enum end
check_field(struct request *r, const struct http_field *f, struct counts *n)
{
	struct slice name = f->name, value = f->value;

	switch (name.len) {
	case 4:
		if (slice_is_nocase(name, "host"))
			n->hosts++;
		break;
	case 6:
		if (slice_is_nocase(name, "expect"))
			return check_expect(r, n, value);
		break;
	case 7:
		if (slice_is_nocase(name, "api-key") &&
		    !take_credential(r, value))
			return END_KEY_AMBIGUOUS;
		break;
	case 9:
		if (slice_is_nocase(name, "x-api-key") &&
		    !take_credential(r, value))
			return END_KEY_AMBIGUOUS;
		break;
	case 10:
		if (slice_is_nocase(name, "user-agent"))
			r->user_agent = value;
		break;
	case 12:
		if (slice_is_nocase(name, "x-request-id"))
			r->request_id = value;
		else if (slice_is_nocase(name, "x-session-id"))
			r->session = value;
		else if (slice_is_nocase(name, "x-weir-class"))
			r->class = value;
		break;
	case 13:
		if (!slice_is_nocase(name, "authorization"))
			break;
		if (++n->authorizations > 1 ||
		    !take_credential(r, bearer(value)))
			return END_KEY_AMBIGUOUS;
		break;
	case 15:
		if (slice_is_nocase(name, "x-weir-max-ttft"))
			r->max_ttft = value;
		break;
	case 16:
		if (slice_is_nocase(name, "content-encoding"))
			r->is_encoded = value.len > 0 &&
			    !slice_is_nocase(value, "identity");
		break;
	case 14:
	case 17:
		if (is_framing_lookalike(name))
			return END_BAD_REQUEST;
		break;
	case 19:
		if (slice_is_nocase(name, "x-stainless-timeout"))
			r->timeout = value;
		break;
	case 20:
		if (slice_is_nocase(name, "x-litellm-session-id"))
			r->session = value;
		break;
	case 24:
		if (slice_is_nocase(name, "x-claude-code-session-id"))
			r->session = value;
		else if (slice_is_nocase(name, "x-stainless-read-timeout"))
			r->read_timeout = value;
		break;
	default:
		break;
	}
	return END_OK;
}

enum end
guard_check(const struct head *head, struct request *r)
{
	struct counts n = {0};
	enum end e;

	*r = (struct request){.head = head,
	    .framing = head->framing,
	    .content_length = head->content_length,
	    .path = {"", 0}};
	if ((e = check_request_line(head->start_line, r)) != END_OK)
		return e;
	split_target(r);
	for (size_t i = 0; i < head->count; i++)
		if ((e = check_field(r, &head->fields[i], &n)) != END_OK)
			return e;
	if (n.hosts > 1 || (n.hosts == 0 && r->minor == 1))
		return END_BAD_REQUEST;
	if (r->minor == 0 && r->framing == FRAMING_CHUNKED)
		return END_BAD_REQUEST;
	/* A chunked body's connection is not used again: should anyone in front
	 * of us see another end in it, nothing follows that could be taken for
	 * a request. */
	r->keeps_alive = r->framing != FRAMING_CHUNKED && !head->says_close &&
	    (r->minor == 1 || head->says_keep_alive);
	if (r->method == METHOD_OTHER)
		return END_METHOD;
	return END_OK;
}
