/*
 * server.h - the process: starts the threads, minds signals and files, reloads,
 * drains, ends.
 *
 * The main thread runs it.  SIGHUP reloads, all or nothing; SIGTERM and SIGINT
 * let streams finish for `server.drain`, a second one cuts them; SIGUSR1 opens
 * the ledger anew.  A change of keys.json is taken within a second.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "base/attr.h"
#include "base/fault.h"
#include "conf/config.h"

struct server_options {
	/* Reads the configuration again, for a reload, and tells what is wrong
	 * with it.  NULL: keep the old one. */
	struct config *(*reload)(void *arg);
	void *arg; /* borrowed */
	/* Called once when requests are taken; `urls` are where, one a listen
	 * address. */
	void (*on_ready)(void *arg, const struct config *c, size_t key_count,
	    const char *const *urls, size_t url_count);
};

/* Serves until it is told to stop.  Takes the reference to `config`.  False
 * with the reason if it could not start. */
MUST_CHECK bool server_run(struct config *config,
    const struct server_options *options, struct fault *why);
