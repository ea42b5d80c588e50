/*
 * tailnet.h - this node's own addresses in its Tailscale network.
 *
 * They are those of the interface whose addresses lie in the ranges that
 * Tailscale gives out: 100.64.0.0/10 and fd7a:115c:a1e0::/48.
 */
#pragma once

#include <stddef.h>

#include "auth/address.h"

#define TAILNET_ADDRESSES_MOST 4

/* Returns how many were found. */
size_t tailnet_addresses(struct address out[TAILNET_ADDRESSES_MOST]);
