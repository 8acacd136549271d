/*
 * What people read: log lines, and the sentence behind a failure.
 */
#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <unistd.h>
#include <cmocka.h>

#include "core/buffer.h"
#include "core/clock.h"
#include "core/errors.h"
#include "core/log.h"

static char logged[4096];
static int lines;

static void hook(enum log_level level, const char *text)
{
    (void)level;
    snprintf(logged, sizeof logged, "%s", text);
    lines++;
}

static void lines_above_the_threshold_are_dropped(void **state)
{
    (void)state;
    log_hook = hook;
    log_threshold = LOG_LEVEL_WARNING;
    lines = 0;
    log_error("an error");
    log_warning("a warning");
    log_info("not this");
    log_debug("nor this");
    assert_int_equal(lines, 2);
    assert_int_equal(log_level_parse("debug", &log_threshold), 0);
    log_debug("number %d", 5);
    assert_string_equal(logged, "number 5");
    assert_int_equal(log_level_parse("loud", &log_threshold), MUSTER_EINVAL);
    assert_non_null(strstr(muster_last_error(), "loud"));
    log_hook = NULL;
}

static void foreign_bytes_cannot_forge_a_line(void **state)
{
    (void)state;
    log_hook = hook;
    log_threshold = LOG_LEVEL_WARNING;
    log_warning("%s", "one\n2026 error: two\033[2J");
    assert_string_equal(logged, "one?2026 error: two?[2J");
    log_hook = NULL;
}

static void a_line_says_when_how_bad_and_who(void **state)
{
    (void)state;
    static char long_text[5000];
    int ends[2], saved = dup(STDERR_FILENO);
    char line[4096];
    memset(long_text, 'x', sizeof long_text - 1);
    assert_int_equal(pipe(ends), 0);
    dup2(ends[1], STDERR_FILENO);
    log_error("text");
    ssize_t length = read(ends[0], line, sizeof line - 1);
    log_error("%s", long_text);
    ssize_t cut = read(ends[0], logged, sizeof logged);
    dup2(saved, STDERR_FILENO);
    close(saved);
    close(ends[0]);
    close(ends[1]);
    assert_true(length > 0 && cut > 2000 && logged[cut - 1] == '\n');
    line[length] = '\0';
    char *tail, expected[100];
    snprintf(expected, sizeof expected, "Z error muster[%d]: text\n", (int)getpid());
    assert_non_null(tail = strchr(line, 'Z'));
    assert_string_equal(tail, expected);
}

static void a_log_that_nobody_reads_stops_nobody(void **state)
{
    (void)state;
    int ends[2], saved = dup(STDERR_FILENO);
    static char read_back[1 << 17];
    assert_int_equal(pipe(ends), 0);
    dup2(ends[1], STDERR_FILENO);
    for (int i = 0; i < 10000; i++)
        log_error("a line that nobody reads");
    ssize_t before = read(ends[0], read_back, sizeof read_back - 1);
    log_error("a line that somebody reads");
    ssize_t after = read(ends[0], read_back, sizeof read_back - 1);
    dup2(saved, STDERR_FILENO);
    close(saved);
    close(ends[0]);
    close(ends[1]);
    assert_true(before > 0 && after > 0);
    read_back[after] = '\0';
    assert_non_null(strstr(read_back, "lines were left out"));
    assert_non_null(strstr(read_back, "a line that somebody reads"));
}

static void a_detail_may_quote_the_one_before(void **state)
{
    (void)state;
    assert_int_equal(error_set(MUSTER_EURL, "first %d", 1), MUSTER_EURL);
    assert_int_equal(error_set(MUSTER_ECONNECT, "second: %s", muster_last_error()), MUSTER_ECONNECT);
    assert_string_equal(muster_last_error(), "second: first 1");
    errno = ENOENT;
    assert_int_equal(error_errno("cannot open '%s'", "x"), MUSTER_ESYSTEM);
    assert_string_equal(muster_last_error(), "cannot open 'x': No such file or directory");
    assert_int_equal(error_memory(), MUSTER_ENOMEM);
}

static void *other_thread(void *arg)
{
    (void)arg;
    return (void *)(muster_last_error()[0] == '\0' ? "empty" : "not empty");
}

static void each_thread_has_its_own_detail(void **state)
{
    (void)state;
    pthread_t thread;
    void *said;
    error_set(MUSTER_EINVAL, "mine");
    pthread_create(&thread, NULL, other_thread, NULL);
    pthread_join(thread, &said);
    assert_string_equal(said, "empty");
    assert_string_equal(muster_last_error(), "mine");
}

static void every_status_has_a_sentence(void **state)
{
    (void)state;
    for (int status = MUSTER_EBROKEN; status <= 0; status++)
        for (int other = MUSTER_EBROKEN; other < status; other++)
            assert_string_not_equal(muster_strerror(status), muster_strerror(other));
    assert_string_equal(muster_strerror(1), muster_strerror(MUSTER_EBROKEN - 1));
}

static uint64_t fixed_time(void)
{
    return 42;
}

static void the_clock_never_goes_back_and_can_be_replaced(void **state)
{
    (void)state;
    uint64_t (*real)(void) = clock_source;
    for (uint64_t before = clock_now_ns(), i = 0; i < 1000; i++) {
        uint64_t now = clock_now_ns();
        assert_true(now >= before);
        before = now;
    }
    clock_source = fixed_time;
    assert_true(clock_now_ns() == 42);
    clock_source = real;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lines_above_the_threshold_are_dropped),
        cmocka_unit_test(foreign_bytes_cannot_forge_a_line),
        cmocka_unit_test(a_line_says_when_how_bad_and_who),
        cmocka_unit_test(a_log_that_nobody_reads_stops_nobody),
        cmocka_unit_test(a_detail_may_quote_the_one_before),
        cmocka_unit_test(each_thread_has_its_own_detail),
        cmocka_unit_test(every_status_has_a_sentence),
        cmocka_unit_test(the_clock_never_goes_back_and_can_be_replaced),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
