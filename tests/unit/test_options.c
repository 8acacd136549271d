/*
 * Command lines: values, their bounds, and what is not understood.
 */
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "core/options.h"

static bool flag, on;
static const char *text, **texts;
static size_t number, size;
static double seconds;
static int called;

static int call(const char *argument, void *arg)
{
    called = argument ? atoi(argument) : -1;
    return called == 13 ? options_error(arg, "not %d", called) : 0;
}

static const struct option_row rows[] = {
    {OPTION_FLAG, 'f', "flag", NULL, &flag, "a flag", 0, 0, NULL},
    {OPTION_NOT, 0, "off", NULL, &on, "its opposite", 0, 0, NULL},
    {OPTION_TEXT, 't', "text", "TEXT", &text, "a text", 0, 0, NULL},
    {OPTION_TEXTS, 'T', "texts", "TEXT", &texts, "many texts", 0, 0, NULL},
    {OPTION_HEADING, 0, NULL, NULL, NULL, "Numbers:", 0, 0, NULL},
    {OPTION_NUMBER, 'n', "number", "N", &number, "a number", 1, 100, NULL},
    {OPTION_SIZE, 0, "size", "SIZE", &size, "a size", 0, 0, NULL},
    {OPTION_SECONDS, 0, "seconds", "S", &seconds, "a time", 0, 0, NULL},
    {OPTION_CALL, 'c', NULL, "N", NULL, "a call", 0, 0, call},
    {OPTION_END, 0, NULL, NULL, NULL, NULL, 0, 0, NULL},
};
static struct options options = {.program = "test", .usage = "test [OPTION]...", .summary = "Tests.", .rows = rows};

/* Parses the words; the count of operands that are left comes out in *left. */
static int parse(const char *const *words, int *left)
{
    static char *argv[32];
    int argc = 1, operand = 0;
    argv[0] = "test";
    while (words[argc - 1]) {
        argv[argc] = (char *)(void *)words[argc - 1];
        argc++;
    }
    argv[argc] = NULL;
    flag = false;
    on = true;
    text = NULL;
    number = size = 0;
    seconds = 0;
    called = 0;
    options.arg = &options;
    options_free_texts(&texts);
    int status = options_parse(&options, argc, argv, &operand);
    *left = argc - operand;
    return status;
}
#define PARSE(left, ...) parse((const char *const[]){__VA_ARGS__, NULL}, left)

static void options_are_taken_long_and_short_between_operands(void **state)
{
    (void)state;
    int left;
    assert_int_equal(PARSE(&left, "-f", "one", "--text=x", "-n", "7", "--size", "64k", "two", "--seconds=1.5m", "-c4"),
                     OPTIONS_GO_ON);
    assert_true(flag);
    assert_true(on);
    assert_string_equal(text, "x");
    assert_int_equal(number, 7);
    assert_int_equal(size, 65536);
    assert_true(seconds == 90);
    assert_int_equal(called, 4);
    assert_int_equal(left, 2);
    assert_int_equal(PARSE(&left, "--off", "--", "-f"), OPTIONS_GO_ON);
    assert_false(on);
    assert_false(flag);
    assert_int_equal(left, 1);
}

static void repeated_texts_gather_and_other_options_are_replaced(void **state)
{
    (void)state;
    int left;
    assert_int_equal(PARSE(&left, "-Ta", "--texts=b", "-T", "c", "-tx", "-ty"), OPTIONS_GO_ON);
    assert_string_equal(texts[0], "a");
    assert_string_equal(texts[1], "b");
    assert_string_equal(texts[2], "c");
    assert_null(texts[3]);
    assert_string_equal(text, "y");
    options_free_texts(&texts);
    assert_null(texts);
}

static void options_end_at_the_first_operand_if_a_command_follows(void **state)
{
    (void)state;
    int left;
    options.stop_at_operand = true;
    assert_int_equal(PARSE(&left, "-f", "command", "-n", "1000"), OPTIONS_GO_ON);
    options.stop_at_operand = false;
    assert_int_equal(left, 3);
    assert_int_equal(number, 0);
}

static void what_is_not_understood_is_an_error_of_usage(void **state)
{
    (void)state;
    static const char *const wrong[][4] = {
        {"--nonsense"},
        {"-x"},
        {"--text"},
        {"-n"},
        {"--flag=1"},
        {"-n", "0"},
        {"-n", "101"},
        {"-n", "1x"},
        {"-n", "-1"},
        {"-n", ""},
        {"--size", "1q"},
        {"--size", "-1"},
        {"--size", "k"},
        {"--size", "99999999999999999999"},
        {"--size=17000000000000000G"},
        {"--seconds", "1y"},
        {"--seconds", "nan"},
        {"--seconds", "-1"},
        {"--seconds", "inf"},
        {"-c", "13"},
        {"--te=1"},
    };
    int left, saved = dup(2), null = open("/dev/null", O_WRONLY);
    dup2(null, 2);
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        int status = parse(wrong[i], &left);
        if (status != 2) {
            dup2(saved, 2);
            fail_msg("%s %s: %d", wrong[i][0], wrong[i][1] ? wrong[i][1] : "", status);
        }
    }
    dup2(saved, 2);
    close(saved);
    close(null);
}

static void sizes_and_times_have_units(void **state)
{
    (void)state;
    uint64_t value;
    double time;
    assert_true(options_read_size("1", &value) && value == 1);
    assert_true(options_read_size("3K", &value) && value == 3072);
    assert_true(options_read_size("3KiB", &value) && value == 3072);
    assert_true(options_read_size("2m", &value) && value == 2 << 20);
    assert_true(options_read_size("1G", &value) && value == 1 << 30);
    assert_true(options_read_size("16777215T", &value) && value == 16777215ull << 40);
    assert_false(options_read_size("16777216T", &value));
    assert_true(options_read_number("18446744073709551615", &value) && value == UINT64_MAX);
    assert_false(options_read_number("18446744073709551616", &value));
    assert_false(options_read_number(" 1", &value));
    assert_true(options_read_seconds("20ms", &time) && time == 0.02);
    assert_true(options_read_seconds(".5", &time) && time == 0.5);
    assert_true(options_read_seconds("2h", &time) && time == 7200);
    assert_false(options_read_seconds("1 s", &time));
}

static void help_and_version_end_with_success(void **state)
{
    (void)state;
    char output[4096];
    int left, saved = dup(1), ends[2];
    assert_int_equal(pipe(ends), 0);
    fflush(stdout);
    dup2(ends[1], 1);
    int help = PARSE(&left, "--help"), version = PARSE(&left, "--version");
    fflush(stdout);
    dup2(saved, 1);
    close(saved);
    close(ends[1]);
    ssize_t length = read(ends[0], output, sizeof output - 1);
    close(ends[0]);
    assert_true(length > 0);
    output[length] = 0;
    assert_int_equal(help, 0);
    assert_int_equal(version, 0);
    assert_non_null(strstr(output, "Usage: test [OPTION]..."));
    assert_non_null(strstr(output, "  -n, --number=N"));
    assert_non_null(strstr(output, "\nNumbers:\n"));
    assert_non_null(strstr(output, "  -c N"));
    assert_non_null(strstr(output, "\ntest 0."));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(options_are_taken_long_and_short_between_operands),
        cmocka_unit_test(repeated_texts_gather_and_other_options_are_replaced),
        cmocka_unit_test(options_end_at_the_first_operand_if_a_command_follows),
        cmocka_unit_test(what_is_not_understood_is_an_error_of_usage),
        cmocka_unit_test(sizes_and_times_have_units),
        cmocka_unit_test(help_and_version_end_with_success),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
