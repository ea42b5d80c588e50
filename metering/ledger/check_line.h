/*
 * check_line.h - do the numbers of a ledger line agree with each other?
 */
#pragma once

#include <stdbool.h>

#include "base/attr.h"
#include "base/fault.h"
#include "metering/ledger/ledger_view.h"

/* False with the reason if an amount is not the sum of its attempts', a count
 * not that of the last attempt, or a part more than its whole. */
MUST_CHECK bool check_line_sums(const struct ledger_view *v, struct fault *why);
