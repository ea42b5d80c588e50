#include "cli/key_run.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "auth/key_file.h"
#include "base/clock.h"
#include "base/file.h"
#include "cli/format.h"
#include "cli/key_request.h"
#include "cli/locate.h"

#include "base/banned.h"

#define GRACE_DEFAULT_MS UINT64_C(86400000)
#define DAY_MS INT64_C(86400000)

/* The day, or the hour if it is near. */
static void
format_expiry(char out[CLOCK_TEXT_BYTES], int64_t wall_ms, int64_t now_ms)
{
	time_t then = (time_t)(wall_ms / 1000);
	struct tm day;

	if (wall_ms - now_ms < 2 * DAY_MS)
		format_moment(out, wall_ms, now_ms);
	else if (localtime_r(&then, &day) != NULL)
		strftime(out, CLOCK_TEXT_BYTES, "%Y-%m-%d", &day);
}

/* The key to stdout, past stdio, which would keep a copy. */
static int
print_key(const char key[KEY_CHARS + 1])
{
	struct slice id = key_id((struct slice){key, KEY_CHARS});

	if (file_write_all(STDOUT_FILENO, key, KEY_CHARS) &&
	    file_write_all(STDOUT_FILENO, "\n", 1))
		return EXIT_OK;
	return key_fail(EXIT_FAILED,
	    "cannot write the new key to stdout: %s. It was made all the "
	    "same; end it with: weir key revoke %.*s",
	    strerror(errno), (int)id.len, id.p);
}

static int
read_expiry(const struct key_run *r, int64_t *expires_ms)
{
	uint64_t ms;

	*expires_ms = 0;
	if (r->expires == NULL)
		return EXIT_OK;
	if (!duration_parse(slice_of(r->expires), &ms) || ms == 0)
		return key_fail(EXIT_USAGE,
		    "--expires takes a duration like 90d or 12h, not '%s'",
		    r->expires);
	*expires_ms = r->now_ms + (int64_t)ms;
	return EXIT_OK;
}

static void
explain_issued(const struct key_run *r, const char *key,
    const struct key_request *q, const struct key_models *models,
    const struct user_config *user)
{
	struct slice id = key_id(slice_of(key));
	char day[CLOCK_TEXT_BYTES] = "never";
	struct buf what = {0};

	key_models_describe(models, user, &what);
	if (q->class != KEY_CLASS_UNSAID)
		buf_printf(&what, ", class %s", key_class_name(q->class));
	if (q->limits->stated != 0) {
		buf_puts(&what, ", limits ");
		key_limits_describe(q->limits, &what);
	}
	if (q->expires_ms != 0)
		format_expiry(day, q->expires_ms, r->now_ms);
	key_say(r,
	    "Issued %.*s to %s, %.*s, expires %s. This is the only time the "
	    "key is shown.\nRevoke:  weir key revoke %.*s\n",
	    (int)id.len, id.p, q->user, (int)buf_len(&what), buf_data(&what),
	    day, (int)id.len, id.p);
	buf_release(&what);
}

int
key_run_issue(const struct key_run *r)
{
	struct limits limits;
	struct key_request q = {
	    .user = r->operand, .name = r->name, .limits = &limits};
	const struct user_config *user;
	struct key_models models;
	char key[KEY_CHARS + 1];
	struct fault why;
	int status;

	if ((status = read_expiry(r, &q.expires_ms)) != EXIT_OK ||
	    (status = key_class_read(r->class, &q.class)) != EXIT_OK ||
	    (status = key_limits_read(r->limits, r->limit_count, &limits)) !=
		EXIT_OK ||
	    (status = key_user_find(r->config, r->operand, &user)) != EXIT_OK ||
	    (status = key_models_read(r->config, user, r->models, &models)) !=
		EXIT_OK ||
	    (status = key_check_access(r, R_OK | W_OK | X_OK)) != EXIT_OK)
		return status;
	if (models.count > 0) {
		q.models = models.names;
		q.model_count = models.count;
	}
	if (!key_file_issue(r->state_dir, &q, r->now_ms, key, &why))
		return key_fail(EXIT_FAILED, "%s", why.text);
	status = print_key(key);
	if (status == EXIT_OK)
		explain_issued(r, key, &q, &models, user);
	explicit_bzero(key, sizeof key);
	return status;
}

static void
explain_rotated(const struct key_run *r, const char *key, const char *user,
    uint64_t grace_ms)
{
	struct slice id = key_id(slice_of(key));
	char moment[CLOCK_TEXT_BYTES];

	format_moment(moment, r->now_ms + (int64_t)grace_ms, r->now_ms);
	key_say(r, "Issued %.*s to %s. ", (int)id.len, id.p, user);
	if (grace_ms == 0)
		key_say(r, "The old key %s has stopped.\n", r->operand);
	else
		key_say(r, "The old key %s works until %s, then stops.\n",
		    r->operand, moment);
}

static int
rotate_key(
    const struct key_run *r, const struct key_record *old, uint64_t grace_ms)
{
	const struct user_config *user;
	char key[KEY_CHARS + 1];
	struct fault why;
	int status = key_user_find(r->config, old->user, &user);

	if (status != EXIT_OK)
		return status;
	switch (key_file_rotate(
	    r->state_dir, r->operand, grace_ms, r->now_ms, key, &why)) {
	case KEY_CHANGED:
		break;
	case KEY_NOT_FOUND:
		return key_not_found(r->operand);
	case KEY_WAS_REVOKED:
		return key_fail(EXIT_FAILED,
		    "%s was revoked or replaced before. Make a new one: weir "
		    "key issue %s",
		    r->operand, old->user);
	case KEY_FAILED:
		return key_fail(EXIT_FAILED, "%s", why.text);
	}
	status = print_key(key);
	if (status == EXIT_OK)
		explain_rotated(r, key, old->user, grace_ms);
	explicit_bzero(key, sizeof key);
	return status;
}

int
key_run_rotate(const struct key_run *r)
{
	uint64_t grace_ms = GRACE_DEFAULT_MS;
	const struct key_record *old;
	struct key_table *keys = NULL;
	int status;

	if (r->grace != NULL && !duration_parse(slice_of(r->grace), &grace_ms))
		return key_fail(EXIT_USAGE,
		    "--grace takes a duration like 24h or 0s, not '%s'",
		    r->grace);
	if ((status = key_check_access(r, R_OK | W_OK | X_OK)) != EXIT_OK)
		return status;
	status = key_find(r, &keys, &old);
	if (status == EXIT_OK)
		status = rotate_key(r, old, grace_ms);
	key_table_unref(&keys);
	return status;
}

/* Only a person at a terminal is asked. */
static bool
is_confirmed(const struct key_run *r, const struct key_record *old)
{
	char answer[8];

	if ((r->given & OPTION_YES) || !isatty(STDIN_FILENO))
		return true;
	fprintf(stderr, "Revoke %s (%s%s%s)? [y/N] ", old->id, old->user,
	    old->name == NULL ? "" : ", ", old->name == NULL ? "" : old->name);
	return fgets(answer, sizeof answer, stdin) != NULL &&
	    (answer[0] == 'y' || answer[0] == 'Y');
}

static int
revoke_key(const struct key_run *r, const struct key_record *old)
{
	struct fault why;

	if (!is_confirmed(r, old))
		return key_fail(EXIT_FAILED, "nothing was changed");
	switch (key_file_revoke(r->state_dir, r->operand, r->now_ms, &why)) {
	case KEY_CHANGED:
		key_say(r,
		    "Revoked %s (%s). New requests get 401. Open streams of "
		    "it are cut within 5 seconds by a running gateway.\n",
		    old->id, old->user);
		return EXIT_OK;
	case KEY_WAS_REVOKED:
		key_say(r, "%s (%s) was revoked before.\n", old->id, old->user);
		return EXIT_OK;
	case KEY_NOT_FOUND:
		return key_not_found(r->operand);
	case KEY_FAILED:
		break;
	}
	return key_fail(EXIT_FAILED, "%s", why.text);
}

int
key_run_revoke(const struct key_run *r)
{
	const struct key_record *old;
	struct key_table *keys = NULL;
	int status;

	if ((status = key_check_access(r, R_OK | W_OK | X_OK)) != EXIT_OK)
		return status;
	status = key_find(r, &keys, &old);
	if (status == EXIT_OK)
		status = revoke_key(r, old);
	key_table_unref(&keys);
	return status;
}
