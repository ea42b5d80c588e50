#include "base/id.h"

#include <errno.h>
#include <stdbool.h>
#include <string.h>
#include <sys/random.h>

#include "base/banned.h"

#define INTERRUPTED_MOST 1000

bool
random_fill(void *out, size_t len, struct fault *why)
{
	char *p = out;
	int interrupted = 0;

	while (len > 0) {
		ssize_t n = getrandom(p, len, 0);

		if (n < 0 && errno == EINTR && ++interrupted < INTERRUPTED_MOST)
			continue;
		if (n <= 0)
			return fault_errno(
			    why, "the system gives no random bytes");
		p += n;
		len -= (size_t)n;
	}
	return true;
}

bool
ulid_source_init(struct ulid_source *s, struct fault *why)
{
	*s = (struct ulid_source){0};
	if (!random_fill(&s->low, sizeof s->low, why) ||
	    !random_fill(&s->high, sizeof s->high, why))
		return false;
	s->high &= 0xffff;
	return true;
}

static const char digits[] = "0123456789ABCDEFGHJKMNPQRSTVWXYZ";

int64_t
ulid_time(const char *ulid)
{
	uint64_t time = 0;

	for (int i = 0; i < 10; i++) {
		const char *digit =
		    ulid[i] == '\0' ? NULL : strchr(digits, ulid[i]);

		if (digit == NULL)
			return -1;
		time = time << 5 | (uint64_t)(digit - digits);
	}
	return (int64_t)time;
}

/* Steps of this odd constant visit every 64-bit value once, and look unlike
 * each other. */
#define ULID_STEP UINT64_C(0x9e3779b97f4a7c15)

void
ulid_make(struct ulid_source *s, int64_t wall_ms, char out[ULID_CHARS + 1])
{
	uint64_t time, low, high;

	if (wall_ms > 0 && (uint64_t)wall_ms > s->last_ms)
		s->last_ms = (uint64_t)wall_ms;
	time = s->last_ms;
	s->low += ULID_STEP;
	low = s->low;
	high = s->high;
	for (int i = 9; i >= 0; i--) {
		out[i] = digits[time & 31];
		time >>= 5;
	}
	for (int i = ULID_CHARS - 1; i >= 10; i--) {
		out[i] = digits[low & 31];
		low = low >> 5 | high << 59;
		high >>= 5;
	}
	out[ULID_CHARS] = '\0';
}
