#include "auth/state_file.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "auth/limits_text.h"
#include "auth/state_read.h"
#include "base/file.h"
#include "base/mem.h"
#include "base/text.h"

#include "base/banned.h"

bool
state_dir_is_private(const char *state_dir, struct fault *why)
{
	struct stat st;

	if (stat(state_dir, &st) != 0)
		return errno == ENOENT ||
		    fault_errno(why, "cannot look at %s", state_dir);
	if (!S_ISDIR(st.st_mode))
		return fault_set(why, "%s is not a folder", state_dir);
	if ((st.st_mode & 077) != 0)
		return fault_set(why,
		    "%s is open to others (mode %04o); close it with: "
		    "chmod 700 %s",
		    state_dir, (unsigned)st.st_mode & 07777, state_dir);
	return true;
}

int
state_file_lock(const char *state_dir, const char *lock_name, struct fault *why)
{
	char *path = xasprintf("%s/%s", state_dir, lock_name);
	int lock = -1;

	if (folder_make(state_dir, 0700, why))
		lock = file_lock(path, true, why);
	free(path);
	return lock;
}

bool
state_check_text(const char *what, const char *text, struct fault *why)
{
	return state_is_text(text, strlen(text)) ||
	    fault_set(why,
		"the %s is not 1 to %d bytes of text without control "
		"characters",
		what, STATE_TEXT_MOST);
}

struct json_out
state_file_begin(struct buf *text, const char *list)
{
	struct json_out o = json_out_to(text);

	json_open(&o, '{');
	json_member_int(&o, "version", STATE_FILE_VERSION);
	json_key(&o, list);
	json_open(&o, '[');
	return o;
}

void
state_write_limits(struct json_out *o, const struct limits *l)
{
	char value[LIMITS_VALUE_BYTES];
	struct buf text = {0};

	if (l->stated == 0)
		return;
	json_key(o, "limits");
	json_open(o, '[');
	for (unsigned i = 0; i < LIMITS_SETTINGS; i++) {
		if (!(l->stated & 1u << i))
			continue;
		limits_setting_value(value, l, i);
		buf_clear(&text);
		buf_printf(&text, "%s=%s", limits_setting_name(i), value);
		json_string(o, (struct slice){buf_data(&text), buf_len(&text)});
	}
	json_close(o, ']');
	buf_release(&text);
}

bool
state_file_replace(struct json_out *o, const char *state_dir, const char *name,
    size_t most, struct fault *why)
{
	char *path = xasprintf("%s/%s", state_dir, name);
	bool ok;

	json_close(o, ']');
	json_close(o, '}');
	buf_puts(o->to, "\n");
	if (buf_len(o->to) > most)
		ok = fault_set(
		    why, "%s would be larger than %zu bytes", path, most);
	else
		ok = file_replace(
		    path, buf_data(o->to), buf_len(o->to), 0600, why);
	free(path);
	return ok;
}
