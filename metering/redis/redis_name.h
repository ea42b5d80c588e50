/*
 * redis_name.h - Redis's name to addresses, without anybody having to wait for
 * getaddrinfo(3) to come back.
 *
 * The look-up runs on a thread of its own that nobody joins; who asked waits
 * for a descriptor.  A look-up that has not come back is waited for by the next
 * try, so there is never more than one.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

#include "base/attr.h"
#include "base/fault.h"

#define REDIS_ADDRESSES_MOST 8

struct redis_name;

/* Looks up an address written as such, without any waiting.  False if `host` is
 * a name. */
MUST_CHECK bool redis_name_literal(const char *host, uint16_t port,
    struct sockaddr_storage *out, socklen_t *len);

/* Begins to look `host` up.  NULL with the reason.  The caller owns it. */
MUST_CHECK struct redis_name *redis_name_ask(
    const char *host, uint16_t port, struct fault *why);

/* Readable once the look-up has ended. */
int redis_name_fd(const struct redis_name *n);

/* After that: the addresses.  Returns how many; 0 with the reason. */
size_t redis_name_take(struct redis_name *n,
    struct sockaddr_storage out[REDIS_ADDRESSES_MOST],
    socklen_t lengths[REDIS_ADDRESSES_MOST], struct fault *why);

/* Gives up waiting; the thread goes when getaddrinfo() comes back.  *np may be
 * NULL. */
void redis_name_destroy(struct redis_name **np);
