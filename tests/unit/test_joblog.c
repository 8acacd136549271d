/*
 * The job log: its columns, what a resumed run learns from it, and when `muster map` halts.
 */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
#include <cmocka.h>

#include "cli/halt.h"
#include "cli/joblog.h"

#define HEADER "Seq\tHost\tStarttime\tJobRuntime\tSend\tReceive\tExitval\tSignal\tCommand\n"
#define GOOD_1 "1\t:\t1700000000.000\t     0.010\t0\t4\t0\t0\techo a\n"
#define BAD_3 "3\t:\t1700000000.000\t     0.010\t0\t4\t2\t0\tfalse\twith tab\n"
#define KILLED_4 "4\t:\t1700000000.000\t     0.010\t0\t4\t0\t9\tsleep 1\n"

static char path[64];

static int make_path(void **state)
{
    (void)state;
    strcpy(path, "/tmp/muster-joblog.XXXXXX");
    int fd = mkstemp(path);
    return fd < 0 ? -1 : close(fd);
}

static int remove_path(void **state)
{
    (void)state;
    return unlink(path);
}

static void put_text(const char *text)
{
    FILE *file = fopen(path, "w");
    fputs(text, file);
    fclose(file);
}

static const char *get_text(void)
{
    static char text[4096];
    FILE *file = fopen(path, "r");
    text[fread(text, 1, sizeof text - 1, file)] = '\0';
    fclose(file);
    return text;
}

static void a_fresh_log_has_the_header_and_one_line_for_each_job(void **state)
{
    struct joblog joblog;
    struct number_set done = {0};
    (void)state;
    put_text("old");
    assert_int_equal(joblog_open(&joblog, path, JOBLOG_FRESH, &done), 0);
    assert_int_equal(joblog_write(&joblog, &(struct joblog_entry){.number = 1,
                                                                  .host = ":",
                                                                  .started = 1700000000,
                                                                  .run = 0.01,
                                                                  .received = 4,
                                                                  .command = bytes_string("echo a")}),
                     0);
    assert_int_equal(joblog_close(&joblog), 0);
    assert_string_equal(get_text(), HEADER GOOD_1);
}

static void resume_leaves_out_what_ran_and_resume_failed_only_what_succeeded(void **state)
{
    struct number_set all = {0}, good = {0};
    struct bytes log = bytes_string(HEADER GOOD_1 BAD_3 KILLED_4);
    (void)state;
    assert_int_equal(joblog_parse(log, JOBLOG_RESUME, &all), log.length);
    assert_true(number_set_has(&all, 1) && number_set_has(&all, 3) && number_set_has(&all, 4));
    assert_false(number_set_has(&all, 2) || number_set_has(&all, 5) || number_set_has(&all, 1 << 20));
    assert_int_equal(joblog_parse(log, JOBLOG_RESUME_FAILED, &good), log.length);
    assert_true(number_set_has(&good, 1));
    assert_false(number_set_has(&good, 3) || number_set_has(&good, 4));
    number_set_free(&all);
    number_set_free(&good);
}

static void the_last_line_of_a_job_counts(void **state)
{
    struct number_set done = {0};
    (void)state;
    assert_true(joblog_parse(bytes_string(HEADER BAD_3 "3\t:\t1\t1\t0\t0\t0\t0\tx\n"), JOBLOG_RESUME_FAILED, &done) >
                0);
    assert_true(number_set_has(&done, 3));
    number_set_free(&done);
}

static void a_log_that_was_cut_off_loses_only_its_last_line(void **state)
{
    static const char *const heads[] = {"", "Seq\tHo", HEADER, HEADER GOOD_1};
    (void)state;
    for (size_t i = 0; i < 4; i++) {
        struct joblog joblog;
        struct number_set done = {0};
        char text[400];
        snprintf(text, sizeof text, "%s%s", heads[i], i < 2 ? "" : "2\t:\t17000");
        put_text(text);
        assert_int_equal(joblog_open(&joblog, path, JOBLOG_RESUME, &done), 0);
        joblog_close(&joblog);
        assert_string_equal(get_text(), i < 3 ? HEADER : HEADER GOOD_1);
        assert_int_equal(number_set_has(&done, 1), i == 3);
        assert_false(number_set_has(&done, 2));
        number_set_free(&done);
    }
}

static void a_file_that_is_no_log_is_refused_and_left_alone(void **state)
{
    static const char *const texts[] = {"precious\n", "x", HEADER "not a line\n", "1\t2\t3\n"};
    struct joblog joblog;
    struct number_set done = {0};
    (void)state;
    for (size_t i = 0; i < 4; i++) {
        put_text(texts[i]);
        assert_int_equal(joblog_open(&joblog, path, JOBLOG_RESUME, &done), -1);
        assert_int_equal(errno, EILSEQ);
        assert_string_equal(get_text(), texts[i]);
    }
    number_set_free(&done);
}

static void a_full_disk_is_reported(void **state)
{
    struct joblog joblog;
    struct number_set done = {0};
    (void)state;
    assert_int_equal(joblog_open(&joblog, "/dev/full", JOBLOG_FRESH, &done), -1);
    assert_int_equal(errno, ENOSPC);
}

static void halt_is_read_in_every_form(void **state)
{
    static const struct {
        const char *text;
        struct halt halt;
    } good[] = {{"never", {HALT_NEVER, 0, false, 0}},
                {"soon,fail=3", {HALT_SOON, HALT_FAILED, false, 3}},
                {"now,success=1", {HALT_NOW, HALT_SUCCEEDED, false, 1}},
                {"now,done=5%", {HALT_NOW, HALT_DONE, true, 5}},
                {"2", {HALT_NOW, HALT_FAILED, false, 1}},
                {"-1", {HALT_SOON, HALT_SUCCEEDED, false, 1}},
                {"30%", {HALT_SOON, HALT_FAILED, true, 30}}};
    static const char *const bad[] = {"",           "soon",           "now,fail",     "now,fail=",   "now,fail=0",
                                      "now,fail=x", "soon,fail=101%", "later,fail=1", "now,fail=-1", "3"};
    (void)state;
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) {
        struct halt halt;
        assert_true(halt_parse(&halt, good[i].text));
        assert_int_equal(halt.when, good[i].halt.when);
        assert_int_equal(halt.why, good[i].halt.why);
        assert_int_equal(halt.percent, good[i].halt.percent);
        assert_int_equal(halt.limit, good[i].halt.limit);
    }
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct halt halt;
        assert_false(halt_parse(&halt, bad[i]));
    }
}

static void halt_is_reached_by_number_or_by_share_of_all_jobs(void **state)
{
    struct halt two = {HALT_SOON, HALT_FAILED, false, 2}, tenth = {HALT_SOON, HALT_DONE, true, 10};
    struct halt never = {.when = HALT_NEVER};
    (void)state;
    assert_false(halt_reached(&two, 1, 50, 100));
    assert_true(halt_reached(&two, 2, 0, 100));
    assert_false(halt_reached(&tenth, 4, 5, 100));
    assert_true(halt_reached(&tenth, 4, 6, 100));
    assert_false(halt_reached(&never, 100, 0, 100));
}

static void the_exit_status_is_the_number_of_failed_jobs_or_what_halt_says(void **state)
{
    struct halt never = {.when = HALT_NEVER}, first = {HALT_NOW, HALT_FAILED, false, 1};
    struct halt success = {HALT_NOW, HALT_SUCCEEDED, false, 1}, share = {HALT_SOON, HALT_FAILED, true, 10};
    (void)state;
    assert_int_equal(halt_exit_status(&never, false, 0, 10, 0), 0);
    assert_int_equal(halt_exit_status(&never, false, 100, 200, 0), 100);
    assert_int_equal(halt_exit_status(&never, false, 101, 200, 0), 101);
    assert_int_equal(halt_exit_status(&never, false, 1000000, 2000000, 0), 101);
    assert_int_equal(halt_exit_status(&first, true, 1, 10, 7), 7);
    assert_int_equal(halt_exit_status(&success, true, 5, 10, 0), 0);
    assert_int_equal(halt_exit_status(&success, false, 5, 10, 0), 5);
    assert_int_equal(halt_exit_status(&share, true, 30, 200, 1), 15);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_fresh_log_has_the_header_and_one_line_for_each_job, make_path, remove_path),
        cmocka_unit_test(resume_leaves_out_what_ran_and_resume_failed_only_what_succeeded),
        cmocka_unit_test(the_last_line_of_a_job_counts),
        cmocka_unit_test_setup_teardown(a_log_that_was_cut_off_loses_only_its_last_line, make_path, remove_path),
        cmocka_unit_test_setup_teardown(a_file_that_is_no_log_is_refused_and_left_alone, make_path, remove_path),
        cmocka_unit_test(a_full_disk_is_reported),
        cmocka_unit_test(halt_is_read_in_every_form),
        cmocka_unit_test(halt_is_reached_by_number_or_by_share_of_all_jobs),
        cmocka_unit_test(the_exit_status_is_the_number_of_failed_jobs_or_what_halt_says),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
