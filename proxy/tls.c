#include "proxy/tls.h"

#include <arpa/inet.h>
#include <openssl/err.h>
#include <openssl/x509v3.h>
#include <pthread.h>
#include <stdio.h>

#include "base/banned.h"

/* The newest session of a context hangs on it in this slot; workers take it up
 * and replace it under the mutex. */
static int session_slot = -1;
static pthread_mutex_t session_mutex = PTHREAD_MUTEX_INITIALIZER;

static void
free_session(void *parent, void *session, CRYPTO_EX_DATA *data, int slot,
    long argl, void *argp)
{
	(void)parent;
	(void)data;
	(void)slot;
	(void)argl;
	(void)argp;
	SSL_SESSION_free(session);
}

static int
on_new_session(SSL *ssl, SSL_SESSION *session)
{
	SSL_CTX *context = SSL_get_SSL_CTX(ssl);
	SSL_SESSION *old;

	pthread_mutex_lock(&session_mutex);
	old = SSL_CTX_get_ex_data(context, session_slot);
	SSL_CTX_set_ex_data(context, session_slot, session);
	pthread_mutex_unlock(&session_mutex);
	SSL_SESSION_free(old);
	return 1; /* the reference is ours now */
}

static void
take_up_session(SSL *ssl, SSL_CTX *context)
{
	SSL_SESSION *session;

	pthread_mutex_lock(&session_mutex);
	session = SSL_CTX_get_ex_data(context, session_slot);
	if (session != NULL && SSL_SESSION_is_resumable(session))
		SSL_set_session(ssl, session);
	pthread_mutex_unlock(&session_mutex);
}

SSL_CTX *
tls_context_create(const char *ca_file, struct fault *why)
{
	SSL_CTX *c = SSL_CTX_new(TLS_client_method());
	int loaded;

	if (session_slot < 0)
		session_slot = CRYPTO_get_ex_new_index(
		    CRYPTO_EX_INDEX_SSL_CTX, 0, NULL, NULL, NULL, free_session);
	if (c == NULL || session_slot < 0) {
		SSL_CTX_free(c);
		fault_set(why, "OpenSSL gives no TLS context");
		return NULL;
	}
	loaded = ca_file == NULL
	    ? SSL_CTX_set_default_verify_paths(c)
	    : SSL_CTX_load_verify_locations(c, ca_file, NULL);
	if (loaded != 1) {
		SSL_CTX_free(c);
		fault_set(why, "cannot read certificates from %s",
		    ca_file == NULL ? "the system's store" : ca_file);
		return NULL;
	}
	SSL_CTX_set_min_proto_version(c, TLS1_2_VERSION);
	SSL_CTX_set_verify(c, SSL_VERIFY_PEER, NULL);
	SSL_CTX_set_mode(c,
	    SSL_MODE_ENABLE_PARTIAL_WRITE |
		SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER | SSL_MODE_RELEASE_BUFFERS);
	SSL_CTX_set_session_cache_mode(
	    c, SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL);
	SSL_CTX_sess_set_new_cb(c, on_new_session);
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

SSL *
tls_open(SSL_CTX *context, const char *host, int fd)
{
	static const unsigned char alpn[] = "\x08http/1.1";
	SSL *ssl = SSL_new(context);

	if (ssl == NULL)
		return NULL;
	if (!expect_name(ssl, host) || SSL_set_fd(ssl, fd) != 1 ||
	    SSL_set_alpn_protos(ssl, alpn, sizeof alpn - 1) != 0) {
		SSL_free(ssl);
		return NULL;
	}
	take_up_session(ssl, context);
	SSL_set_connect_state(ssl);
	return ssl;
}

void
tls_close(SSL **sslp)
{
	SSL *ssl = *sslp;

	*sslp = NULL;
	if (ssl == NULL)
		return;
	/* A connection that is freed without this leaves its session
	 * unusable. */
	if (SSL_is_init_finished(ssl) && !SSL_in_init(ssl))
		SSL_shutdown(ssl);
	ERR_clear_error();
	SSL_free(ssl);
}

void
tls_error_text(const SSL *ssl, char *out, size_t room)
{
	long verify = ssl == NULL ? X509_V_OK : SSL_get_verify_result(ssl);
	unsigned long code = ERR_peek_last_error();
	const char *reason = ERR_reason_error_string(code);

	if (verify != X509_V_OK)
		snprintf(out, room, "certificate refused: %s",
		    X509_verify_cert_error_string(verify));
	else
		snprintf(out, room, "TLS failed: %s",
		    reason == NULL ? "connection closed" : reason);
	ERR_clear_error();
}
