/*
 * own_limits.h - what a user may and what is left of it, told to that user: the
 * part of GET /v1/key that comes from the gate.
 *
 * Used and held are as the gate counts them, in the periods of its time zone;
 * overrides are included.  Where the key that asks has limits of its own, the
 * tighter ones are told.  What all users together may is nobody's own.
 */
#pragma once

#include "base/json_out.h"
#include "proxy/own_usage.h"

/* Appends members to an open object: OpenRouter's limit, limit_reset,
 * limit_remaining and rate_limit; limits and budgets of ours. */
void own_limits_write(const struct own_usage *o, struct json_out *j);
