/*
 * Segments: written by one, mapped by another, and gone when their owner is.
 */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

#include "core/segment.h"
#include "muster.h"

static bool segment_exists(const char *name)
{
    int fd = shm_open(name, O_RDONLY, 0);
    if (fd >= 0)
        close(fd);
    return fd >= 0;
}

static void what_is_written_can_be_read_under_its_name(void **state)
{
    (void)state;
    struct segment written, read;
    char *payload = malloc(300000);
    memset(payload, 'w', 300000);
    assert_int_equal(segment_store(&written, (uint64_t)getpid(), (struct bytes){payload, 300000}), 0);
    assert_int_equal(written.length, 300000);
    assert_null(written.data);
    assert_int_equal(segment_map_again(&written), 0);
    assert_memory_equal(written.data, payload, 300000);
    free(payload);
    assert_int_equal(segment_open(&read, bytes_string(written.name)), 0);
    assert_int_equal(read.length, 300000);
    assert_memory_equal(read.data, written.data, 300000);
    memset(read.data, 'r', 100); /* private: the writer does not see it */
    assert_int_equal(((char *)written.data)[0], 'w');
    segment_unlink(bytes_string(written.name));
    assert_false(segment_exists(written.name));
    assert_int_equal(((char *)read.data)[200], 'w'); /* what is mapped stays */
    segment_unmap(&read);
    segment_unmap(&written);
    assert_null(written.data);
    assert_int_equal(segment_open(&read, bytes_string(written.name)), MUSTER_ESYSTEM);
}

/* Pieces of 1, 3, 7... bytes up to a megabyte. */
static size_t write_pieces(struct segment_writer *writer, const char *payload, size_t length)
{
    size_t at = 0;
    for (size_t piece = 1; at < length; piece = 2 * piece + 1) {
        size_t part = piece < length - at ? piece : length - at;
        segment_write(writer, (struct bytes){payload + at, part});
        segment_write(writer, (struct bytes){NULL, 0});
        at += part;
    }
    return at;
}

static void assert_content(const char *name, const char *payload, size_t length)
{
    struct segment read;
    assert_int_equal(segment_open(&read, bytes_string(name)), 0);
    assert_int_equal(read.length, length);
    segment_prefault(&read);
    assert_memory_equal(read.data, payload, length);
    segment_unmap(&read);
}

static char *make_payload(size_t length, int seed)
{
    char *payload = malloc(length);
    for (size_t i = 0; i < length; i++)
        payload[i] = (char)(i * 31 + i / 4096 + (size_t)seed);
    return payload;
}

static void pieces_arrive_in_order_and_a_segment_can_be_written_over(void **state)
{
    static const size_t lengths[] = {3000000, 3000000, 1000000, 2000001, 1, 9000};
    (void)state;
    struct segment segment;
    struct segment_writer writer;
    assert_int_equal(segment_write_new(&writer, &segment, (uint64_t)getpid()), 0);
    for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++) {
        char *payload = make_payload(lengths[i], (int)i);
        if (i > 0)
            assert_int_equal(segment_write_over(&writer, &segment), 0);
        assert_int_equal(write_pieces(&writer, payload, lengths[i]), lengths[i]);
        assert_int_equal(segment_write_end(&writer), 0);
        assert_int_equal(segment.length, lengths[i]);
        assert_content(segment.name, payload, lengths[i]);
        assert_int_equal(segment_map_again(&segment), 0);
        assert_memory_equal(segment.data, payload, lengths[i]);
        free(payload);
    }
    char name[SEGMENT_NAME_BYTES];
    memcpy(name, segment.name, sizeof name);
    segment_remove(&segment);
    assert_null(segment.data);
    assert_false(segment_exists(name));
    memcpy(segment.name, name, sizeof name);
    assert_int_equal(segment_write_over(&writer, &segment), MUSTER_ESYSTEM);
}

static void names_that_are_not_segments_are_refused_and_not_touched(void **state)
{
    (void)state;
    static const char *const bad[] = {"",
                                      "/",
                                      "/muster-",
                                      "/muster-1-2-3",
                                      "/muster-1-2-3-",
                                      "/muster-1-2-3-4-5",
                                      "/muster-1-2-3-G",
                                      "/muster-1-2-3-4/..",
                                      "/muster-../../etc/passwd",
                                      "/other-1-2-3-4",
                                      "muster-1-2-3-4",
                                      "/muster-11111111111111111-2-3-4"};
    struct segment segment;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        assert_int_equal(segment_open(&segment, bytes_string(bad[i])), MUSTER_EPROTOCOL);
        segment_unlink(bytes_string(bad[i]));
    }
    assert_int_equal(segment_open(&segment, (struct bytes){"/muster-1-2-3-4\0x", 17}), MUSTER_EPROTOCOL);
    int fd = shm_open("/muster-test-other", O_CREAT | O_RDWR, 0600);
    assert_true(fd >= 0);
    close(fd);
    segment_unlink(bytes_string("/muster-test-other"));
    segment_sweep();
    assert_true(segment_exists("/muster-test-other"));
    shm_unlink("/muster-test-other");
}

static void an_empty_file_is_not_a_segment(void **state)
{
    (void)state;
    struct segment segment;
    int fd = shm_open("/muster-1-2-3-4", O_CREAT | O_RDWR, 0600);
    assert_true(fd >= 0);
    close(fd);
    assert_int_equal(segment_open(&segment, bytes_string("/muster-1-2-3-4")), MUSTER_EPROTOCOL);
    shm_unlink("/muster-1-2-3-4");
}

static void a_segment_outlives_its_writer_but_not_its_owner(void **state)
{
    (void)state;
    struct segment own, theirs;
    int pipe_ends[2];
    char byte;
    assert_int_equal(pipe(pipe_ends), 0);
    pid_t child = fork();
    if (child == 0) {
        close(pipe_ends[1]);
        _exit(read(pipe_ends[0], &byte, 1) < 0); /* until the parent closes its end */
    }
    close(pipe_ends[0]);
    assert_int_equal(segment_store(&own, (uint64_t)getpid(), bytes_string("own")), 0);
    assert_int_equal(segment_store(&theirs, (uint64_t)child, bytes_string("theirs")), 0);
    segment_sweep();
    assert_true(segment_exists(own.name));
    assert_true(segment_exists(theirs.name));
    close(pipe_ends[1]);
    siginfo_t info;
    assert_int_equal(waitid(P_PID, (id_t)child, &info, WEXITED | WNOWAIT), 0); /* a zombie owns nothing any more */
    assert_true(segment_sweep() >= 1);
    assert_true(segment_exists(own.name));
    assert_false(segment_exists(theirs.name));
    waitpid(child, NULL, 0);
    struct segment nobody;
    assert_int_equal(segment_store(&nobody, (uint64_t)child, bytes_string("x")), MUSTER_ESYSTEM);
    segment_unlink(bytes_string(own.name));
}

static void a_full_shared_memory_is_an_error_and_leaves_nothing(void **state)
{
    (void)state;
    struct segment segment;
    struct segment_writer writer;
    struct rlimit before, small;
    char name[SEGMENT_NAME_BYTES], *payload = make_payload(1000000, 0);
    signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
    small = before;
    small.rlim_cur = 600000; /* no file may be longer: to the writer it is a disk that is full */
    assert_int_equal(segment_write_new(&writer, &segment, (uint64_t)getpid()), 0);
    memcpy(name, segment.name, sizeof name);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
    write_pieces(&writer, payload, 1000000);
    assert_int_equal(segment_write_end(&writer), MUSTER_ESYSTEM);
    assert_string_equal(segment.name, "");
    assert_false(segment_exists(name));
    assert_int_equal(segment_store(&segment, (uint64_t)getpid(), (struct bytes){payload, 1000000}), MUSTER_ESYSTEM);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
    free(payload);
}

static void a_domain_is_the_same_for_both_ends_here(void **state)
{
    (void)state;
    char one[SEGMENT_DOMAIN_BYTES], two[SEGMENT_DOMAIN_BYTES], small[5];
    assert_int_equal(segment_domain(one, sizeof one), 0);
    assert_int_equal(segment_domain(two, sizeof two), 0);
    assert_string_equal(one, two);
    assert_true(strlen(one) > 36);
    assert_int_equal(segment_domain(small, sizeof small), MUSTER_ELIMIT);
    assert_string_equal(small, "");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_written_can_be_read_under_its_name),
        cmocka_unit_test(pieces_arrive_in_order_and_a_segment_can_be_written_over),
        cmocka_unit_test(names_that_are_not_segments_are_refused_and_not_touched),
        cmocka_unit_test(an_empty_file_is_not_a_segment),
        cmocka_unit_test(a_segment_outlives_its_writer_but_not_its_owner),
        cmocka_unit_test(a_full_shared_memory_is_an_error_and_leaves_nothing),
        cmocka_unit_test(a_domain_is_the_same_for_both_ends_here),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
