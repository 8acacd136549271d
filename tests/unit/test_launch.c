/*
 * The hand-over to a worker process: what is written is read, and nothing else is believed.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>
#include <cmocka.h>

#include "muster.h"
#include "workers/launch.h"

static void what_is_written_is_read(void **state)
{
    static const char *const plugins[] = {"/a.so", "/b.so", NULL}, *const labels[] = {"x=1", NULL};
    struct launch given = {.url = "ipc:///x",
                           .host = "here",
                           .directory = "",
                           .initializer = "init",
                           .authkey = {.bytes = {1, 2, 3}, .length = 3},
                           .identity = UINT64_MAX,
                           .group = 5,
                           .slot = 2,
                           .page_fd = 7,
                           .lifeline_fd = 8,
                           .supervisor = 999,
                           .plugins = plugins,
                           .labels = labels,
                           .exec = 1,
                           .initializer_encoding = MUSTER_PICKLE,
                           .max_tasks = 1000000,
                           .memory_limit = 1ull << 40,
                           .log_level = 7,
                           .initializer_args = {"\x90\x00", 2}};
    struct launch read;
    int fd;
    (void)state;
    assert_int_equal(launch_write(&given, &fd), 0);
    assert_true(fd > 2);
    assert_int_equal(launch_read(fd, &read), 0);
    assert_string_equal(read.url, "ipc:///x");
    assert_string_equal(read.host, "here");
    assert_string_equal(read.directory, "");
    assert_string_equal(read.initializer, "init");
    assert_int_equal(read.authkey.length, 3);
    assert_memory_equal(read.authkey.bytes, "\1\2\3", 3);
    assert_true(read.identity == UINT64_MAX);
    assert_int_equal(read.slot, 2);
    assert_int_equal(read.supervisor, 999);
    assert_string_equal(read.plugins[0], "/a.so");
    assert_string_equal(read.plugins[1], "/b.so");
    assert_null(read.plugins[2]);
    assert_string_equal(read.labels[0], "x=1");
    assert_null(read.labels[1]);
    assert_int_equal(read.initializer_encoding, MUSTER_PICKLE);
    assert_int_equal(read.initializer_args.length, 2);
    assert_int_equal(read.memory_limit, 1ull << 40);
    assert_int_equal(read.trial, 0);
    assert_int_equal(close(fd), -1); /* reading it has closed it */
    launch_free(&read);
}

static int read_bytes(const void *bytes, size_t length)
{
    struct launch launch;
    int fd = memfd_create("launch", MFD_CLOEXEC);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, bytes, length), (ssize_t)length);
    int status = launch_read(fd, &launch);
    if (status == 0)
        launch_free(&launch);
    return status;
}

static void anything_else_is_refused(void **state)
{
    struct launch launch;
    (void)state;
    assert_int_equal(read_bytes("", 0), MUSTER_EPROTOCOL);
    assert_int_equal(read_bytes("hello", 5), MUSTER_EPROTOCOL);
    assert_int_equal(read_bytes("\x92\xa6muster\x09", 9), MUSTER_EVERSION);
    assert_int_equal(read_bytes("\x94\xa6muster\x01\xa3url\x05", 14), MUSTER_EPROTOCOL);
    assert_int_equal(read_bytes("\x94\xa6muster\x01\xa3url", 13), MUSTER_EPROTOCOL);
    assert_int_equal(read_bytes("\x92\xa6muster\x01 ", 10), MUSTER_EPROTOCOL);
    assert_int_equal(launch_read(9999, &launch), MUSTER_ESYSTEM);
}

static void a_key_of_a_later_release_is_stepped_over(void **state)
{
    (void)state;
    assert_int_equal(read_bytes("\x94\xa6muster\x01\xa3new\x93\x01\x02\x03", 17), 0);
}

static bool always(void)
{
    return true;
}

static void memory_that_runs_out_is_an_error(void **state)
{
    struct launch launch = {.url = ""};
    int fd;
    (void)state;
    memory_fail_hook = always;
    int status = launch_write(&launch, &fd);
    memory_fail_hook = NULL;
    assert_int_equal(status, MUSTER_ENOMEM);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_written_is_read),
        cmocka_unit_test(anything_else_is_refused),
        cmocka_unit_test(a_key_of_a_later_release_is_stepped_over),
        cmocka_unit_test(memory_that_runs_out_is_an_error),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
