#include "auth/address.h"

#include <arpa/inet.h>
#include <assert.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"

#include "base/banned.h"

#define IPV4_OFFSET 12 /* where the four bytes stand */
#define IPV4_BITS 96   /* bits before them */
#define MAPPED(a, b, c, d)                                                   \
	{                                                                    \
		{                                                            \
			0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, a, b, c, d \
		}                                                            \
	}

/* All IPv4, and its neighbours on both sides. */
static const struct address first_ipv4 = MAPPED(0, 0, 0, 0);
static const struct address last_ipv4 = MAPPED(255, 255, 255, 255);
static const struct address before_ipv4 = {
    {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xfe, 0xff, 0xff, 0xff, 0xff}};
static const struct address behind_ipv4 = {
    {0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0}};

struct range {
	struct address first, last;
};

struct address_list {
	struct range *ranges; /* owned */
	size_t count, room;
	bool is_sealed;
};

static int
compare(const struct address *a, const struct address *b)
{
	return memcmp(a->bytes, b->bytes, sizeof a->bytes);
}

static bool
is_ipv4(const struct address *a)
{
	return memcmp(a->bytes, first_ipv4.bytes, IPV4_OFFSET) == 0;
}

struct address
address_of(const struct sockaddr *sa)
{
	struct address a = {{0}};

	if (sa->sa_family == AF_INET) {
		struct sockaddr_in in;

		memcpy(&in, sa, sizeof in);
		a = first_ipv4;
		memcpy(a.bytes + IPV4_OFFSET, &in.sin_addr, 4);
	} else if (sa->sa_family == AF_INET6) {
		struct sockaddr_in6 in6;

		memcpy(&in6, sa, sizeof in6);
		memcpy(a.bytes, &in6.sin6_addr, 16);
	}
	return a;
}

/* One part of an IPv4 address, up to `end` or a dot. */
static bool
take_part(struct slice *s, uint8_t *part)
{
	const char *dot = memchr(s->p, '.', s->len);
	size_t len = dot == NULL ? s->len : (size_t)(dot - s->p);
	uint64_t value;

	if (len > 3 || (len > 1 && s->p[0] == '0'))
		return false;
	if (!text_to_u64((struct slice){s->p, len}, 255, &value))
		return false;
	*part = (uint8_t)value;
	if (dot != NULL)
		len++;
	s->p += len;
	s->len -= len;
	return true;
}

static bool
parse_ipv4(struct slice s, struct address *out)
{
	struct address a = first_ipv4;

	for (size_t i = IPV4_OFFSET; i < 16; i++) {
		bool ends_here;

		if (s.len == 0 || !take_part(&s, &a.bytes[i]))
			return false;
		ends_here = s.len == 0 && s.p[-1] != '.';
		if (ends_here != (i == 15))
			return false;
	}
	*out = a;
	return true;
}

static bool
parse_ipv6(struct slice s, struct address *out)
{
	char text[INET6_ADDRSTRLEN];

	if (s.len >= sizeof text || memchr(s.p, '\0', s.len) != NULL)
		return false;
	memcpy(text, s.p, s.len);
	text[s.len] = '\0';
	return inet_pton(AF_INET6, text, out->bytes) == 1;
}

bool
address_parse(struct slice text, struct address *out)
{
	if (text.len == 0)
		return false;
	if (memchr(text.p, ':', text.len) != NULL)
		return parse_ipv6(text, out);
	return parse_ipv4(text, out);
}

void
address_format(char out[ADDRESS_TEXT_BYTES], const struct address *a)
{
	if (is_ipv4(a))
		inet_ntop(
		    AF_INET, a->bytes + IPV4_OFFSET, out, ADDRESS_TEXT_BYTES);
	else
		inet_ntop(AF_INET6, a->bytes, out, ADDRESS_TEXT_BYTES);
}

bool
address_equal(const struct address *a, const struct address *b)
{
	return compare(a, b) == 0;
}

struct address_list *
address_list_create(void)
{
	return xcalloc(sizeof(struct address_list));
}

void
address_list_destroy(struct address_list **lp)
{
	struct address_list *l = *lp;

	if (l == NULL)
		return;
	free(l->ranges);
	free(l);
	*lp = NULL;
}

static void
push_range(struct address_list *l, struct address first, struct address last)
{
	if (l->count == l->room) {
		l->room = l->room == 0 ? 8 : 2 * l->room;
		l->ranges =
		    xrealloc_array(l->ranges, l->room, sizeof *l->ranges);
	}
	l->ranges[l->count++] = (struct range){first, last};
	l->is_sealed = false;
}

/* IPv4 lies inside the IPv6 numbers; who writes ::/0 does not mean it. */
static void
add_range(struct address_list *l, struct address first, struct address last)
{
	bool straddles =
	    compare(&first, &first_ipv4) < 0 && compare(&last, &last_ipv4) >= 0;

	if (!straddles) {
		push_range(l, first, last);
		return;
	}
	push_range(l, first, before_ipv4);
	if (compare(&last, &last_ipv4) > 0)
		push_range(l, behind_ipv4, last);
}

/* The last address with the same first `bits` bits.  False if `a` has bits set
 * behind them. */
static bool
end_of_prefix(const struct address *a, unsigned bits, struct address *last)
{
	*last = *a;
	for (unsigned i = 0; i < 16; i++) {
		unsigned fixed = bits > 8 * i ? bits - 8 * i : 0;
		unsigned loose = fixed >= 8 ? 0 : 0xffu >> fixed;

		if ((a->bytes[i] & loose) != 0)
			return false;
		last->bytes[i] |= (uint8_t)loose;
	}
	return true;
}

/* The number behind the slash, counted over all 128 bits. */
static bool
parse_prefix(struct slice s, bool is_v4, unsigned *bits)
{
	uint64_t n;

	if (s.len > 3 || (s.len > 1 && s.p[0] == '0'))
		return false;
	if (!text_to_u64(s, is_v4 ? 32 : 128, &n))
		return false;
	*bits = (unsigned)n + (is_v4 ? IPV4_BITS : 0);
	return true;
}

bool
address_list_add(struct address_list *l, struct slice cidr, struct fault *why)
{
	const char *slash =
	    cidr.len == 0 ? NULL : memchr(cidr.p, '/', cidr.len);
	struct slice head = cidr, tail = {NULL, 0};
	int shown = cidr.len > 64 ? 64 : (int)cidr.len;
	struct address first, last;
	unsigned bits = 128;
	bool is_v4;

	if (slash != NULL) {
		head.len = (size_t)(slash - cidr.p);
		tail.p = slash + 1;
		tail.len = cidr.len - head.len - 1;
	}
	if (!address_parse(head, &first))
		return fault_set(why,
		    "'%.*s' is not an IP address or a range like 10.0.0.0/8",
		    shown, cidr.p);
	is_v4 = memchr(head.p, ':', head.len) == NULL;
	if (slash != NULL && !parse_prefix(tail, is_v4, &bits))
		return fault_set(why,
		    "'%.*s': behind the slash stands a number from 0 to %d",
		    shown, cidr.p, is_v4 ? 32 : 128);
	if (!end_of_prefix(&first, bits, &last))
		return fault_set(why,
		    "'%.*s' has bits set behind its prefix; write the first "
		    "address of the range",
		    shown, cidr.p);
	add_range(l, first, last);
	return true;
}

static int
by_first(const void *a, const void *b)
{
	const struct range *x = a, *y = b;

	return compare(&x->first, &y->first);
}

void
address_list_seal(struct address_list *l)
{
	size_t kept = 0;

	if (l->count > 1)
		qsort(l->ranges, l->count, sizeof *l->ranges, by_first);
	for (size_t i = 1; i < l->count; i++) {
		struct range *before = &l->ranges[kept];
		const struct range *r = &l->ranges[i];

		if (compare(&r->first, &before->last) > 0)
			l->ranges[++kept] = *r;
		else if (compare(&r->last, &before->last) > 0)
			before->last = r->last;
	}
	if (l->count > 0)
		l->count = kept + 1;
	l->is_sealed = true;
}

bool
address_list_has(const struct address_list *l, const struct address *a)
{
	size_t low = 0, high = l->count;

	assert(l->is_sealed || l->count == 0);
	while (low < high) {
		size_t middle = low + (high - low) / 2;
		const struct range *r = &l->ranges[middle];

		if (compare(a, &r->first) < 0)
			high = middle;
		else if (compare(a, &r->last) > 0)
			low = middle + 1;
		else
			return true;
	}
	return false;
}

bool
address_list_is_empty(const struct address_list *l)
{
	return l->count == 0;
}
