#include "cli/user_change.h"

#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "auth/override_file.h"
#include "auth/state_read.h"
#include "base/clock.h"
#include "cli/format.h"
#include "cli/key_request.h"
#include "cli/limits_show.h"
#include "cli/locate.h"

#include "base/banned.h"

int
user_find(const struct user_run *r, const struct user_config **user)
{
	const char *nearest;

	*user = config_user(r->config, slice_of(r->name));
	if (*user != NULL)
		return EXIT_OK;
	nearest = key_nearest_user(r->config, r->name);
	return user_fail(EXIT_NOT_FOUND,
	    "%s is not in %s%s%s. See: weir user "
	    "list",
	    r->name, r->config->path, nearest == NULL ? "" : "; did you mean ",
	    nearest == NULL ? "" : nearest);
}

/* Who is at the keyboard: behind sudo, who has called it. */
static const char *
author(void)
{
	const char *caller = geteuid() == 0 ? getenv("SUDO_USER") : NULL;
	const struct passwd *entry;
	static char number[32];

	if (caller != NULL && state_is_text(caller, strlen(caller)))
		return caller;
	entry = getpwuid(getuid());
	if (entry != NULL)
		return entry->pw_name;
	snprintf(number, sizeof number, "user number %ld", (long)getuid());
	return number;
}

/* The user's limits with what overrides them. */
static bool
limits_now(const struct user_run *r, const struct user_config *user,
    struct limits *out, struct fault *why)
{
	struct override_table *t =
	    override_table_load_as_admin(r->state_dir, why);
	struct limits over;
	int64_t until_ms;

	*out = user == NULL ? limits_none() : user->limits;
	if (t == NULL)
		return false;
	if (override_table_merge(t, r->name, r->now_ms, &over, &until_ms))
		limits_replace(out, &over);
	override_table_destroy(&t);
	return true;
}

/* "concurrent 2 -> 4, budget unlimited -> $5/day". */
static void
put_changes(struct buf *out, const struct limits *before,
    const struct limits *after, unsigned settings)
{
	char from[LIMITS_VALUE_BYTES], to[LIMITS_VALUE_BYTES];
	const char *between = "";

	for (unsigned i = 0; i < LIMITS_SETTINGS; i++) {
		if (!(settings & 1u << i))
			continue;
		limits_format_value(from, before, i);
		limits_format_value(to, after, i);
		buf_printf(out, "%s%s %s -> %s", between,
		    limits_setting_name(i), from, to);
		between = ", ";
	}
	buf_put(out, "", 1);
}

static int
read_sets(const struct user_run *r, struct limits *out, int64_t *until_ms)
{
	struct fault why;
	uint64_t ms;

	*out = limits_none();
	if (r->set_count > USER_SETS_MOST)
		return user_fail(EXIT_USAGE, "--set is given at most %d times",
		    USER_SETS_MOST);
	for (size_t i = 0; i < r->set_count; i++)
		if (!limits_set_text(out, slice_of(r->sets[i]), &why))
			return user_fail(
			    EXIT_USAGE, "--set %s: %s", r->sets[i], why.text);
	if (r->lasts == NULL)
		return user_fail(EXIT_USAGE,
		    "an override has an end: say how long it holds, as in "
		    "--for 2h. What is to stay belongs in %s, under users.%s",
		    r->config->path, r->name);
	if (!duration_parse(slice_of(r->lasts), &ms) || ms == 0)
		return user_fail(EXIT_USAGE,
		    "--for takes a duration like 30m, 2h or 7d, not '%s'",
		    r->lasts);
	*until_ms = r->now_ms + (int64_t)ms;
	return EXIT_OK;
}

static int
run_set(const struct user_run *r)
{
	struct limits before, after;
	struct override_request q = {
	    .user = r->name, .author = author(), .limits = &after};
	const struct user_config *user;
	char until[CLOCK_TEXT_BYTES];
	struct buf changes = {0};
	struct fault why;
	int status;

	if ((status = user_find(r, &user)) != EXIT_OK ||
	    (status = read_sets(r, &after, &q.until_ms)) != EXIT_OK)
		return status;
	if (!limits_now(r, user, &before, &why) ||
	    !override_file_set(r->state_dir, &q, r->now_ms, &why))
		return user_fail(EXIT_FAILED, "%s", why.text);
	put_changes(&changes, &before, &after, after.stated);
	format_moment(until, q.until_ms, r->now_ms);
	user_say(r,
	    "%s: %s until %s (override; the config file is unchanged). Undo: "
	    "weir user limits %s --clear\n",
	    r->name, buf_data(&changes), until, r->name);
	buf_release(&changes);
	return EXIT_OK;
}

/* The settings that are named behind --clear; all without a name. */
static int
read_names(const struct user_run *r, unsigned *settings)
{
	*settings = r->word_count == 0 ? ~0u : 0;
	for (size_t i = 0; i < r->word_count; i++) {
		unsigned named = limits_settings_named(slice_of(r->words[i]));
		struct limits none = limits_none();
		struct fault why;

		if (named == 0) {
			(void)!limits_set(
			    &none, slice_of(r->words[i]), SLICE(""), &why);
			return user_fail(EXIT_USAGE, "--clear: '%s' %s",
			    r->words[i], why.text);
		}
		*settings |= named;
	}
	return EXIT_OK;
}

static int
run_clear(const struct user_run *r)
{
	const struct user_config *user =
	    config_user(r->config, slice_of(r->name));
	struct limits before, after;
	struct buf changes = {0};
	unsigned settings, cleared;
	struct fault why;
	int status;

	if ((status = read_names(r, &settings)) != EXIT_OK)
		return status;
	if (!limits_now(r, user, &before, &why) ||
	    !override_file_clear(
		r->state_dir, r->name, settings, r->now_ms, &cleared, &why))
		return user_fail(EXIT_FAILED, "%s", why.text);
	/* Of a user who was taken out of the file there may be some left. */
	if (cleared == 0 && user == NULL)
		return user_find(r, &user);
	if (cleared == 0) {
		user_say(r, "%s: nothing was overridden.\n", r->name);
		return EXIT_OK;
	}
	after = user == NULL ? limits_none() : user->limits;
	put_changes(&changes, &before, &after, cleared);
	user_say(
	    r, "%s: %s (no override any more)\n", r->name, buf_data(&changes));
	buf_release(&changes);
	return EXIT_OK;
}

int
user_run_change(const struct user_run *r)
{
	return r->given & USER_SET ? run_set(r) : run_clear(r);
}
