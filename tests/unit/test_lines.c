/*
 * Lines cut from a stream: complete, in order, bounded.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

#include "workers/lines.h"

struct world {
    struct lines lines;
    char text[32][64]; /* beginnings of the lines */
    size_t lengths[32], count, bytes;
};

static void on_line(void *arg, struct bytes line)
{
    struct world *world = arg;
    assert_true(line.length <= LINE_LIMIT);
    if (world->count < 32) {
        world->lengths[world->count] = line.length;
        snprintf(world->text[world->count], 64, "%.*s", (int)(line.length < 60 ? line.length : 60),
                 (const char *)line.data);
    }
    world->count++;
    world->bytes += line.length;
}

static void add(struct world *world, const char *text)
{
    lines_add(&world->lines, bytes_string(text), on_line, world);
}

static void complete_lines_are_given_at_once(void **state)
{
    struct world world = {.count = 0};
    (void)state;
    add(&world, "one\n\ntwo\nthr");
    assert_int_equal(world.count, 3);
    assert_string_equal(world.text[0], "one");
    assert_string_equal(world.text[1], "");
    assert_string_equal(world.text[2], "two");
    add(&world, "e");
    add(&world, "e\nfour");
    assert_int_equal(world.count, 4);
    assert_string_equal(world.text[3], "three");
    lines_end(&world.lines, on_line, &world);
    assert_string_equal(world.text[4], "four");
    lines_end(&world.lines, on_line, &world);
    assert_int_equal(world.count, 5);
    lines_free(&world.lines);
}

static void a_line_without_end_comes_in_pieces(void **state)
{
    struct world world = {.count = 0};
    char *much = malloc(1000001);
    (void)state;
    memset(much, 'x', 1000000);
    much[1000000] = '\0';
    for (int i = 0; i < 3; i++)
        add(&world, much);
    add(&world, "\nend\n");
    assert_int_equal(world.bytes, 3 * 1000000 + 3);
    assert_int_equal(world.count, (3 * 1000000 + LINE_LIMIT - 1) / LINE_LIMIT + 1);
    assert_int_equal(world.lengths[0], LINE_LIMIT);
    lines_free(&world.lines);
    free(much);
}

static void a_line_of_exactly_the_limit_is_one_line(void **state)
{
    struct world world = {.count = 0};
    char *line = malloc(LINE_LIMIT + 2);
    (void)state;
    memset(line, 'x', LINE_LIMIT);
    strcpy(line + LINE_LIMIT, "\n");
    add(&world, line);
    assert_int_equal(world.count, 1);
    line[LINE_LIMIT] = '\0';
    add(&world, line);
    add(&world, "\n");
    assert_int_equal(world.count, 2);
    assert_int_equal(world.lengths[1], LINE_LIMIT);
    lines_free(&world.lines);
    free(line);
}

static bool always(void)
{
    return true;
}

static void without_memory_nothing_is_lost(void **state)
{
    struct world world = {.count = 0};
    (void)state;
    memory_fail_hook = always;
    add(&world, "partial ");
    add(&world, "line\n");
    memory_fail_hook = NULL;
    assert_int_equal(world.bytes, strlen("partial line"));
    lines_free(&world.lines);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(complete_lines_are_given_at_once),
        cmocka_unit_test(a_line_without_end_comes_in_pieces),
        cmocka_unit_test(a_line_of_exactly_the_limit_is_one_line),
        cmocka_unit_test(without_memory_nothing_is_lost),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
