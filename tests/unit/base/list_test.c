#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/list.h"

struct item {
	int number;
	struct link link;
};

/* The list's numbers as digits, forwards; and the same backwards, checked. */
static void
assert_list(struct link *head, const char *digits)
{
	char forwards[16] = "", backwards[16] = "";
	size_t n = 0;

	LIST_EACH (head, l)
		forwards[n++] =
		    (char)('0' + CONTAINER_OF(l, struct item, link)->number);
	for (struct link *l = head->prev; l != head; l = l->prev)
		backwards[--n] =
		    (char)('0' + CONTAINER_OF(l, struct item, link)->number);
	assert_string_equal(forwards, digits);
	assert_string_equal(backwards, digits);
	assert_int_equal(list_is_empty(head), digits[0] == '\0');
}

static void
items_stand_where_they_were_put(void **state)
{
	struct item a = {1, {0}}, b = {2, {0}}, c = {3, {0}}, d = {4, {0}};
	struct link head;

	(void)state;
	list_init(&head);
	assert_list(&head, "");
	list_append(&head, &b.link);
	assert_list(&head, "2");
	list_append(&head, &c.link);
	list_push(&head, &a.link);
	assert_list(&head, "123");
	list_insert_after(&b.link, &d.link);
	assert_list(&head, "1243");
}

static void
a_removed_item_stands_in_no_list(void **state)
{
	struct item a = {1, {0}}, b = {2, {0}}, c = {3, {0}};
	struct link head;

	(void)state;
	list_init(&head);
	list_append(&head, &a.link);
	list_append(&head, &b.link);
	list_append(&head, &c.link);
	list_remove(&b.link);
	assert_list(&head, "13");
	assert_true(list_is_empty(&b.link));
	list_remove(&b.link); /* does nothing */
	assert_list(&head, "13");
	list_remove(&a.link);
	list_remove(&c.link);
	assert_list(&head, "");
}

static void
each_item_may_be_removed_as_it_is_met(void **state)
{
	struct item items[9];
	struct link head, odd;

	(void)state;
	list_init(&head);
	list_init(&odd);
	for (int i = 0; i < 9; i++) {
		items[i].number = i + 1;
		list_append(&head, &items[i].link);
	}
	LIST_EACH (&head, l) {
		if (CONTAINER_OF(l, struct item, link)->number % 2 == 0)
			continue;
		list_remove(l);
		list_append(&odd, l);
	}
	assert_list(&head, "2468");
	assert_list(&odd, "13579");
	LIST_EACH (&head, l)
		list_remove(l);
	assert_list(&head, "");
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(items_stand_where_they_were_put),
	    cmocka_unit_test(a_removed_item_stands_in_no_list),
	    cmocka_unit_test(each_item_may_be_removed_as_it_is_met),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
