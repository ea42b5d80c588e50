/*
 * control.h - the /_mock/ endpoints, by which a test looks and steers.
 */
#pragma once

#include <stdbool.h>

#include <stdint.h>

#include "bytes.h"
#include "plan.h"
#include "request.h"

/* Tells whether a target is the control's. */
bool control_is_target(struct text target);

/* How often held answers were told to go on. */
uint64_t control_go_count(void);

/* Does what is asked, appends the body of the answer, returns its status. */
int control_serve(struct bytes *b, const struct server *s,
    const struct request *rq, struct text body);
