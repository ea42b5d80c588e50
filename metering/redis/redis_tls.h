/*
 * redis_tls.h - TLS towards Redis on a socket that does not block.
 *
 * The peer is verified, and its certificate is for the host we asked for.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "base/attr.h"
#include "base/fault.h"

struct redis_tls;

/* A connection in client state on `fd` (still the caller's); `ca_file` NULL is
 * the system's store.  NULL with the reason.  The caller owns it. */
MUST_CHECK struct redis_tls *redis_tls_create(
    const char *ca_file, const char *host, int fd, struct fault *why);

/* Goes on with the handshake.  True when it has ended well. */
MUST_CHECK bool redis_tls_shake(struct redis_tls *t);

/* As read(2) and write(2); -1 as long as redis_tls_wants() something. */
ssize_t redis_tls_read(struct redis_tls *t, void *p, size_t len);
ssize_t redis_tls_write(struct redis_tls *t, const void *p, size_t len);

/* What the last call waits for: POLLIN, POLLOUT; 0: it has failed. */
short redis_tls_wants(const struct redis_tls *t);

/* Then: why. */
const char *redis_tls_error(struct redis_tls *t);

/* Says goodbye, frees *tp and sets it to NULL.  *tp may be NULL. */
void redis_tls_destroy(struct redis_tls **tp);
