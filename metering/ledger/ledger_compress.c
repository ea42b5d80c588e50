#include "metering/ledger/ledger_compress.h"

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/log.h"
#include "base/mem.h"
#include "metering/ledger/ledger_segments.h"

#include "base/banned.h"

#define COMPRESS_NICENESS 19

/* Of the process: one disk, one ledger.  2: somebody asked again. */
static atomic_int asked;

/* True for <name>-YYYYMMDD-NNN.<ext>: what logrotate has made is its own. */
static bool
is_ours(const char *path, const struct segment *s)
{
	const char *slash = strrchr(path, '/');
	const char *dot = strrchr(slash == NULL ? path : slash, '.');
	size_t stem = dot == NULL ? strlen(path) : (size_t)(dot - path);

	return !s->is_current && !s->is_gzipped &&
	    strncmp(s->path, path, stem) == 0 && s->path[stem] == '-' &&
	    strlen(s->path) == strlen(path) + strlen("-YYYYMMDD-NNN");
}

static void
compress_all(const char *path)
{
	struct fault why;
	struct segments *all = segments_list(path, &why);

	if (all == NULL) {
		log_warning("%s", why.text);
		return;
	}
	for (size_t i = 0; i < segments_count(all); i++) {
		const struct segment *s = segments_at(all, i);

		if (is_ours(path, s) && !segment_compress(s->path, &why))
			log_warning("%s; it stays as it is", why.text);
	}
	segments_destroy(&all);
}

static void *
run(void *arg)
{
	char *path = arg;

	setpriority(PRIO_PROCESS, (id_t)gettid(), COMPRESS_NICENESS);
	do {
		atomic_store(&asked, 1);
		compress_all(path);
	} while (atomic_fetch_sub(&asked, 1) > 1);
	free(path);
	return NULL;
}

void
ledger_compress_start(const char *path)
{
	pthread_attr_t attr;
	pthread_t thread;
	sigset_t all, before;
	char *copy;

	if (atomic_exchange(&asked, 2) > 0)
		return;
	copy = xstrdup(path);
	pthread_attr_init(&attr);
	pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	if (pthread_create(&thread, &attr, run, copy) != 0) {
		log_warning("cannot start a thread to gzip the ledger's files");
		atomic_store(&asked, 0);
		free(copy);
	}
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	pthread_attr_destroy(&attr);
}
