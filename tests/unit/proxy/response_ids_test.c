#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "proxy/response_ids.h"

static void
expect(struct response_ids *ids, const char *user, const char *ours,
    const char *theirs)
{
	char found[RESPONSE_ID_BYTES];

	if (theirs == NULL) {
		assert_false(
		    response_ids_find(ids, user, slice_of(ours), found));
		return;
	}
	assert_true(response_ids_find(ids, user, slice_of(ours), found));
	assert_string_equal(found, theirs);
}

static void
an_id_stands_for_another(void **state)
{
	struct response_ids *ids = response_ids_create();

	(void)state;
	expect(ids, "ann", "resp_1", NULL);
	response_ids_add(ids, "ann", "resp_1", "theirs_1");
	response_ids_add(ids, "ann", "resp_2", "theirs_2");
	expect(ids, "ann", "resp_1", "theirs_1");
	expect(ids, "ann", "resp_2", "theirs_2");
	expect(ids, "ann", "resp_", NULL);
	expect(ids, "ann", "", NULL);
	response_ids_destroy(&ids);
	assert_null(ids);
	response_ids_destroy(&ids);
}

static void
an_id_is_for_its_user_alone(void **state)
{
	struct response_ids *ids = response_ids_create();

	(void)state;
	response_ids_add(ids, "ann", "resp_1", "theirs_1");
	expect(ids, "bob", "resp_1", NULL);
	expect(ids, "", "resp_1", NULL);
	response_ids_destroy(&ids);
}

static void
the_oldest_is_forgotten(void **state)
{
	struct response_ids *ids = response_ids_create();
	char ours[32], theirs[32];
	const unsigned more = 100;

	(void)state;
	for (unsigned i = 0; i < RESPONSE_IDS_MOST + more; i++) {
		snprintf(ours, sizeof ours, "resp_%u", i);
		snprintf(theirs, sizeof theirs, "theirs_%u", i);
		response_ids_add(ids, i % 2 == 0 ? "ann" : "bob", ours, theirs);
	}
	for (unsigned i = 0; i < RESPONSE_IDS_MOST + more; i++) {
		snprintf(ours, sizeof ours, "resp_%u", i);
		snprintf(theirs, sizeof theirs, "theirs_%u", i);
		expect(ids, i % 2 == 0 ? "ann" : "bob", ours,
		    i < more ? NULL : theirs);
	}
	response_ids_destroy(&ids);
}

static void
an_id_that_is_too_long_is_not_remembered(void **state)
{
	struct response_ids *ids = response_ids_create();
	char theirs[RESPONSE_ID_BYTES + 1];

	(void)state;
	memset(theirs, 'x', sizeof theirs);
	theirs[RESPONSE_ID_BYTES] = '\0';
	response_ids_add(ids, "ann", "resp_1", theirs);
	expect(ids, "ann", "resp_1", NULL);
	theirs[RESPONSE_ID_BYTES - 1] = '\0';
	response_ids_add(ids, "ann", "resp_1", theirs);
	expect(ids, "ann", "resp_1", theirs);
	response_ids_destroy(&ids);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(an_id_stands_for_another),
	    cmocka_unit_test(an_id_is_for_its_user_alone),
	    cmocka_unit_test(the_oldest_is_forgotten),
	    cmocka_unit_test(an_id_that_is_too_long_is_not_remembered),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
