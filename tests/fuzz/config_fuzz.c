/* A configuration of any bytes gives errors or a configuration, never neither,
 * never both; and whatever it is, it can be shown. */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include "base/buf.h"
#include "conf/config.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const char *
env(const char *name)
{
	return name[0] == 'U' ? "http://10.0.0.1/v1" : "secret";
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const struct config_env fuzz_env = {
	    .default_state_dir = "/var/lib/weir", .env = env};
	const struct slice text = {(const char *)data, size};
	struct diagnostics found = {0};
	struct buf out = {0};
	struct config *c;

	if (size == 0)
		return 0;
	c = config_parse("weir.yaml", text, &fuzz_env, &found);
	if ((c == NULL) != (found.errors > 0))
		abort();
	diagnostics_print(&found, "weir.yaml", text, &out);
	config_unref(&c);
	diagnostics_release(&found);
	buf_release(&out);
	return 0;
}
