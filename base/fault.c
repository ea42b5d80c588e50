#include "base/fault.h"

#include <errno.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "base/banned.h"

bool
fault_set(struct fault *why, const char *fmt, ...)
{
	va_list ap;

	if (why == NULL)
		return false;
	va_start(ap, fmt);
	vsnprintf(why->text, sizeof why->text, fmt, ap);
	va_end(ap);
	return false;
}

bool
fault_errno(struct fault *why, const char *fmt, ...)
{
	int saved = errno;
	va_list ap;
	size_t n;

	if (why == NULL)
		return false;
	va_start(ap, fmt);
	vsnprintf(why->text, sizeof why->text, fmt, ap);
	va_end(ap);
	n = strlen(why->text);
	snprintf(why->text + n, sizeof why->text - n, ": %s", strerror(saved));
	errno = saved;
	return false;
}
