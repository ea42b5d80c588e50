#include "tests/bench/tally.h"

#include <inttypes.h>
#include <sys/resource.h>

#include "base/clock.h"

#include "base/banned.h"

static const char *const error_texts[] = {
#define X(name, text) text,
    LOAD_ERRORS(X)
#undef X
};

void
tally_error(struct tally *t, enum load_error e)
{
	t->errors[e]++;
	t->errors_all++;
}

static void
print_histogram(const struct histogram *h, const char *name, FILE *out)
{
	fprintf(out,
	    "\"%s_us\":{\"count\":%" PRIu64
	    ",\"p50\":%.1f,\"p90\":%.1f,\"p99\":%.1f,\"max\":%.1f},",
	    name, h->count, (double)histogram_quantile(h, 0.5) / 1000,
	    (double)histogram_quantile(h, 0.9) / 1000,
	    (double)histogram_quantile(h, 0.99) / 1000,
	    (double)histogram_quantile(h, 1) / 1000);
}

/* The processor time of this program, to tell whether it was the limit. */
static double
own_cpu_seconds(void)
{
	struct rusage u;

	if (getrusage(RUSAGE_SELF, &u) != 0)
		return 0;
	return (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) +
	    (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec) / 1e6;
}

void
tally_print(const struct tally *t, FILE *out)
{
	double seconds = (double)t->window_ns / (double)NS_PER_SECOND;

	fprintf(out,
	    "{\"seconds\":%.3f,\"requests\":%" PRIu64
	    ",\"requests_all\":%" PRIu64
	    ",\"requests_per_second\":%.1f,\"events\":%" PRIu64
	    ",\"events_all\":%" PRIu64 ",\"bytes_in_all\":%" PRIu64
	    ",\"connects_all\":%" PRIu64 ",",
	    seconds, t->requests, t->requests_all,
	    seconds > 0 ? (double)t->requests / seconds : 0, t->events,
	    t->events_all, t->bytes_in_all, t->connects_all);
	print_histogram(&t->latency, "latency", out);
	print_histogram(&t->first_byte, "first_byte", out);
	print_histogram(&t->delay, "chunk_delay", out);
	fprintf(out, "\"errors_all\":%" PRIu64 ",\"errors\":{", t->errors_all);
	for (int i = 0; i < LOAD_ERROR_COUNT; i++)
		fprintf(out, "%s\"%s\":%" PRIu64, i == 0 ? "" : ",",
		    error_texts[i], t->errors[i]);
	fprintf(out, "},\"bad_status\":%d,\"own_cpu_seconds\":%.3f}\n",
	    t->bad_status, own_cpu_seconds());
	fflush(out);
}
