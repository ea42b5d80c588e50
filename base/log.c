#include "base/log.h"

#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"

#include "base/banned.h"

#define LOG_LINE_BYTES 2048

static enum log_level log_most = LOG_LEVEL_INFO;
static bool log_journal;

void
log_setup(enum log_level most, bool journal)
{
	log_most = most;
	log_journal = journal;
}

static size_t
prefix(char *line, size_t room, enum log_level level)
{
	static const struct {
		int priority;
		const char *word;
	} levels[] = {
	    [LOG_LEVEL_ERROR] = {3, "error: "},
	    [LOG_LEVEL_WARNING] = {4, "warning: "},
	    [LOG_LEVEL_INFO] = {6, ""},
	};
	char now[CLOCK_TEXT_BYTES];

	if (log_journal)
		return (size_t)snprintf(line, room, "<%d>%s",
		    levels[level].priority, levels[level].word);
	clock_format(now, clock_wall_ms());
	return (size_t)snprintf(
	    line, room, "%s weir: %s", now, levels[level].word);
}

PRINTF_LIKE(2, 0)
static void
write_line(enum log_level level, const char *fmt, va_list ap)
{
	char text[LOG_LINE_BYTES / 2], line[LOG_LINE_BYTES];
	size_t n;

	if (level > log_most)
		return;
	vsnprintf(text, sizeof text, fmt, ap);
	n = prefix(line, sizeof line, level);
	for (const char *p = text; *p != '\0' && n < sizeof line - 6; p++) {
		unsigned char c = (unsigned char)*p;

		if (c < 0x20 || c == 0x7f)
			n += (size_t)snprintf(line + n, 5, "\\x%02x", c);
		else
			line[n++] = *p;
	}
	line[n++] = '\n';
	/* One write a line, so that lines of threads do not mix.  Nobody can be
	 * told that stderr is gone. */
	(void)!write(STDERR_FILENO, line, n);
}

void
log_error(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	write_line(LOG_LEVEL_ERROR, fmt, ap);
	va_end(ap);
}

void
log_warning(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	write_line(LOG_LEVEL_WARNING, fmt, ap);
	va_end(ap);
}

void
log_info(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	write_line(LOG_LEVEL_INFO, fmt, ap);
	va_end(ap);
}
