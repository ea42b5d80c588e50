#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <jansson.h>

#include "base/buf.h"
#include "proxy/ends.h"

static json_t *
body_of(
    enum end e, bool is_anthropic, const char *message, const char *request_id)
{
	struct buf text = {0};
	json_error_t error;
	json_t *j;

	end_write_body(&text, e, is_anthropic, slice_of(message), request_id);
	assert_null(memchr(buf_data(&text), '\n', buf_len(&text)));
	j = json_loadb(
	    buf_data(&text), buf_len(&text), JSON_REJECT_DUPLICATES, &error);
	assert_non_null(j);
	buf_release(&text);
	return j;
}

static const char *
text_at(json_t *j, const char *outer, const char *name)
{
	if (outer != NULL)
		j = json_object_get(j, outer);
	return json_string_value(json_object_get(j, name));
}

static void
every_end_is_whole(void **state)
{
	(void)state;
	for (enum end e = END_OK; e < END_COUNT; e++) {
		const struct end_facts *f = end_facts(e);

		assert_in_range(f->status, 200, 599);
		assert_in_range(f->anthropic_status, 200, 599);
		assert_true(strlen(f->text) > 0);
		assert_true(strlen(f->help) > 0);
		assert_int_equal(f->help[strlen(f->help) - 1], '.');
		/* What is refused has a type for every dialect. */
		if (f->status >= 400 && f->status != 499) {
			assert_true(strlen(f->type) > 0);
			assert_true(strlen(f->code) > 0);
			assert_true(strlen(f->anthropic_type) > 0);
			assert_string_not_equal(
			    status_phrase(f->status), "Error");
			assert_string_not_equal(
			    status_phrase(f->anthropic_status), "Error");
		}
	}
}

static void
no_two_ends_have_one_name(void **state)
{
	(void)state;
	for (enum end e = END_OK; e < END_COUNT; e++)
		for (enum end k = END_OK; k < e; k++)
			assert_string_not_equal(
			    end_facts(e)->text, end_facts(k)->text);
}

static void
clients_retry_by_status_what_they_may_retry(void **state)
{
	(void)state;
	for (enum end e = END_OK; e < END_COUNT; e++) {
		const struct end_facts *f = end_facts(e);

		if (f->retry == RETRY_LATER)
			assert_true(f->status == 429 || f->status == 503);
		if (f->blame == BLAME_UPSTREAM)
			assert_true(f->status >= 500);
	}
}

static void
openais_clients_read_the_error(void **state)
{
	json_t *j = body_of(END_KEY_WRONG, false, "No \"such\" key.\n", "01J");

	(void)state;
	assert_string_equal(
	    text_at(j, "error", "message"), "No \"such\" key.\n");
	assert_string_equal(
	    text_at(j, "error", "type"), "invalid_request_error");
	assert_string_equal(text_at(j, "error", "code"), "invalid_api_key");
	assert_string_equal(text_at(j, "error", "request_id"), "01J");
	assert_true(json_is_null(
	    json_object_get(json_object_get(j, "error"), "param")));
	assert_null(text_at(j, NULL, "type"));
	json_decref(j);
}

static void
anthropics_clients_read_the_error(void **state)
{
	json_t *j = body_of(END_FULL, true, "Busy.", "01J");

	(void)state;
	assert_string_equal(text_at(j, NULL, "type"), "error");
	assert_string_equal(text_at(j, "error", "type"), "overloaded_error");
	assert_string_equal(text_at(j, "error", "message"), "Busy.");
	assert_string_equal(text_at(j, NULL, "request_id"), "01J");
	json_decref(j);
}

static void
a_body_without_an_id_is_a_body(void **state)
{
	json_t *j;

	(void)state;
	for (int is_anthropic = 0; is_anthropic < 2; is_anthropic++) {
		j = body_of(END_FULL, is_anthropic, "Busy.", NULL);
		assert_null(text_at(j, NULL, "request_id"));
		assert_null(text_at(j, "error", "request_id"));
		json_decref(j);
	}
}

static void
the_page_of_ends_has_a_row_for_each(void **state)
{
	struct buf page = {0}, row = {0};
	size_t rows = 0;

	(void)state;
	ends_reference(&page);
	buf_put(&page, "", 1);
	for (enum end e = END_OK; e < END_COUNT; e++) {
		buf_clear(&row);
		buf_printf(&row, "\n| `%s` | %d", end_facts(e)->text,
		    end_facts(e)->status);
		buf_put(&row, "", 1);
		assert_non_null(strstr(buf_data(&page), buf_data(&row)));
		assert_non_null(strstr(buf_data(&page), end_facts(e)->help));
	}
	for (const char *p = buf_data(&page); (p = strstr(p, "\n| `")) != NULL;
	     p++)
		rows++;
	assert_int_equal(rows, END_COUNT);
	buf_release(&row);
	buf_release(&page);
}

static void
an_unknown_status_has_a_phrase(void **state)
{
	(void)state;
	assert_string_equal(status_phrase(299), "OK");
	assert_string_equal(status_phrase(418), "Error");
	assert_string_equal(status_phrase(529), "Overloaded");
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(every_end_is_whole),
	    cmocka_unit_test(no_two_ends_have_one_name),
	    cmocka_unit_test(clients_retry_by_status_what_they_may_retry),
	    cmocka_unit_test(openais_clients_read_the_error),
	    cmocka_unit_test(anthropics_clients_read_the_error),
	    cmocka_unit_test(a_body_without_an_id_is_a_body),
	    cmocka_unit_test(the_page_of_ends_has_a_row_for_each),
	    cmocka_unit_test(an_unknown_status_has_a_phrase),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
