#include "metering/redis/redis_options.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"

#include "base/banned.h"

static char *
copy(const char *s)
{
	return s == NULL ? NULL : xstrdup(s);
}

void
redis_options_copy(struct redis_options *to, const struct redis_options *from)
{
	*to = *from;
	to->path = copy(from->path);
	to->host = copy(from->host);
	to->ca_file = copy(from->ca_file);
	to->username = copy(from->username);
	to->password = copy(from->password);
	to->prefix = copy(from->prefix);
	to->name = copy(from->name);
}

void
redis_options_release(struct redis_options *o)
{
	free((char *)o->path);
	free((char *)o->host);
	free((char *)o->ca_file);
	free((char *)o->username);
	if (o->password != NULL)
		secret_free((char *)o->password, strlen(o->password));
	free((char *)o->prefix);
	free((char *)o->name);
	*o = (struct redis_options){0};
}
