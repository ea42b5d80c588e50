#include "cli/locate.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/file.h"
#include "base/mem.h"

#include "base/banned.h"

static const char *
variable(const char *name)
{
	const char *value = getenv(name);

	return value == NULL || value[0] == '\0' ? NULL : value;
}

/* $XDG_<which>_HOME, or the folder below $HOME that stands for it. */
static char *
xdg_path(const char *name, const char *below_home, const char *rest)
{
	const char *base = variable(name), *home = variable("HOME");

	if (base != NULL && base[0] == '/')
		return xasprintf("%s/%s", base, rest);
	if (home != NULL)
		return xasprintf("%s/%s/%s", home, below_home, rest);
	return NULL;
}

bool
config_locate(const char *given, char **path, struct fault *why)
{
	const char *fixed = given != NULL ? given : variable("WEIR_CONFIG");
	char *candidates[3];

	*path = NULL;
	if (fixed != NULL) {
		*path = xstrdup(fixed);
		return true;
	}
	candidates[0] = xstrdup("./weir.yaml");
	candidates[1] =
	    xdg_path("XDG_CONFIG_HOME", ".config", "weir/weir.yaml");
	candidates[2] = xstrdup("/etc/weir/weir.yaml");
	for (size_t i = 0; i < COUNT_OF(candidates); i++)
		if (*path == NULL && candidates[i] != NULL &&
		    access(candidates[i], F_OK) == 0)
			*path = xstrdup(candidates[i]);
	if (*path == NULL)
		fault_set(why,
		    "no configuration: looked for ./weir.yaml, %s "
		    "and /etc/weir/weir.yaml",
		    candidates[1] == NULL ? "~/.config/weir/weir.yaml"
					  : candidates[1]);
	for (size_t i = 0; i < COUNT_OF(candidates); i++)
		free(candidates[i]);
	return *path != NULL;
}

/* Root and the service's user keep their state in /var/lib/weir, everybody else
 * at home. */
static const char *
default_state_dir(void)
{
	static char *state_dir;

	if (state_dir != NULL)
		return state_dir;
	if (geteuid() == 0 || access("/var/lib/weir", W_OK | X_OK) == 0)
		state_dir = xstrdup("/var/lib/weir");
	else
		state_dir = xdg_path("XDG_STATE_HOME", ".local/state", "weir");
	if (state_dir == NULL)
		state_dir = xstrdup("/tmp/weir");
	return state_dir;
}

struct config_env
config_env_default(void)
{
	return (struct config_env){
	    .default_state_dir = default_state_dir(),
	    .env = variable,
	    .credentials_dir = variable("CREDENTIALS_DIRECTORY"),
	};
}

static void
print_smallest_config(void)
{
	fputs("The smallest useful one, with your own server's address:\n\n"
	      "    version: 1\n"
	      "    server: {listen: [127.0.0.1:8643]}\n"
	      "    upstreams: {spark: {url: http://192.168.1.11:8000}}\n"
	      "    models: {ds4: {routes: [{to: spark, model: "
	      "deepseek-v4-flash}]}}\n"
	      "    users: {bob: {models: [ds4]}}\n\n"
	      "Write it to ./weir.yaml, then: weir check && weir serve\n",
	    stderr);
}

struct config *
command_load_config(const char *given, bool with_secrets, int *exit_status)
{
	struct config_env env = config_env_default();
	struct diagnostics found = {0};
	struct config *config = NULL;
	struct buf text = {0}, out = {0};
	struct fault why;
	char *path;

	env.without_secrets = !with_secrets;
	*exit_status = EXIT_OK;
	if (!config_locate(given, &path, &why)) {
		fprintf(stderr, "weir: %s\n", why.text);
		print_smallest_config();
		*exit_status = EXIT_FAILED;
		return NULL;
	}
	config = config_load(path, &env, &found);
	if (config == NULL) {
		/* The text again, for the lines that are shown. */
		if (!file_read(path, CONFIG_FILE_MOST_BYTES, true, &text, &why))
			buf_clear(&text);
		diagnostics_print(&found, path,
		    (struct slice){buf_data(&text), buf_len(&text)}, &out);
		fwrite(buf_data(&out), 1, buf_len(&out), stderr);
		*exit_status = EXIT_FAILED;
	}
	buf_release(&text);
	buf_release(&out);
	diagnostics_release(&found);
	free(path);
	return config;
}
