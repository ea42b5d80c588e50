/*
 * redis_options.h - how Redis is reached, as the configuration says it.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

struct redis_options {
	bool is_unix;
	const char *path; /* of the socket; borrowed, like all texts here */
	const char *host; /* a name or an address, without brackets */
	uint16_t port;
	unsigned db;
	bool is_tls;
	const char *ca_file;  /* or NULL: the system's */
	const char *username; /* or NULL: the default user */
	const char *password; /* secret, or NULL */
	const char *prefix;   /* without its braces */
	const char *name;     /* of this gateway; NULL: the machine's */
};

/* A copy whose texts are its own, until redis_options_release(). */
void redis_options_copy(
    struct redis_options *to, const struct redis_options *from);
void redis_options_release(struct redis_options *o);
