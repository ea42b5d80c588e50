/*
 * notify.h - tells systemd how the service is (sd_notify(3)'s protocol).
 */
#pragma once

/* Sends `state`, as in "READY=1", to $NOTIFY_SOCKET as it was at
 * notify_setup().  Does nothing without one. */
void notify_service_manager(const char *state);

/* Where to send it; `socket` is the variable's value (borrowed for good), or
 * NULL. */
void notify_setup(const char *socket);
