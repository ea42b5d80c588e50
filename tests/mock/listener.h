/*
 * listener.h - the listening sockets, which can be shut and opened again.
 *
 * Each address has one socket a thread (SO_REUSEPORT).  While they are shut
 * connections are refused, yet the port stays ours.  Created by main before the
 * threads run; the closing and opening may be done from any thread.
 */
#pragma once

#include <stdbool.h>

#include <event2/event.h>

#define LISTENERS_MAX 256

/* Is called with each accepted socket, which it then owns. */
typedef void (*listener_accept_fn)(void *arg, int fd);

/* Binds HOST:PORT (IPv4; port 0: any) once for each thread, listens, and prints
 * "WORD HOST:PORT".  With `is_permanent` listener_close_all spares it. */
bool listener_create(
    const char *address, int threads, const char *word, bool is_permanent);

/* Accepts on this thread's sockets from now on. */
void listener_attach(struct event_base *base, int thread,
    listener_accept_fn on_accept, void *arg);

void listener_close_all(void);

/* Returns false if one of them cannot listen again. */
bool listener_open_all(void);
