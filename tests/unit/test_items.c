/*
 * Items and blocks out of streams, lists and combinations. Streams are pipes that the test fills piece by piece.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
#include <cmocka.h>

#include "cli/source.h"

struct stream {
    int in, out;
};

static struct stream open_stream(void)
{
    int fds[2];
    assert_int_equal(pipe(fds), 0);
    return (struct stream){fds[0], fds[1]};
}

static void feed(struct stream *stream, const char *text)
{
    assert_int_equal(write(stream->out, text, strlen(text)), strlen(text));
}

/* Everything that the source gives until it waits or ends: values joined by ',', jobs ended by ';'. */
static const char *drain(struct source *source, enum item_status *last)
{
    static char text[4096];
    struct template_values values;
    struct buffer block = {0};
    size_t length = 0;
    while ((*last = source_next(source, &values, &block)) == ITEM_READY) {
        if (source->kind == SOURCE_BLOCKS)
            length += (size_t)sprintf(text + length, "%.*s", (int)(block.length - BLOCK_HEADROOM),
                                      (char *)block.data + BLOCK_HEADROOM);
        for (size_t i = 0; i < values.count; i++)
            length += (size_t)sprintf(text + length, "%s%.*s", i ? "," : "", (int)values.values[i].length,
                                      (const char *)values.values[i].data);
        text[length++] = ';';
    }
    text[length] = '\0';
    buffer_free(&block);
    return text;
}

/* The same for a whole text. */
static const char *drain_text(struct source *source, struct stream *stream, const char *input)
{
    static char all[8192];
    enum item_status last;
    all[0] = '\0';
    feed(stream, input);
    close(stream->out);
    do {
        strcat(all, drain(source, &last));
        if (last == ITEM_WAIT)
            assert_int_equal(source_fill(source), ITEM_READY);
    } while (last == ITEM_WAIT);
    assert_int_equal(last, ITEM_END);
    close(stream->in);
    return all;
}

static void lines_are_items_and_the_last_needs_no_newline(void **state)
{
    struct stream stream = open_stream();
    struct source source = {.items_per_job = 1};
    (void)state;
    source_stream(&source, stream.in, "it", '\n');
    assert_string_equal(drain_text(&source, &stream, "a\n\n b c \nlast"), "a;; b c ;last;");
    source_free(&source);
}

static void a_half_line_waits_for_its_end(void **state)
{
    struct stream stream = open_stream();
    struct source source = {.items_per_job = 1};
    enum item_status last;
    (void)state;
    source_stream(&source, stream.in, "it", '\n');
    feed(&stream, "one\ntw");
    assert_string_equal(drain(&source, &last), "");
    assert_int_equal(last, ITEM_WAIT);
    assert_int_equal(source_fill(&source), ITEM_READY);
    assert_string_equal(drain(&source, &last), "one;");
    assert_int_equal(last, ITEM_WAIT);
    assert_string_equal(drain_text(&source, &stream, "o\n"), "two;");
    source_free(&source);
}

static void items_can_end_with_a_zero_byte_and_hold_newlines(void **state)
{
    struct stream stream = open_stream();
    struct source source = {.items_per_job = 1};
    (void)state;
    source_stream(&source, stream.in, "it", '\0');
    assert_int_equal(write(stream.out, "a\nb\0c\0", 6), 6);
    assert_string_equal(drain_text(&source, &stream, ""), "a\nb;c;");
    source_free(&source);
}

static void several_items_make_one_job_also_when_they_come_slowly(void **state)
{
    struct stream stream = open_stream();
    struct source source = {.items_per_job = 3};
    enum item_status last;
    (void)state;
    source_stream(&source, stream.in, "it", '\n');
    feed(&stream, "a\nb\n");
    assert_int_equal(source_fill(&source), ITEM_READY);
    assert_string_equal(drain(&source, &last), "");
    assert_string_equal(drain_text(&source, &stream, "c\nd\n"), "a,b,c;d;");
    source_free(&source);
}

static void blank_items_are_left_out_on_request(void **state)
{
    struct stream stream = open_stream();
    struct source source = {.items_per_job = 1, .skip_empty = true};
    (void)state;
    source_stream(&source, stream.in, "it", '\n');
    assert_string_equal(drain_text(&source, &stream, "\na\n \t\nb\n\n"), "a;b;");
    source_free(&source);
}

static void a_stream_without_end_of_item_is_refused_at_the_limit(void **state)
{
    struct source source = {.items_per_job = 1};
    struct template_values values;
    struct buffer block = {0};
    enum item_status status;
    FILE *zeros = fopen("/dev/zero", "r");
    (void)state;
    source_stream(&source, fileno(zeros), "zeros", '\n');
    do {
        assert_int_equal(source_next(&source, &values, &block), ITEM_WAIT);
        status = source_fill(&source);
    } while (status == ITEM_READY);
    assert_int_equal(status, ITEM_FAILED);
    assert_int_equal(errno, EMSGSIZE);
    fclose(zeros);
    source_free(&source);
}

static struct item_list *lists_of(size_t count, const char *const *texts)
{
    struct item_list *lists = calloc(count + 1, sizeof *lists);
    for (size_t i = 0; i < count; i++)
        for (const char *at = texts[i]; *at; at++)
            item_list_add(&lists[i], (struct bytes){at, 1});
    return lists;
}

static void lists_are_combined_the_last_running_fastest(void **state)
{
    struct source source = {.items_per_job = 1};
    enum item_status last;
    (void)state;
    source_lists(&source, lists_of(3, (const char *[]){"ab", "x", "12"}), 3);
    assert_int_equal(source_total(&source), 4);
    assert_string_equal(drain(&source, &last), "a,x,1;a,x,2;b,x,1;b,x,2;");
    assert_int_equal(last, ITEM_END);
    source_free(&source);
}

static void an_empty_list_gives_no_job(void **state)
{
    struct source source = {.items_per_job = 1};
    enum item_status last;
    (void)state;
    source_lists(&source, lists_of(2, (const char *[]){"ab", ""}), 2);
    assert_int_equal(source_total(&source), 0);
    assert_string_equal(drain(&source, &last), "");
    assert_int_equal(last, ITEM_END);
    source_free(&source);
}

static void columns_are_cut_at_a_character_or_an_expression(void **state)
{
    static const struct {
        const char *separator, *line, *columns;
    } cases[] = {
        {",", "a,b,,c\n", "a,b,,c;"},    {"|", "a|b\n", "a,b;"},        {"\\t", "a b\tc\n", "a b,c;"},
        {"[;:]+", "a;:b:c\n", "a,b,c;"}, {" *= *", "k  = v\n", "k,v;"}, {"x*", "abc\n", "abc;"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct stream stream = open_stream();
        struct source source = {.items_per_job = 1};
        assert_null(column_separator_parse(&source.separator, cases[i].separator));
        source_stream(&source, stream.in, "it", '\n');
        assert_string_equal(drain_text(&source, &stream, cases[i].line), cases[i].columns);
        source_free(&source);
    }
}

static void a_wrong_expression_is_refused(void **state)
{
    struct column_separator separator;
    (void)state;
    assert_non_null(column_separator_parse(&separator, "(a"));
    assert_non_null(column_separator_parse(&separator, ""));
}

static void blocks_end_with_a_line_and_hold_every_byte(void **state)
{
    struct stream stream = open_stream();
    struct source source = {.items_per_job = 1};
    (void)state;
    source_blocks(&source, stream.in, "it", '\n', 8, 0);
    assert_string_equal(drain_text(&source, &stream, "aa\nbb\ncc\ndddddddddddddd\ne\nf"),
                        "aa\nbb\n;cc\n;dddddddddddddd\n;e\nf;");
    source_free(&source);
}

static void blocks_can_hold_a_number_of_lines(void **state)
{
    struct stream stream = open_stream();
    struct source source = {.items_per_job = 1};
    (void)state;
    source_blocks(&source, stream.in, "it", '\n', 1024, 2);
    assert_string_equal(drain_text(&source, &stream, "a\nb\nc\nd\ne"), "a\nb\n;c\nd\n;e;");
    source_free(&source);
}

static void an_empty_stream_gives_no_block(void **state)
{
    struct stream stream = open_stream();
    struct source source = {.items_per_job = 1};
    (void)state;
    source_blocks(&source, stream.in, "it", '\n', 1024, 0);
    assert_string_equal(drain_text(&source, &stream, ""), "");
    source_free(&source);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lines_are_items_and_the_last_needs_no_newline),
        cmocka_unit_test(a_half_line_waits_for_its_end),
        cmocka_unit_test(items_can_end_with_a_zero_byte_and_hold_newlines),
        cmocka_unit_test(several_items_make_one_job_also_when_they_come_slowly),
        cmocka_unit_test(blank_items_are_left_out_on_request),
        cmocka_unit_test(a_stream_without_end_of_item_is_refused_at_the_limit),
        cmocka_unit_test(lists_are_combined_the_last_running_fastest),
        cmocka_unit_test(an_empty_list_gives_no_job),
        cmocka_unit_test(columns_are_cut_at_a_character_or_an_expression),
        cmocka_unit_test(a_wrong_expression_is_refused),
        cmocka_unit_test(blocks_end_with_a_line_and_hold_every_byte),
        cmocka_unit_test(blocks_can_hold_a_number_of_lines),
        cmocka_unit_test(an_empty_stream_gives_no_block),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
