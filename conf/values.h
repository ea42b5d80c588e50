/*
 * values.h - one text of the file, read as what its key is declared to be.
 *
 * YAML's own guesses play no part: `no`, 1e3 and 0777 are the text that they
 * are.  A reason in `why` continues "KEY: " and never quotes what could be a
 * misplaced secret.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/attr.h"
#include "base/fault.h"
#include "base/text.h"
#include "conf/config.h"
#include "conf/keys.h"

/* Names go into ledger lines, whose length is bounded. */
#define NAME_MOST_BYTES 200

/* Checks a text against the type and range of `k`, and sets *out to: the number
 * (ms, bytes, tokens, pico-dollars; for `unlimited` CONFIG_UNLIMITED or, of
 * dollars, BUDGET_UNLIMITED), 1 for true, the index of the word, ms since 1970,
 * hours as begin * 100 + end; 0 for types that are text. */
MUST_CHECK bool value_read(
    const struct key *k, struct slice text, uint64_t *out, struct fault *why);

/* The part of it that looks at texts alone: that they are one line of UTF-8,
 * refer to secrets only where they may, and have the form of a url, an address,
 * … */
MUST_CHECK bool value_check_text(
    const struct key *k, struct slice text, struct fault *why);

/* True if it is digits and nothing else. */
bool slice_is_digits(struct slice text);

/* Writes the range of a number's key: "1s to 1h", "0 to 1000000000". */
#define VALUE_RANGE_BYTES 80
void value_range(const struct key *k, char out[VALUE_RANGE_BYTES]);

/* Reads "127.0.0.1:8643", "[::1]:8643", "tailscale:8643"; `text` is left as it
 * was. */
MUST_CHECK bool listen_read(
    struct slice text, struct listen_config *out, struct fault *why);

/* True if the name may stand in a ledger line, a table and a command. */
MUST_CHECK bool name_check(struct slice name, struct fault *why);

/* The index of a word in a list separated by blanks; false if it is none. */
MUST_CHECK bool word_find(
    const char *words, struct slice word, uint64_t *index);

/* Writes "'name'", or "this value" where quoting it could give a secret away.
 */
#define QUOTED_BYTES 64
const char *quoted(struct slice text, char out[QUOTED_BYTES]);
