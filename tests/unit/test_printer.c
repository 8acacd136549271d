/*
 * The printer: lines come out whole and in order, and nobody waits for a reader.
 */
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
#include <cmocka.h>

#include "workers/printer.h"

/* Puts a pipe in the place of standard output while a test runs. */
static int reader, saved;

static int set_up(void **state)
{
    int ends[2];
    (void)state;
    fflush(stdout);
    if (pipe(ends) != 0)
        return -1;
    saved = dup(1);
    dup2(ends[1], 1);
    close(ends[1]);
    reader = ends[0];
    return fcntl(reader, F_SETFL, O_NONBLOCK);
}

static int tear_down(void **state)
{
    (void)state;
    dup2(saved, 1);
    close(saved);
    close(reader);
    return 0;
}

static size_t read_all(char *out, size_t size)
{
    size_t length = 0;
    ssize_t got;
    while (length < size && (got = read(reader, out + length, size - length)) > 0)
        length += (size_t)got;
    return length;
}

static void lines_come_out_tagged_and_in_order(void **state)
{
    struct printer printer = {0};
    char text[256] = "";
    (void)state;
    printer_add(&printer, 1, "host/0", bytes_string("one"));
    printer_add(&printer, 1, "host/1", bytes_string(""));
    printer_flush(&printer);
    read_all(text, sizeof text - 1);
    assert_string_equal(text, "[host/0] one\n[host/1] \n");
    printer_end(&printer);
}

static void a_reader_that_does_not_read_is_not_waited_for(void **state)
{
    struct printer printer = {0};
    struct pollfd polls[2];
    char line[1000];
    static char text[1 << 20];
    size_t lines = 0;
    (void)state;
    memset(line, 'x', sizeof line);
    while (!printer_full(&printer, 1)) {
        printer_add(&printer, 1, "h/0", (struct bytes){line, sizeof line});
        printer_flush(&printer);
        lines++;
    }
    assert_true(lines > 300 && lines < 1000);
    assert_false(printer_full(&printer, 2));
    printer_poll(&printer, polls);
    assert_int_equal(polls[0].fd, 1);
    assert_int_equal(polls[1].fd, -1);
    size_t length = 0;
    for (int i = 0; i < 1000 && printer.pending[0].length > 0; i++) {
        length += read_all(text + length, sizeof text - length);
        printer_flush(&printer);
    }
    length += read_all(text + length, sizeof text - length);
    assert_int_equal(length, lines * (sizeof line + 7));
    printer_end(&printer);
}

static void without_a_reader_lines_are_dropped(void **state)
{
    struct printer printer = {0};
    (void)state;
    close(reader);
    reader = -1;
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGPIPE);
    sigprocmask(SIG_BLOCK, &set, NULL); /* as in the watching thread */
    printer_add(&printer, 1, "h/0", bytes_string("line"));
    printer_flush(&printer);
    assert_int_equal(printer.pending[0].length, 0);
    printer_end(&printer);
}

static bool always(void)
{
    return true;
}

static void without_memory_a_line_is_dropped(void **state)
{
    struct printer printer = {0};
    (void)state;
    memory_fail_hook = always;
    printer_add(&printer, 1, "h/0", bytes_string("line"));
    memory_fail_hook = NULL;
    assert_int_equal(printer.pending[0].length, 0);
    printer_end(&printer);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(lines_come_out_tagged_and_in_order),
        TEST(a_reader_that_does_not_read_is_not_waited_for),
        TEST(without_memory_a_line_is_dropped),
        TEST(without_a_reader_lines_are_dropped),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
