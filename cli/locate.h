/*
 * locate.h - what every command needs first: which configuration, and its
 * state.
 */
#pragma once

#include <stdbool.h>

#include "base/attr.h"
#include "base/fault.h"
#include "conf/config.h"

/* Exit codes, the same for every command. */
enum {
	EXIT_OK = 0,
	EXIT_FAILED = 1,
	EXIT_USAGE = 2,
	EXIT_FINDINGS = 3,
	EXIT_NOT_ALLOWED = 4,
	EXIT_NOT_FOUND = 5,
	EXIT_UNREACHABLE = 6,
};

/* Finds the configuration file: `given` (-c), else $WEIR_CONFIG, ./weir.yaml,
 * $XDG_CONFIG_HOME/weir/weir.yaml, /etc/weir/weir.yaml.  The caller frees
 * *path. False with the list that was searched. */
MUST_CHECK bool config_locate(
    const char *given, char **path, struct fault *why);

/* The environment that a configuration may refer to. */
struct config_env config_env_default(void);

/* Finds and reads the configuration; what is wrong goes to stderr.  Only who
 * speaks to upstreams or to Redis looks its secrets up: others may have no
 * right to them.  NULL, with *exit_status set, if it cannot be used.  Warnings
 * are left to `weir check`. */
MUST_CHECK struct config *command_load_config(
    const char *given, bool with_secrets, int *exit_status);
