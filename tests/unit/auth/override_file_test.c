#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "../folder.h"
#include "auth/limits_text.h"
#include "auth/override_file.h"
#include "base/buf.h"
#include "base/file.h"

#define NOW INT64_C(1780000000000)
#define HOUR INT64_C(3600000)

/* Overrides settings ("concurrent=4 budget=5/day") of bob's until then. */
static void
set(const char *dir, const char *user, const char *texts, int64_t now_ms,
    int64_t until_ms)
{
	struct limits l = limits_none();
	struct override_request q = {
	    .user = user, .author = "olga", .limits = &l, .until_ms = until_ms};
	struct fault why;

	while (*texts != '\0') {
		size_t n = strcspn(texts, " ");

		if (!limits_set_text(&l, (struct slice){texts, n}, &why))
			fail_msg("%s", why.text);
		texts += n + (texts[n] == ' ');
	}
	if (!override_file_set(dir, &q, now_ms, &why))
		fail_msg("%s", why.text);
}

static struct override_table *
loaded(const char *dir)
{
	struct fault why;
	struct override_table *t = override_table_load(dir, &why);

	if (t == NULL)
		fail_msg("%s", why.text);
	return t;
}

static size_t
count_in(const char *dir)
{
	struct override_table *t = loaded(dir);
	size_t count = override_table_count(t);

	override_table_destroy(&t);
	return count;
}

static void
without_a_file_nothing_is_overridden(void **state)
{
	struct override_table *t = loaded(*state);
	struct limits over;
	int64_t until_ms;

	assert_int_equal(override_table_count(t), 0);
	assert_false(override_table_merge(t, "bob", NOW, &over, &until_ms));
	assert_int_equal(over.stated, 0);
	assert_true(override_table_changes_ms(t, NOW) == INT64_MAX);
	override_table_destroy(&t);
	override_table_destroy(&t);
}

static void
an_override_keeps_who_set_it_and_until_when(void **state)
{
	const struct override *o;
	struct override_table *t;

	set(*state, "bob", "concurrent=4", NOW, NOW + HOUR);
	t = loaded(*state);
	o = override_table_find(t, "bob", LIMIT_CONCURRENT, NOW);
	assert_non_null(o);
	assert_string_equal(o->author, "olga");
	assert_int_equal(o->limits.most[LIMIT_CONCURRENT], 4);
	assert_int_equal(o->limits.stated, STATED_LIMIT(LIMIT_CONCURRENT));
	assert_int_equal(o->set_ms, NOW);
	assert_int_equal(o->until_ms, NOW + HOUR);
	assert_null(override_table_find(t, "bob", LIMIT_REQUESTS, NOW));
	assert_null(override_table_find(t, "ann", LIMIT_CONCURRENT, NOW));
	assert_null(
	    override_table_find(t, "bob", LIMIT_CONCURRENT, NOW + HOUR));
	override_table_destroy(&t);
}

static void
settings_of_one_user_end_each_at_its_own_time(void **state)
{
	struct override_table *t;
	struct limits over;
	int64_t until_ms;

	set(*state, "bob", "concurrent=4 budget=5/day", NOW, NOW + HOUR);
	set(*state, "bob", "paid_routes=true", NOW, NOW + 3 * HOUR);
	set(*state, "ann", "concurrent=1", NOW, NOW + 2 * HOUR);
	t = loaded(*state);
	assert_true(override_table_merge(t, "bob", NOW, &over, &until_ms));
	assert_int_equal(over.stated,
	    STATED_LIMIT(LIMIT_CONCURRENT) | STATED_BUDGET(PERIOD_DAY) |
		STATED_PAID_ROUTES);
	assert_int_equal(over.most[LIMIT_CONCURRENT], 4);
	assert_int_equal(until_ms, NOW + 3 * HOUR);
	assert_int_equal(override_table_changes_ms(t, NOW), NOW + HOUR);
	assert_int_equal(
	    override_table_changes_ms(t, NOW + HOUR), NOW + 2 * HOUR);

	assert_true(
	    override_table_merge(t, "bob", NOW + HOUR, &over, &until_ms));
	assert_int_equal(over.stated, STATED_PAID_ROUTES);
	assert_int_equal(over.most[LIMIT_CONCURRENT], LIMIT_UNLIMITED);
	assert_false(
	    override_table_merge(t, "bob", NOW + 3 * HOUR, &over, &until_ms));
	assert_true(override_table_changes_ms(t, NOW + 3 * HOUR) == INT64_MAX);
	override_table_destroy(&t);
}

static void
a_later_override_takes_the_place_of_the_same_setting(void **state)
{
	struct override_table *t;

	set(*state, "bob", "concurrent=4 requests_per_minute=9", NOW,
	    NOW + HOUR);
	set(*state, "bob", "concurrent=unlimited", NOW + 1, NOW + 2 * HOUR);
	assert_int_equal(count_in(*state), 2);
	t = loaded(*state);
	assert_int_equal(
	    override_table_find(t, "bob", LIMIT_CONCURRENT, NOW + 1)
		->limits.most[LIMIT_CONCURRENT],
	    LIMIT_UNLIMITED);
	assert_int_equal(override_table_find(t, "bob", LIMIT_REQUESTS, NOW + 1)
			     ->limits.most[LIMIT_REQUESTS],
	    9);
	override_table_destroy(&t);
}

static void
what_is_over_is_gone_after_the_next_change(void **state)
{
	set(*state, "bob", "concurrent=4", NOW, NOW + HOUR);
	set(*state, "ann", "concurrent=4", NOW, NOW + 9 * HOUR);
	assert_int_equal(count_in(*state), 2);
	set(*state, "zoë", "concurrent=4", NOW + HOUR, NOW + 9 * HOUR);
	assert_int_equal(count_in(*state), 2);
}

static void
clearing_ends_what_is_named_and_nothing_else(void **state)
{
	unsigned cleared;
	struct fault why;

	set(*state, "bob", "concurrent=4 budget=5/day budget=9/month", NOW,
	    NOW + HOUR);
	set(*state, "ann", "concurrent=4", NOW, NOW + HOUR);
	assert_true(override_file_clear(*state, "bob",
	    limits_settings_named(SLICE("budget")), NOW, &cleared, &why));
	assert_int_equal(
	    cleared, STATED_BUDGET(PERIOD_DAY) | STATED_BUDGET(PERIOD_MONTH));
	assert_int_equal(count_in(*state), 2);
	assert_true(
	    override_file_clear(*state, "bob", ~0u, NOW, &cleared, &why));
	assert_int_equal(cleared, STATED_LIMIT(LIMIT_CONCURRENT));
	assert_true(
	    override_file_clear(*state, "bob", ~0u, NOW, &cleared, &why));
	assert_int_equal(cleared, 0);
	assert_int_equal(count_in(*state), 1);
}

static void
the_file_is_private_and_no_temporary_one_is_left(void **state)
{
	char dir[128];
	struct stat st;

	umask(0);
	snprintf(dir, sizeof dir, "%s/deep/state", (char *)*state);
	set(dir, "bob", "concurrent=4", NOW, NOW + HOUR);
	assert_int_equal(stat(dir, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0700);
	assert_int_equal(stat(folder_path(dir, "overrides.json"), &st), 0);
	assert_int_equal(st.st_mode & 07777, 0600);
	assert_int_equal(stat(folder_path(dir, "overrides.lock"), &st), 0);
	assert_int_equal(st.st_mode & 07777, 0600);
}

static void
what_could_not_be_read_back_is_not_written(void **state)
{
	static const char *const bad[] = {"", "a\nb", "\xff", "\x1b[2J"};
	struct limits l = limits_none();
	struct fault why;

	assert_true(limits_set_text(&l, SLICE("concurrent=4"), &why));
	for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
		struct override_request q = {.user = bad[i],
		    .author = "olga",
		    .limits = &l,
		    .until_ms = NOW + 1};

		assert_false(override_file_set(*state, &q, NOW, &why));
		q.user = "bob";
		q.author = bad[i];
		assert_false(override_file_set(*state, &q, NOW, &why));
	}
	assert_int_not_equal(
	    access(folder_path(*state, "overrides.json"), F_OK), 0);
}

#define ITEM(more)                                                    \
	"{\"version\":1,\"overrides\":[{\"user\":\"bob\",\"author\":" \
	"\"olga\",\"set_ms\":1,\"until_ms\":9" more "}]}"

static void
a_damaged_file_is_refused_with_a_reason(void **state)
{
	static const struct {
		const char *text, *word;
	} bad[] = {
	    {"", "empty"},
	    {"[]", "not a JSON object"},
	    {"{\"overrides\":[]}", "version"},
	    {"{\"version\":2,\"overrides\":[]}", "version 2"},
	    {"{\"version\":1}", "overrides"},
	    {"{\"version\":1,\"overrides\":[7]}", "not an object"},
	    {"{\"version\":1,\"overrides\":[{}]}", "missing"},
	    {ITEM(""), "not one setting"},
	    {ITEM(",\"limits\":[]"), "limits"},
	    {ITEM(",\"limits\":[\"concurrent=4\",\"paid_routes=true\"]"),
		"not one setting"},
	    {ITEM(",\"limits\":[\"concurrent=x\"]"), "concurrent must be"},
	    {ITEM(",\"limits\":[4]"), "no setting"},
	    {ITEM(",\"limits\":[\"concurrent=4\"],\"model\":\"m\""),
		"\"model\" is not known"},
	    {ITEM(",\"limits\":[\"concurrent=4\"]}, "
		  "{\"user\":\"bob\",\"author\":\"x\",\"set_ms\":1,"
		  "\"until_ms\":9,\"limits\":[\"concurrent=5\"]"),
		"twice"},
	};

	(void)state;
	for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
		struct fault why = {""};

		if (override_table_parse(slice_of(bad[i].text), &why) != NULL)
			fail_msg("taken: %s", bad[i].text);
		if (strstr(why.text, bad[i].word) == NULL)
			fail_msg("%s: %s", bad[i].text, why.text);
	}
}

static void
a_damaged_file_is_not_written_over(void **state)
{
	struct limits l = limits_none();
	struct override_request q = {.user = "bob",
	    .author = "olga",
	    .limits = &l,
	    .until_ms = NOW + HOUR};
	unsigned cleared;
	struct fault why;
	struct stat st;

	set(*state, "bob", "concurrent=4", NOW, NOW + HOUR);
	assert_int_equal(
	    truncate(folder_path(*state, "overrides.json"), 20), 0);
	assert_true(limits_set_text(&l, SLICE("concurrent=5"), &why));
	assert_false(override_file_set(*state, &q, NOW, &why));
	assert_non_null(strstr(why.text, "overrides.json"));
	assert_false(
	    override_file_clear(*state, "bob", ~0u, NOW, &cleared, &why));
	assert_int_equal(stat(folder_path(*state, "overrides.json"), &st), 0);
	assert_int_equal(st.st_size, 20);
}

static void
a_file_that_is_open_to_others_is_refused(void **state)
{
	struct fault why;

	set(*state, "bob", "concurrent=4", NOW, NOW + HOUR);
	assert_int_equal(chmod(folder_path(*state, "overrides.json"), 0644), 0);
	assert_null(override_table_load(*state, &why));
	assert_non_null(strstr(why.text, "chmod 600"));
}

static void
processes_that_set_at_once_lose_nothing(void **state)
{
	enum { PROCESSES = 4, EACH = 25 };
	struct override_table *t;
	char user[32];

	for (int p = 0; p < PROCESSES; p++) {
		pid_t child = fork();

		assert_true(child >= 0);
		if (child > 0)
			continue;
		for (int i = 0; i < EACH; i++) {
			snprintf(user, sizeof user, "user-%d-%d", p, i);
			set(*state, user, "concurrent=4", NOW, NOW + HOUR);
		}
		_exit(0);
	}
	for (int p = 0; p < PROCESSES; p++) {
		int status;

		assert_true(wait(&status) > 0);
		assert_int_equal(status, 0);
	}
	t = loaded(*state);
	assert_int_equal(override_table_count(t), PROCESSES * EACH);
	for (int p = 0; p < PROCESSES; p++)
		for (int i = 0; i < EACH; i++) {
			snprintf(user, sizeof user, "user-%d-%d", p, i);
			assert_non_null(override_table_find(
			    t, user, LIMIT_CONCURRENT, NOW));
		}
	override_table_destroy(&t);
}

int
main(void)
{
#define TEST(test) \
	cmocka_unit_test_setup_teardown(test, folder_setup, folder_teardown)
	const struct CMUnitTest tests[] = {
	    TEST(without_a_file_nothing_is_overridden),
	    TEST(an_override_keeps_who_set_it_and_until_when),
	    TEST(settings_of_one_user_end_each_at_its_own_time),
	    TEST(a_later_override_takes_the_place_of_the_same_setting),
	    TEST(what_is_over_is_gone_after_the_next_change),
	    TEST(clearing_ends_what_is_named_and_nothing_else),
	    TEST(the_file_is_private_and_no_temporary_one_is_left),
	    TEST(what_could_not_be_read_back_is_not_written),
	    TEST(a_damaged_file_is_refused_with_a_reason),
	    TEST(a_damaged_file_is_not_written_over),
	    TEST(a_file_that_is_open_to_others_is_refused),
	    TEST(processes_that_set_at_once_lose_nothing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
