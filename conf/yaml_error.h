/*
 * yaml_error.h - what libyaml finds wrong with a file, in words for people and
 * at the place where they must look.
 */
#pragma once

#include <yaml.h>

#include "base/text.h"
#include "conf/diagnostic.h"
#include "conf/yaml_tree.h"

/* Adds the error that `parser` has stopped at.  `last_quoted` is the last text
 * in quotes before it, or NULL: where a quote was left open, the error comes at
 * the next one. */
void yaml_error_explain(const yaml_parser_t *parser, struct slice text,
    const struct node *last_quoted, struct diagnostics *found);
