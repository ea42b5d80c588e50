/*
 * admin_client.h - asks the running gateway, over its admin socket.
 */
#pragma once

#include "base/attr.h"
#include "base/buf.h"
#include "base/fault.h"
#include "conf/config.h"

/* The path of the socket: `given` (--socket), else $WEIR_SOCKET; NULL: neither
 * was said, so the configuration says it. */
const char *admin_socket_given(const char *given);

/* The same as the configuration has it. */
const char *admin_socket_of(const struct config *c);

/* Gets a document and appends it to `body`.  Returns an exit status: EXIT_OK;
 * 4, 6 or 1 with the reason and what to try, in one sentence.  Gives up after
 * five seconds without a byte. */
MUST_CHECK int admin_get(const char *socket_path, const char *document,
    struct buf *body, struct fault *why);
