/*
 * address.h - who is calling: IP addresses and lists of ranges.
 *
 * An address is 16 bytes, IPv4 as ::ffff:a.b.c.d, so that 100.64.0.1 and
 * ::ffff:100.64.0.1 are the same caller.  A list is sorted, merged ranges,
 * built once; a look-up is a binary search.  A range of IPv6 addresses
 * does not hold IPv4 callers: everyone is 0.0.0.0/0 and ::/0.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

#include "base/attr.h"
#include "base/fault.h"
#include "base/text.h"

struct address {
	uint8_t bytes[16]; /* network order */
};

#define ADDRESS_TEXT_BYTES 48

/* From what accept(2) gives.  Other families become the address ::. */
struct address address_of(const struct sockaddr *sa);

/* Reads one address, without a port; "[::1]" and scope ids are refused, and so
 * is a part with a leading zero (010.0.0.1: octal to some). */
MUST_CHECK bool address_parse(struct slice text, struct address *out);

/* Writes it as people do: IPv4 dotted, IPv6 as RFC 5952. */
void address_format(char out[ADDRESS_TEXT_BYTES], const struct address *a);

bool address_equal(const struct address *a, const struct address *b);

struct address_list;

/* Never NULL; empty.  The caller owns it. */
struct address_list *address_list_create(void);

void address_list_destroy(struct address_list **lp);

/* Adds a range in CIDR form or a single address.  False with the reason: not an
 * address, prefix too long, bits set behind the prefix, leading zeros. */
MUST_CHECK bool address_list_add(
    struct address_list *l, struct slice cidr, struct fault *why);

/* Sorts and merges; call once after the last address_list_add(). */
void address_list_seal(struct address_list *l);

bool address_list_has(const struct address_list *l, const struct address *a);

bool address_list_is_empty(const struct address_list *l);
