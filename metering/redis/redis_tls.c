#include "metering/redis/redis_tls.h"

#include <arpa/inet.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/mem.h"

#include "base/banned.h"

struct redis_tls {
	SSL *ssl; /* owned */
	int last; /* what the last call came to, as SSL_get_error() says */
	char error[256];
};

static SSL_CTX *
make_context(const char *ca_file, struct fault *why)
{
	SSL_CTX *c = SSL_CTX_new(TLS_client_method());

	if (c == NULL) {
		fault_set(why, "OpenSSL gives no TLS context");
		return NULL;
	}
	if ((ca_file == NULL
		    ? SSL_CTX_set_default_verify_paths(c)
		    : SSL_CTX_load_verify_locations(c, ca_file, NULL)) != 1) {
		SSL_CTX_free(c);
		fault_set(why, "cannot read certificates from %s",
		    ca_file == NULL ? "the system's store" : ca_file);
		return NULL;
	}
	SSL_CTX_set_min_proto_version(c, TLS1_2_VERSION);
	SSL_CTX_set_verify(c, SSL_VERIFY_PEER, NULL);
	SSL_CTX_set_mode(c,
	    SSL_MODE_ENABLE_PARTIAL_WRITE |
		SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
	return c;
}

static bool
expect_name(SSL *ssl, const char *host)
{
	unsigned char address[16];

	if (inet_pton(AF_INET, host, address) == 1 ||
	    inet_pton(AF_INET6, host, address) == 1)
		return X509_VERIFY_PARAM_set1_ip_asc(
			   SSL_get0_param(ssl), host) == 1;
	SSL_set_hostflags(ssl, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);
	return SSL_set1_host(ssl, host) == 1 &&
	    SSL_set_tlsext_host_name(ssl, host) == 1;
}

struct redis_tls *
redis_tls_create(
    const char *ca_file, const char *host, int fd, struct fault *why)
{
	SSL_CTX *context = make_context(ca_file, why);
	struct redis_tls *t;

	if (context == NULL)
		return NULL;
	t = xcalloc(sizeof *t);
	t->ssl = SSL_new(context);
	SSL_CTX_free(context); /* the connection keeps it */
	if (t->ssl == NULL || !expect_name(t->ssl, host) ||
	    SSL_set_fd(t->ssl, fd) != 1) {
		fault_set(why, "OpenSSL gives no connection");
		redis_tls_destroy(&t);
		return NULL;
	}
	SSL_set_connect_state(t->ssl);
	return t;
}

static ssize_t
done(struct redis_tls *t, int n)
{
	t->last = SSL_get_error(t->ssl, n);
	return n > 0 ? n : -1;
}

bool
redis_tls_shake(struct redis_tls *t)
{
	ERR_clear_error();
	return done(t, SSL_do_handshake(t->ssl)) == 1;
}

ssize_t
redis_tls_read(struct redis_tls *t, void *p, size_t len)
{
	ERR_clear_error();
	return done(t, SSL_read(t->ssl, p, (int)len));
}

ssize_t
redis_tls_write(struct redis_tls *t, const void *p, size_t len)
{
	int piece = len > (1u << 20) ? 1 << 20 : (int)len;

	ERR_clear_error();
	return done(t, SSL_write(t->ssl, p, piece));
}

short
redis_tls_wants(const struct redis_tls *t)
{
	if (t->last == SSL_ERROR_WANT_READ)
		return POLLIN;
	return t->last == SSL_ERROR_WANT_WRITE ? POLLOUT : 0;
}

const char *
redis_tls_error(struct redis_tls *t)
{
	long verify = SSL_get_verify_result(t->ssl);
	unsigned long code = ERR_peek_last_error();

	if (verify != X509_V_OK)
		snprintf(t->error, sizeof t->error,
		    "its certificate cannot be trusted: %s",
		    X509_verify_cert_error_string(verify));
	else if (code == 0)
		snprintf(
		    t->error, sizeof t->error, "it has closed the connection");
	else
		ERR_error_string_n(code, t->error, sizeof t->error);
	return t->error;
}

void
redis_tls_destroy(struct redis_tls **tp)
{
	struct redis_tls *t = *tp;

	*tp = NULL;
	if (t == NULL)
		return;
	if (t->ssl != NULL && t->last == SSL_ERROR_NONE &&
	    SSL_is_init_finished(t->ssl))
		SSL_shutdown(t->ssl);
	ERR_clear_error();
	SSL_free(t->ssl);
	free(t);
}
