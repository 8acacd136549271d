/*
 * What replacement strings become, and how values are quoted.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
#include <sys/wait.h>
#include <cmocka.h>

#include "cli/template.h"

/* The words of a template with these values, each word followed by '|'. */
static const char *expand(char **words, size_t count, enum template_quoting quoting, const char *const *values,
                          size_t value_count)
{
    static struct buffer text;
    struct template template;
    struct words made = {0};
    struct bytes views[8];
    for (size_t i = 0; i < value_count; i++)
        views[i] = bytes_string(values[i]);
    template_parse(&template, words, count, quoting, "{}", true);
    template_expand(&template, &(struct template_values){views, value_count, 7, 3}, &made);
    text.length = 0;
    for (size_t i = 0; i < made.count; i++) {
        struct bytes word = words_at(&made, i);
        assert_int_equal(buffer_append(&text, word.data, word.length), 0);
        assert_int_equal(buffer_append(&text, "|", 1), 0);
    }
    assert_int_equal(buffer_append(&text, "", 1), 0);
    words_free(&made);
    template_free(&template);
    return (const char *)text.data;
}

#define WORDS(...) (char *[]){__VA_ARGS__}, sizeof((char *[]){__VA_ARGS__}) / sizeof(char *)
#define VALUES(...) (const char *[]){__VA_ARGS__}, sizeof((const char *[]){__VA_ARGS__}) / sizeof(char *)

static void each_replacement_string_gives_its_part_of_the_item(void **state)
{
    static const struct {
        const char *item, *stem, *name, *folder, *basename;
    } cases[] = {
        {"/a/b.c.d", "/a/b.c", "b.c.d", "/a", "b.c"},
        {"plain", "plain", "plain", ".", "plain"},
        {".hidden", "", ".hidden", ".", ""},
        {"/a/.b", "/a/", ".b", "/a", ""},
        {"a/b.c/", "a/b.c/", "", "a", ""},
        {"a.", "a", "a.", ".", "a"},
        {"/", "/", "", "/", ""},
        {"//x", "//x", "x", "/", "x"},
        {"", "", "", ".", ""},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char expected[200];
        snprintf(expected, sizeof expected, "<%s>|<%s>|<%s>|<%s>|<%s>|", cases[i].item, cases[i].stem, cases[i].name,
                 cases[i].folder, cases[i].basename);
        assert_string_equal(
            expand(WORDS("<{}>", "<{.}>", "<{/}>", "<{//}>", "<{/.}>"), TEMPLATE_PLAIN, VALUES(cases[i].item)),
            expected);
    }
}

static void number_and_slot_are_those_of_the_job(void **state)
{
    (void)state;
    assert_string_equal(expand(WORDS("{#}-{%}", "{}"), TEMPLATE_PLAIN, VALUES("x")), "7-3|x|");
}

static void a_command_that_names_no_item_gets_it_at_the_end(void **state)
{
    (void)state;
    assert_string_equal(expand(WORDS("echo", "{#}"), TEMPLATE_PLAIN, VALUES("a b")), "echo|7|a b|");
    assert_string_equal(expand(WORDS("echo hi"), TEMPLATE_FOR_SHELL, VALUES("a b")), "echo hi 'a b'|");
}

static void columns_are_chosen_by_number_from_either_end(void **state)
{
    (void)state;
    assert_string_equal(expand(WORDS("{2}", "{-1}", "{1/}"), TEMPLATE_PLAIN, VALUES("/x/a", "b", "c")), "b|c|a|");
    assert_string_equal(expand(WORDS("<{9}>", "{-9}"), TEMPLATE_PLAIN, VALUES("a")), "<>||");
}

static void several_items_are_several_words_or_one_text(void **state)
{
    (void)state;
    assert_string_equal(expand(WORDS("cp", "{}", "to/"), TEMPLATE_PLAIN, VALUES("a b", "c")), "cp|a b|c|to/|");
    assert_string_equal(expand(WORDS("pre-{}-post"), TEMPLATE_PLAIN, VALUES("a", "b")), "pre-a b-post|");
}

static void what_is_no_replacement_string_stays(void **state)
{
    (void)state;
    assert_string_equal(expand(WORDS("{x}", "{", "{0}", "{1", "{}"), TEMPLATE_PLAIN, VALUES("v")), "{x}|{|{0}|{1|v|");
}

static void another_placeholder_can_be_chosen(void **state)
{
    struct template template;
    struct words made = {0};
    struct bytes value = bytes_string("v");
    (void)state;
    template_parse(&template, (char *[]){"a@b", "@"}, 2, TEMPLATE_PLAIN, "@", true);
    template_expand(&template, &(struct template_values){&value, 1, 1, 1}, &made);
    assert_int_equal(made.count, 2);
    assert_true(bytes_equal(words_at(&made, 0), bytes_string("avb")));
    words_free(&made);
    template_free(&template);
}

static void only_a_single_word_with_shell_syntax_wants_a_shell(void **state)
{
    (void)state;
    assert_true(template_wants_shell("echo {}"));
    assert_true(template_wants_shell("a|b"));
    assert_true(template_wants_shell("$HOME/x"));
    assert_false(template_wants_shell("gzip"));
    assert_false(template_wants_shell("./run-{#}-{}"));
    assert_false(template_wants_shell(""));
}

/* What a real shell makes of a quoted value. */
static void check_quoting(struct bytes value, void (*quote)(struct buffer *, struct bytes), const char *shell)
{
    struct buffer command = {0};
    char back[600];
    size_t length = 0, got;
    assert_int_equal(buffer_append(&command, "printf %s ", 10), 0);
    quote(&command, value);
    assert_int_equal(buffer_append(&command, "", 1), 0);
    int pipes[2];
    assert_int_equal(pipe(pipes), 0);
    pid_t pid = fork();
    if (pid == 0) {
        dup2(pipes[1], 1);
        close(pipes[0]);
        execlp(shell, shell, "-c", (char *)command.data, (char *)NULL);
        _exit(1);
    }
    close(pipes[1]);
    while (length < sizeof back && (got = (size_t)read(pipes[0], back + length, sizeof back - length)) > 0)
        length += got;
    close(pipes[0]);
    assert_int_equal(waitpid(pid, NULL, 0), pid);
    assert_int_equal(length, value.length);
    assert_memory_equal(back, value.data, length);
    buffer_free(&command);
}

static void a_shell_reads_back_every_byte_that_was_quoted(void **state)
{
    static const char *const texts[] = {"", "plain", "it's", "a b", "$HOME `x` \"q\" \\", "~", "-n", "a=b", "*", "!x"};
    unsigned char all[255];
    (void)state;
    for (int i = 0; i < 255; i++)
        all[i] = (unsigned char)(i + 1);
    check_quoting((struct bytes){all, sizeof all}, quote_for_shell, "sh");
    check_quoting((struct bytes){all, sizeof all}, quote_for_people, "bash");
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        check_quoting(bytes_string(texts[i]), quote_for_shell, "sh");
        check_quoting(bytes_string(texts[i]), quote_for_people, "bash");
    }
}

static void what_is_quoted_for_people_stays_on_one_line(void **state)
{
    struct buffer text = {0};
    (void)state;
    quote_for_people(&text, bytes_string("a\nb\tc'\x01"));
    assert_int_equal(text.length, strlen("$'a\\nb\\tc\\'\\001'"));
    assert_memory_equal(text.data, "$'a\\nb\\tc\\'\\001'", text.length);
    buffer_free(&text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_replacement_string_gives_its_part_of_the_item),
        cmocka_unit_test(number_and_slot_are_those_of_the_job),
        cmocka_unit_test(a_command_that_names_no_item_gets_it_at_the_end),
        cmocka_unit_test(columns_are_chosen_by_number_from_either_end),
        cmocka_unit_test(several_items_are_several_words_or_one_text),
        cmocka_unit_test(what_is_no_replacement_string_stays),
        cmocka_unit_test(another_placeholder_can_be_chosen),
        cmocka_unit_test(only_a_single_word_with_shell_syntax_wants_a_shell),
        cmocka_unit_test(a_shell_reads_back_every_byte_that_was_quoted),
        cmocka_unit_test(what_is_quoted_for_people_stays_on_one_line),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
