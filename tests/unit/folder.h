/*
 * folder.h - a folder of the test's own: cmocka's setup and teardown.
 */
#pragma once

#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "base/mem.h"

static inline int
folder_remove_one(
    const char *path, const struct stat *st, int flag, struct FTW *ftw)
{
	(void)st;
	(void)flag;
	(void)ftw;
	return remove(path);
}

/* *state becomes the folder's path. */
static inline int
folder_setup(void **state)
{
	char template[] = "/tmp/weir-unit-XXXXXX";

	if (mkdtemp(template) == NULL)
		return -1;
	*state = xstrdup(template);
	return 0;
}

static inline int
folder_teardown(void **state)
{
	int failed = nftw(*state, folder_remove_one, 8, FTW_DEPTH | FTW_PHYS);

	free(*state);
	return failed;
}

/* Lives until the next call. */
static inline char *
folder_path(const char *dir, const char *name)
{
	static char path[256];

	if (snprintf(path, sizeof path, "%s/%s", dir, name) >= (int)sizeof path)
		abort();
	return path;
}
