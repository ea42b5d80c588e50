/*
 * limits_text.h - the settings of struct limits one by one: their names, and
 * their values as text that limits_set() reads back.
 *
 * A setting's number is that of its bit in limits.stated; each period of a
 * budget is a setting of its own.
 */
#pragma once

#include "auth/limits.h"
#include "base/attr.h"
#include "base/fault.h"
#include "base/text.h"

#define LIMITS_SETTINGS (LIMIT_COUNT + 2 * PERIOD_COUNT + 2)
#define LIMITS_VALUE_BYTES 80

/* "concurrent"; "budget" for each of its periods. */
const char *limits_setting_name(unsigned setting);

/* The bits of the settings that have this name; 0: it is none. */
unsigned limits_settings_named(struct slice name);

/* Writes the value of one setting: "4", "unlimited", "10.00/day", "true". */
void limits_setting_value(
    char out[LIMITS_VALUE_BYTES], const struct limits *l, unsigned setting);

/* Reads "concurrent=4" as limits_set() does.  False with a reason that names
 * the setting. */
MUST_CHECK bool limits_set_text(
    struct limits *l, struct slice text, struct fault *why);
