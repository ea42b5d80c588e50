/*
 * tls.h - TLS towards upstreams: verified, with the name, resumed.
 */
#pragma once

#include <openssl/ssl.h>
#include <stdbool.h>

#include "base/attr.h"
#include "base/fault.h"

/* A context for one upstream: TLS 1.2 or later, the peer verified against
 * `ca_file` (NULL: the system's store), session tickets kept.  Shared by all
 * workers; the caller frees it with SSL_CTX_free().  NULL with the reason. */
MUST_CHECK SSL_CTX *tls_context_create(const char *ca_file, struct fault *why);

/* A connection in client state on `fd` (still the caller's), which checks that
 * the certificate is for `host` (a name, also sent as SNI, or an address), and
 * takes up the last session if there is one.  NULL if memory is out. */
MUST_CHECK SSL *tls_open(SSL_CTX *context, const char *host, int fd);

/* Says goodbye and frees; keeps the session usable.  The fd stays open. */
void tls_close(SSL **ssl);

/* Why the last operation on this thread failed, in a few words. */
void tls_error_text(const SSL *ssl, char *out, size_t room);
