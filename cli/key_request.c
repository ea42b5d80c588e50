#include "cli/key_request.h"

#include <stdio.h>
#include <string.h>

#include "auth/limits_text.h"
#include "base/json_out.h"
#include "base/text.h"
#include "cli/key_run.h"
#include "cli/locate.h"

#include "base/banned.h"

#define TYPO_DISTANCE 2

static void
print_and_release(struct buf *text)
{
	fwrite(buf_data(text), 1, buf_len(text), stderr);
	buf_release(text);
}

/* A name in YAML's flow style: as it is if that cannot mean anything else, else
 * in double quotes, whose escapes are JSON's. */
static void
put_yaml(struct buf *out, const char *name)
{
	static const char plain[] = "abcdefghijklmnopqrstuvwxyz"
				    "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
				    "0123456789_-./";
	struct json_out o = json_out_to(out);

	if (name[0] != '\0' && strchr("-./", name[0]) == NULL &&
	    strspn(name, plain) == strlen(name))
		buf_puts(out, name);
	else
		json_string(&o, slice_of(name));
}

const char *
key_nearest_user(const struct config *c, const char *name)
{
	unsigned least = TYPO_DISTANCE + 1;
	const char *nearest = NULL;

	for (size_t i = 0; i < c->user_count; i++) {
		unsigned distance =
		    text_distance(name, c->users[i].name, TYPO_DISTANCE);

		if (distance < least) {
			least = distance;
			nearest = c->users[i].name;
		}
	}
	return nearest;
}

static void
print_missing_user(const struct config *c, const char *name)
{
	const char *nearest = key_nearest_user(c, name);
	struct buf out = {0};

	buf_printf(&out, "%s is not in %s", name, c->path);
	if (nearest != NULL)
		buf_printf(&out, "; did you mean %s?\nElse add", nearest);
	else
		buf_puts(&out, ". Add");
	buf_puts(&out,
	    " this line under `users:`, reload, and issue the key "
	    "again:\n  ");
	put_yaml(&out, name);
	buf_puts(&out, ": {models: [");
	put_yaml(&out, c->model_count > 0 ? c->models[0].name : "*");
	buf_puts(&out, "]}\n");
	print_and_release(&out);
}

int
key_user_find(
    const struct config *c, const char *name, const struct user_config **user)
{
	*user = config_user(c, slice_of(name));
	if (*user == NULL) {
		print_missing_user(c, name);
		return EXIT_NOT_FOUND;
	}
	if ((*user)->is_keyless) {
		fprintf(stderr,
		    "%s has `key: none` in %s: its callers come without a "
		    "key. Remove that to give it keys.\n",
		    name, c->path);
		return EXIT_FAILED;
	}
	return EXIT_OK;
}

/* What may be used: all, or the user's own. */
static void
put_usable(
    struct buf *out, const struct config *c, const struct user_config *user)
{
	const char *before = "";

	for (size_t i = 0; i < c->model_count; i++) {
		if (user != NULL && !user_may_use(user, &c->models[i]))
			continue;
		buf_printf(out, "%s%s", before, c->models[i].name);
		before = ", ";
	}
	buf_puts(out, before[0] == '\0' ? "none\n" : "\n");
}

static int
refuse_model(const struct config *c, const struct user_config *user,
    struct slice name, bool exists)
{
	struct buf out = {0};

	if (exists)
		buf_printf(&out,
		    "%s may not use the model '%.*s'; the models "
		    "of %s: ",
		    user->name, (int)name.len, name.p, user->name);
	else
		buf_printf(&out,
		    "There is no model '%.*s' in %s; the models "
		    "of %s: ",
		    (int)name.len, name.p, c->path, user->name);
	put_usable(&out, c, user);
	print_and_release(&out);
	return exists ? EXIT_FAILED : EXIT_NOT_FOUND;
}

static bool
has_model(const struct key_models *models, const char *name)
{
	for (size_t i = 0; i < models->count; i++)
		if (strcmp(models->names[i], name) == 0)
			return true;
	return false;
}

static int
add_model(const struct config *c, const struct user_config *user,
    struct slice name, struct key_models *models)
{
	const struct model_config *m = config_model(c, name);

	if (m == NULL || !user_may_use(user, m))
		return refuse_model(c, user, name, m != NULL);
	if (has_model(models, m->name))
		return EXIT_OK;
	if (models->count == KEY_FILE_MODELS_MOST) {
		fprintf(stderr, "weir key: --models takes at most %d names\n",
		    KEY_FILE_MODELS_MOST);
		return EXIT_USAGE;
	}
	models->names[models->count++] = m->name;
	return EXIT_OK;
}

int
key_models_read(const struct config *c, const struct user_config *user,
    const char *text, struct key_models *models)
{
	int status = EXIT_OK;

	models->count = 0;
	while (text != NULL && status == EXIT_OK) {
		const char *comma = strchr(text, ',');
		size_t len =
		    comma == NULL ? strlen(text) : (size_t)(comma - text);
		struct slice name = slice_trim((struct slice){text, len});

		if (name.len == 0) {
			fputs("weir key: --models takes names separated by "
			      "commas, as in ds4,coder\n",
			    stderr);
			return EXIT_USAGE;
		}
		status = add_model(c, user, name, models);
		text = comma == NULL ? NULL : comma + 1;
	}
	return status;
}

int
key_class_read(const char *text, enum key_class *out)
{
	*out = KEY_CLASS_UNSAID;
	if (text == NULL || key_class_parse(slice_of(text), out))
		return EXIT_OK;
	fprintf(stderr,
	    "weir key: --class takes interactive or batch, not '%s'\n", text);
	return EXIT_USAGE;
}

/* A key may do less than its user, never more. */
static bool
is_widening(const struct limits *l)
{
	return (l->stated & STATED_PAID_ROUTES) && l->paid_routes;
}

int
key_limits_read(const char *const *texts, size_t count, struct limits *out)
{
	struct fault why;

	*out = limits_none();
	if (count > KEY_LIMIT_OPTIONS_MOST) {
		fprintf(stderr, "weir key: --limit is given at most %d times\n",
		    KEY_LIMIT_OPTIONS_MOST);
		return EXIT_USAGE;
	}
	for (size_t i = 0; i < count; i++)
		if (!limits_set_text(out, slice_of(texts[i]), &why)) {
			fprintf(stderr, "weir key: --limit %s: %s\n", texts[i],
			    why.text);
			return EXIT_USAGE;
		}
	if (is_widening(out)) {
		fputs("weir key: --limit paid_routes=true: a key may not do "
		      "more than its user. Say it in the user's limits\n",
		    stderr);
		return EXIT_USAGE;
	}
	return EXIT_OK;
}

void
key_limits_describe(const struct limits *l, struct buf *out)
{
	const char *before = "";
	char value[LIMITS_VALUE_BYTES];

	for (unsigned i = 0; i < LIMITS_SETTINGS; i++) {
		if (!(l->stated & 1u << i))
			continue;
		limits_setting_value(value, l, i);
		buf_printf(
		    out, "%s%s=%s", before, limits_setting_name(i), value);
		before = " ";
	}
}

void
key_models_describe(const struct key_models *models,
    const struct user_config *user, struct buf *out)
{
	if (models->count == 0 && user->all_models) {
		buf_puts(out, "all models");
		return;
	}
	buf_puts(out,
	    models->count == 0 && user->model_count == 0 ? "no models"
							 : "models");
	for (size_t i = 0; i < models->count; i++)
		buf_printf(out, " %s", models->names[i]);
	for (size_t i = 0; models->count == 0 && i < user->model_count; i++)
		buf_printf(out, " %s", user->models[i]->name);
}
