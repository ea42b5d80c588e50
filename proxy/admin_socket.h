/*
 * admin_socket.h - the socket in the file system that the command line talks
 * to.
 *
 * Who may is a matter of its file: mode 0660, and whoever may enter its folder.
 * A socket that nobody listens at any more is replaced, one that answers never
 * is.
 */
#pragma once

#include <stdbool.h>

#include "base/attr.h"
#include "base/fault.h"
#include "proxy/listener.h"

#define ADMIN_SOCKET_MODE 0660

/* Where it is, from `unix:/path`.  False with the reason if the path is longer
 * than a socket's may be. */
MUST_CHECK bool admin_socket_address(
    const char *url, struct listen_address *out, struct fault *why);

/* Makes the file, which nobody can connect to before listen(2).  Returns the
 * socket, -1 with the reason. */
MUST_CHECK int admin_socket_bind(
    const struct listen_address *a, struct fault *why);

/* Takes the file away again. */
void admin_socket_remove(const struct listen_address *a);
