#include "auth/state_read.h"

#include <errno.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "auth/limits_text.h"
#include "base/file.h"

#include "base/banned.h"

/* Whether the owner of a file is one whom we would take orders from. */
static bool
is_trusted_owner(uid_t owner, const char *state_dir)
{
	struct stat folder;

	return owner == 0 || owner == geteuid() ||
	    (stat(state_dir, &folder) == 0 && owner == folder.st_uid);
}

enum state_presence
state_file_read(const char *state_dir, const char *name, size_t most,
    bool any_owner, struct buf *out, struct fault *why)
{
	char *path = xasprintf("%s/%s", state_dir, name);
	enum state_presence found = STATE_IS_THERE;
	uid_t owner;

	if (!file_read_private(path, most, out, &owner, why)) {
		found = errno == ENOENT ? STATE_IS_MISSING : STATE_IS_BAD;
	} else if (!any_owner && !is_trusted_owner(owner, state_dir)) {
		fault_set(why,
		    "%s belongs to user number %ld, who is neither "
		    "this user, nor root, nor the folder's owner",
		    path, (long)owner);
		found = STATE_IS_BAD;
	}
	free(path);
	return found;
}

bool
state_has_only(
    json_t *object, const char *const *known, size_t count, struct fault *why)
{
	const char *member;
	json_t *value;

	if (!json_is_object(object))
		return fault_set(why, "it is not an object");
	json_object_foreach(object, member, value)
	{
		size_t i = 0;

		while (i < count && strcmp(known[i], member) != 0)
			i++;
		if (i == count)
			return fault_set(why,
			    "member \"%.40s\" is not known to this version",
			    member);
	}
	return true;
}

/* Sets *items if the document is one of ours. */
static bool
check_document(
    json_t *document, const char *list, json_t **items, struct fault *why)
{
	const char *const known[] = {"version", list};
	json_t *version = json_object_get(document, "version");

	if (!json_is_object(document))
		return fault_set(why, "it is not a JSON object");
	if (!json_is_integer(version))
		return fault_set(why, "\"version\" is missing");
	if (json_integer_value(version) != STATE_FILE_VERSION)
		return fault_set(why,
		    "it has version %lld, this program reads version %d",
		    (long long)json_integer_value(version), STATE_FILE_VERSION);
	if (!state_has_only(document, known, COUNT_OF(known), why))
		return false;
	*items = json_object_get(document, list);
	if (!json_is_array(*items))
		return fault_set(why, "\"%s\" is missing or not a list", list);
	return true;
}

json_t *
state_file_parse(
    struct slice json, const char *list, json_t **items, struct fault *why)
{
	json_error_t error;
	json_t *document;

	if (json.len == 0) {
		fault_set(why, "it is empty");
		return NULL;
	}
	document = json_loadb(json.p, json.len, JSON_REJECT_DUPLICATES, &error);
	if (document == NULL) {
		fault_set(why, "line %d, column %d: %.100s", error.line,
		    error.column, error.text);
		return NULL;
	}
	if (!check_document(document, list, items, why)) {
		json_decref(document);
		return NULL;
	}
	return document;
}

bool
state_is_text(const char *p, size_t len)
{
	return len > 0 && len <= STATE_TEXT_MOST && text_is_clean_utf8(p, len);
}

bool
state_read_text(json_t *object, const char *member, struct arena *memory,
    char **out, struct fault *why)
{
	json_t *value = json_object_get(object, member);

	*out = NULL;
	if (value == NULL)
		return true;
	if (!json_is_string(value) ||
	    !state_is_text(json_string_value(value), json_string_length(value)))
		return fault_set(why, "\"%s\" is not a text of 1 to %d bytes",
		    member, STATE_TEXT_MOST);
	*out = arena_strndup(
	    memory, json_string_value(value), json_string_length(value));
	return true;
}

bool
state_read_time(
    json_t *object, const char *member, int64_t *out, struct fault *why)
{
	json_t *value = json_object_get(object, member);

	*out = 0;
	if (value == NULL)
		return true;
	if (!json_is_integer(value) || json_integer_value(value) <= 0)
		return fault_set(why, "\"%s\" is not a time", member);
	*out = json_integer_value(value);
	return true;
}

bool
state_read_limits(json_t *object, struct limits *out, struct fault *why)
{
	json_t *list = json_object_get(object, "limits"), *value;
	struct fault what;
	size_t i;

	if (list == NULL)
		return true;
	if (json_array_size(list) == 0 ||
	    json_array_size(list) > LIMITS_SETTINGS)
		return fault_set(why, "\"limits\" is not a list of 1 to %d",
		    LIMITS_SETTINGS);
	json_array_foreach(list, i, value)
	{
		struct slice text = {
		    json_string_value(value), json_string_length(value)};

		if (!json_is_string(value) || !state_is_text(text.p, text.len))
			return fault_set(
			    why, "\"limits\" holds what is no setting");
		if (!limits_set_text(out, text, &what))
			return fault_set(why, "\"limits\": %s", what.text);
	}
	return true;
}
