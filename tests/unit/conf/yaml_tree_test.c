/* A tree of texts with their places, within bounds whatever the file holds. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/buf.h"
#include "base/mem.h"
#include "conf/config.h"
#include "conf/yaml_tree.h"

static const struct node *
read_tree(struct arena *a, struct slice text, struct diagnostics *found)
{
	arena_init(a);
	return yaml_tree_read(text, a, found);
}

static void
expect_refusal(struct buf *text, const char *message)
{
	struct diagnostics found = {0};
	struct arena a;

	assert_null(read_tree(
	    &a, (struct slice){buf_data(text), buf_len(text)}, &found));
	assert_int_equal(found.errors, 1);
	assert_non_null(strstr(found.all[0].message, message));
	diagnostics_release(&found);
	arena_release(&a);
	buf_release(text);
}

static void
a_node_knows_its_text_and_its_place(void **state)
{
	struct diagnostics found = {0};
	const struct node *root, *list;
	struct arena a;

	(void)state;
	root = read_tree(
	    &a, SLICE("a: no\nb:\n  - 'x y'\n  - |\n    z\n"), &found);
	assert_non_null(root);
	assert_int_equal(root->count, 2);
	assert_string_equal(node_get(root, "a")->text.p, "no");
	assert_int_equal(node_get(root, "a")->line, 1);
	assert_int_equal(node_get(root, "a")->column, 4);
	assert_int_equal(node_get(root, "a")->width, 2);
	assert_false(node_get(root, "a")->is_quoted);
	list = node_get(root, "b");
	assert_int_equal(list->kind, NODE_LIST);
	assert_string_equal(list->items[0]->text.p, "x y");
	assert_int_equal(list->items[0]->width, 5);
	assert_true(list->items[0]->is_quoted);
	assert_string_equal(list->items[1]->text.p, "z\n");
	assert_null(node_get(root, "c"));
	assert_null(node_get(NULL, "c"));
	diagnostics_release(&found);
	arena_release(&a);
}

static void
an_alias_is_the_anchored_node_itself(void **state)
{
	struct diagnostics found = {0};
	const struct node *root;
	struct arena a;

	(void)state;
	root = read_tree(
	    &a, SLICE("a: &x {k: 1}\nb: *x\nc: &x 2\nd: *x\n"), &found);
	assert_ptr_equal(node_get(root, "a"), node_get(root, "b"));
	assert_ptr_equal(node_get(root, "c"), node_get(root, "d"));
	assert_int_equal(found.errors, 0);
	arena_release(&a);
}

static void
depth_32_is_read_and_33_is_not(void **state)
{
	struct diagnostics found = {0};
	struct buf text = {0};
	struct arena a;

	(void)state;
	for (int i = 0; i < 32; i++)
		buf_puts(&text, "[");
	for (int i = 0; i < 32; i++)
		buf_puts(&text, "]");
	assert_non_null(read_tree(
	    &a, (struct slice){buf_data(&text), buf_len(&text)}, &found));
	assert_int_equal(found.errors, 0);
	arena_release(&a);
	buf_clear(&text);
	for (int i = 0; i < 100000; i++)
		buf_puts(&text, "[");
	expect_refusal(&text, "nested deeper than 32 levels");
}

static void
an_alias_cannot_go_round_the_depth(void **state)
{
	struct buf text = {0};

	(void)state;
	buf_puts(&text, "a: &a0 [x]\n");
	for (int i = 1; i < 40; i++)
		buf_printf(&text, "b%d: &a%d [*a%d]\n", i, i, i - 1);
	expect_refusal(&text, "nested too deeply");
}

static void
aliases_of_aliases_do_not_explode(void **state)
{
	struct buf text = {0};

	(void)state;
	buf_puts(&text, "a: &a0 [x, x, x, x, x, x, x, x, x]\n");
	for (int i = 1; i < 10; i++)
		buf_printf(&text,
		    "b%d: &a%d [*a%d, *a%d, *a%d, *a%d, *a%d, "
		    "*a%d, *a%d, *a%d, *a%d]\n",
		    i, i, i - 1, i - 1, i - 1, i - 1, i - 1, i - 1, i - 1,
		    i - 1, i - 1);
	expect_refusal(&text, "too many values");
}

static void
anchors_are_counted(void **state)
{
	struct buf text = {0};

	(void)state;
	for (int i = 0; i <= YAML_ANCHORS_MOST; i++)
		buf_printf(&text, "- &a%d x\n", i);
	expect_refusal(&text, "too many anchors");
}

static void
a_file_of_more_than_1_mib_is_not_read(void **state)
{
	struct buf text = {0};

	(void)state;
	buf_puts(&text, "a: ");
	while (buf_len(&text) <= CONFIG_FILE_MOST_BYTES)
		buf_puts(&text, "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx");
	expect_refusal(&text, "larger than 1024 KiB");
}

/* 100,000 keys, of which the last repeats the first: found by sorting. */
static void
a_duplicate_among_very_many_keys_is_found(void **state)
{
	struct diagnostics found = {0};
	struct buf text = {0};
	const struct node *root;
	struct arena a;

	(void)state;
	for (int i = 0; i < 100000; i++)
		buf_printf(&text, "k%d:\n", i);
	buf_puts(&text, "k0: x\n");
	root = read_tree(
	    &a, (struct slice){buf_data(&text), buf_len(&text)}, &found);
	assert_int_equal(root->count, 100000);
	assert_int_equal(found.errors, 1);
	assert_int_equal(found.all[0].line, 100001);
	assert_string_equal(found.all[0].message,
	    "duplicate key 'k0' (first defined at line 1)");
	assert_true(node_is_empty(node_get(root, "k0")));
	diagnostics_release(&found);
	arena_release(&a);
	buf_release(&text);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(a_node_knows_its_text_and_its_place),
	    cmocka_unit_test(an_alias_is_the_anchored_node_itself),
	    cmocka_unit_test(depth_32_is_read_and_33_is_not),
	    cmocka_unit_test(an_alias_cannot_go_round_the_depth),
	    cmocka_unit_test(aliases_of_aliases_do_not_explode),
	    cmocka_unit_test(anchors_are_counted),
	    cmocka_unit_test(a_file_of_more_than_1_mib_is_not_read),
	    cmocka_unit_test(a_duplicate_among_very_many_keys_is_found),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
