/*
 * ledger_compress.h - gzips what was rotated, behind everybody's back.
 */
#pragma once

/* Gzips the closed segments of the ledger at `path` (copied) that the gateway
 * itself has made, on a thread of low priority, unless one is at it: that one
 * then looks again.  A process may end in the middle of it: the next one begins
 * anew. */
void ledger_compress_start(const char *path);
