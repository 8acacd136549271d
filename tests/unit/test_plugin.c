/*
 * Plugins: the good one is loaded, every other one gets a sentence that says what is wrong and what to do.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#include "core/buffer.h"
#include "workers/plugin.h"

static struct functions functions;

static int tear_down(void **state)
{
    (void)state;
    functions_free(&functions);
    return 0;
}

static const char *built(const char *name)
{
    static char path[512];
    const char *directory = getenv("TEST_PLUGIN_DIR");
    snprintf(path, sizeof path, "%s/%s.so", directory ? directory : "bin", name);
    return path;
}

/* The plugin is refused, and the sentence names it and contains `words`. */
static void expect_refusal(const char *path, const char *words)
{
    assert_int_equal(plugin_load(path, &functions), MUSTER_EPLUGIN);
    assert_non_null(strstr(muster_last_error(), path));
    if (!strstr(muster_last_error(), words))
        fail_msg("no \"%s\" in: %s", words, muster_last_error());
    assert_int_equal(functions.count, 0);
}

static void a_missing_file_is_refused(void **state)
{
    (void)state;
    expect_refusal("/nowhere/tasks.so", "No such file");
}

static void a_file_that_is_no_shared_object_is_refused(void **state)
{
    char path[] = "/tmp/muster-plugin.XXXXXX";
    int fd = mkstemp(path);
    (void)state;
    assert_true(fd >= 0);
    assert_int_equal(write(fd, "#!/bin/sh\n", 10), 10);
    close(fd);
    expect_refusal(path, "cannot load");
    unlink(path);
}

static void a_library_without_the_symbol_is_refused(void **state)
{
    (void)state;
    expect_refusal(built("not_a_plugin"), "MUSTER_PLUGIN(functions)");
}

static void a_symbol_of_something_else_is_refused(void **state)
{
    (void)state;
    expect_refusal(built("other_magic"), "is not a plugin");
}

static void a_plugin_for_another_version_is_refused(void **state)
{
    (void)state;
    expect_refusal(built("other_version"), "build it again");
}

static void reserved_names_are_refused(void **state)
{
    (void)state;
    expect_refusal(built("bad_names"), "reserved");
}

static int nothing(muster_task *task)
{
    (void)task;
    return 0;
}

static void names_are_checked(void **state)
{
    char lengthy[300];
    (void)state;
    memset(lengthy, 'n', sizeof lengthy);
    lengthy[299] = '\0';
    const muster_function too_long[] = {{lengthy, nothing}, {NULL, NULL}}, empty[] = {{"", nothing}, {NULL, NULL}},
                          without[] = {{"f", NULL}, {NULL, NULL}},
                          twice[] = {{"f", nothing}, {"f", nothing}, {NULL, NULL}};
    assert_int_equal(functions_add(&functions, too_long, "this program"), MUSTER_EPLUGIN);
    assert_int_equal(functions_add(&functions, empty, "this program"), MUSTER_EPLUGIN);
    assert_int_equal(functions_add(&functions, without, "this program"), MUSTER_EPLUGIN);
    assert_int_equal(functions_add(&functions, twice, "this program"), MUSTER_EPLUGIN);
    assert_non_null(strstr(muster_last_error(), "offered already"));
    assert_true(functions_find(&functions, "f") == nothing);
    assert_null(functions_find(&functions, "g"));
}

static bool always(void)
{
    return true;
}

static void memory_that_runs_out_is_an_error(void **state)
{
    const muster_function one[] = {{"f", nothing}, {NULL, NULL}};
    (void)state;
    memory_fail_hook = always;
    assert_int_equal(functions_add(&functions, one, "this program"), MUSTER_ENOMEM);
    memory_fail_hook = NULL;
    assert_int_equal(functions.count, 0);
}

#define TEST(name) cmocka_unit_test_teardown(name, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_missing_file_is_refused),
        TEST(a_file_that_is_no_shared_object_is_refused),
        TEST(a_library_without_the_symbol_is_refused),
        TEST(a_symbol_of_something_else_is_refused),
        TEST(a_plugin_for_another_version_is_refused),
        TEST(reserved_names_are_refused),
        TEST(names_are_checked),
        TEST(memory_that_runs_out_is_an_error),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
