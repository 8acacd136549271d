/*
 * muster.exec, without a pool: what a command gets, what comes back, and what is left when it is stopped.
 */
#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <time.h>
#include <cmocka.h>

#include "tests/unit/task_fixture.h"
#include "workers/exec.h"

/* The argument map while it is put together. */
struct call {
    unsigned char bytes[200000];
    unsigned char *at;
    unsigned pairs;
};

static void begin(struct call *call, size_t argc, const char *const *argv)
{
    call->pairs = 1;
    call->at = call->bytes + 2; /* an array of one, and the map's head */
    call->at = pack_array(pack_text(call->at, bytes_string("argv")), argc);
    for (size_t i = 0; i < argc; i++)
        call->at = pack_text(call->at, bytes_string(argv[i]));
}

static void key(struct call *call, const char *name)
{
    call->pairs++;
    call->at = pack_text(call->at, bytes_string(name));
}

static struct outcome *run(struct fixture *fixture, struct call *call)
{
    call->bytes[0] = 0x91;
    call->bytes[1] = (unsigned char)(0x80 | call->pairs);
    return fixture_run_payload(fixture, exec_command, 0, MUSTER_MSGPACK, call->bytes, (size_t)(call->at - call->bytes));
}

static struct outcome *shell(struct fixture *fixture, const char *script)
{
    static struct call call;
    begin(&call, 3, (const char *const[]){"sh", "-c", script});
    return run(fixture, &call);
}

/* One field of the result. */
static struct bytes field(const struct outcome *outcome, const char *name)
{
    struct bytes rest = outcome->value, text, value;
    assert_int_equal(outcome->status, 0);
    assert_true(rest.length > 0 && *(const unsigned char *)rest.data == 0x87);
    unpack_skip(&rest, 1);
    for (int i = 0; i < 7; i++) {
        assert_true(unpack_text(&rest, &text) && unpack_any(&rest, &value));
        if (bytes_equal(text, bytes_string(name)))
            return value;
    }
    fail_msg("no %s in the result", name);
    return value;
}

static int64_t number(const struct outcome *outcome, const char *name)
{
    struct bytes value = field(outcome, name);
    int64_t result = -1; /* nil */
    unpack_sint(&value, &result);
    return result;
}

static void expect_output(const struct outcome *outcome, const char *name, const char *expected)
{
    struct bytes value = field(outcome, name), data;
    assert_true(unpack_data(&value, &data));
    if (!bytes_equal(data, bytes_string(expected)))
        fail_msg("%s is \"%.*s\", not \"%s\"", name, (int)data.length, (const char *)data.data, expected);
}

static void output_and_exit_status_come_back(void **state)
{
    struct fixture *fixture = *state;
    struct outcome *outcome = shell(fixture, "echo out; echo err >&2; exit 3");
    expect_output(outcome, "stdout", "out\n");
    expect_output(outcome, "stderr", "err\n");
    assert_int_equal(number(outcome, "status"), 3);
    assert_int_equal(number(outcome, "signal"), -1);
    assert_true(number(outcome, "pid") > 0);
    assert_int_equal(fixture->page->command_group, 0);
    assert_int_equal(kill((pid_t)-number(outcome, "pid"), 0), -1);
}

static void a_signal_that_ended_it_comes_back(void **state)
{
    struct outcome *outcome = shell(*state, "kill -9 $$");
    assert_int_equal(number(outcome, "status"), -1);
    assert_int_equal(number(outcome, "signal"), SIGKILL);
}

static void outputs_can_be_merged(void **state)
{
    static struct call call;
    begin(&call, 3, (const char *const[]){"sh", "-c", "echo 1; echo 2 >&2; echo 3"});
    key(&call, "merge");
    *call.at++ = 0xc3;
    struct outcome *outcome = run(*state, &call);
    expect_output(outcome, "stdout", "1\n2\n3\n");
    expect_output(outcome, "stderr", "");
}

static void input_directory_and_environment_go_in(void **state)
{
    static struct call call;
    setenv("MUSTER_TEST_KEPT", "kept", 1);
    begin(&call, 3, (const char *const[]){"sh", "-c", "cat; pwd; echo $MUSTER_TEST_KEPT $ADDED"});
    key(&call, "stdin");
    call.at = pack_data(call.at, bytes_string("input\n"));
    key(&call, "cwd");
    call.at = pack_text(call.at, bytes_string("/usr"));
    key(&call, "env");
    *call.at++ = 0x81;
    call.at = pack_text(pack_text(call.at, bytes_string("ADDED")), bytes_string("added"));
    expect_output(run(*state, &call), "stdout", "input\n/usr\nkept added\n");
}

static void a_cleared_environment_is_empty(void **state)
{
    static struct call call;
    begin(&call, 1, (const char *const[]){"env"});
    key(&call, "clear_env");
    *call.at++ = 0xc3;
    key(&call, "env");
    *call.at++ = 0x81;
    call.at = pack_text(pack_text(call.at, bytes_string("ONLY")), bytes_string("one"));
    expect_output(run(*state, &call), "stdout", "ONLY=one\n");
}

static void much_input_is_not_a_deadlock(void **state)
{
    static struct call call;
    static char much[150000];
    memset(much, 'i', sizeof much);
    begin(&call, 2, (const char *const[]){"wc", "-c"});
    key(&call, "stdin");
    call.at = pack_data(call.at, (struct bytes){much, sizeof much});
    expect_output(run(*state, &call), "stdout", "150000\n");
}

static void output_beyond_the_limit_is_dropped_and_said(void **state)
{
    static struct call call;
    begin(&call, 3, (const char *const[]){"sh", "-c", "head -c 1000000 /dev/zero | tr '\\0' x; echo err >&2"});
    key(&call, "stdout_limit");
    call.at = pack_uint(call.at, 10);
    struct outcome *outcome = run(*state, &call);
    expect_output(outcome, "stdout", "xxxxxxxxxx");
    expect_output(outcome, "stderr", "err\n");
    assert_int_equal(number(outcome, "status"), 0);
    assert_true(bytes_equal(field(outcome, "truncated"), (struct bytes){"\xc3", 1}));
}

static void what_cannot_be_started_is_an_exec_error(void **state)
{
    static struct call call;
    begin(&call, 1, (const char *const[]){"muster-no-such-program"});
    struct outcome *outcome = run(*state, &call);
    assert_int_equal(outcome->status, MUSTER_ETASK);
    assert_true(bytes_equal(outcome->kind, bytes_string("ExecError")));
    assert_true(says(outcome, "cannot run muster-no-such-program: No such file"));
    begin(&call, 1, (const char *const[]){"/etc/passwd"});
    assert_true(says(run(*state, &call), "Permission denied"));
    begin(&call, 1, (const char *const[]){"true"});
    key(&call, "cwd");
    call.at = pack_text(call.at, bytes_string("/nowhere"));
    assert_true(says(run(*state, &call), "cannot change to the directory /nowhere"));
}

static void a_map_that_makes_no_sense_is_an_exec_error(void **state)
{
    static struct call call;
    call.at = call.bytes + 2;
    call.pairs = 0;
    assert_true(says(run(*state, &call), "no command"));
    begin(&call, 0, NULL);
    assert_true(says(run(*state, &call), "no command"));
    begin(&call, 1, (const char *const[]){"true"});
    key(&call, "env");
    call.at = pack_uint(call.at, 7);
    assert_true(says(run(*state, &call), "\"env\""));
    begin(&call, 1, (const char *const[]){"true"});
    key(&call, "cwd");
    call.at = pack_text(call.at, (struct bytes){"a\0b", 3});
    assert_true(says(run(*state, &call), "\"cwd\""));
    struct outcome *outcome = fixture_run(*state, exec_command, MUSTER_ARGS(muster_int(1)));
    assert_true(bytes_equal(outcome->kind, bytes_string("ExecError")));
}

static void a_script_without_interpreter_is_the_shells(void **state)
{
    char path[] = "/tmp/muster-script.XXXXXX";
    int fd = mkstemp(path);
    assert_int_equal(write(fd, "echo script $1\n", 15), 15);
    fchmod(fd, 0700);
    close(fd);
    static struct call call;
    begin(&call, 2, (const char *const[]){path, "given"});
    expect_output(run(*state, &call), "stdout", "script given\n");
    unlink(path);
}

static void a_child_that_stays_is_not_waited_for(void **state)
{
    struct timespec before, after;
    clock_gettime(CLOCK_MONOTONIC, &before);
    struct outcome *outcome = shell(*state, "sleep 60 & echo $!");
    clock_gettime(CLOCK_MONOTONIC, &after);
    assert_true(after.tv_sec - before.tv_sec < 30);
    struct bytes value = field(outcome, "stdout"), data;
    char text[32];
    assert_true(unpack_data(&value, &data));
    snprintf(text, sizeof text, "%.*s", (int)data.length, (const char *)data.data);
    assert_int_equal(kill(atoi(text), SIGKILL), 0);
}

/* Stops the command once it runs: what the worker's watch thread does. */
static void *stop_it(void *arg)
{
    struct fixture *fixture = arg;
    const struct timespec moment = {0, 1000000};
    char path[64];
    struct stat info;
    int32_t group;
    while ((group = atomic_load(&fixture->page->command_group)) == 0)
        nanosleep(&moment, NULL);
    snprintf(path, sizeof path, "/tmp/muster-up.%d", (int)getpid());
    while (stat(path, &info) != 0) /* until the command says that it is up */
        nanosleep(&moment, NULL);
    unlink(path);
    atomic_store(&fixture->stop, true);
    while (atomic_load(&fixture->page->command_group) != 0) {
        kill(getpid(), SIGUSR1); /* ends poll */
        nanosleep(&moment, NULL);
    }
    return NULL;
}

static void on_signal(int signal)
{
    (void)signal;
}

static void stopping_ends_the_whole_group(void **state)
{
    struct fixture *fixture = *state;
    struct sigaction action = {.sa_handler = on_signal};
    pthread_t thread;
    char script[200];
    sigset_t set;
    sigaction(SIGUSR1, &action, NULL);
    snprintf(script, sizeof script, "trap '' TERM; sleep 60 & trap 'exit 1' TERM; touch /tmp/muster-up.%d; wait",
             (int)getpid());
    sigemptyset(&set);
    sigaddset(&set, SIGUSR1);
    pthread_sigmask(SIG_BLOCK, &set, NULL);
    assert_int_equal(pthread_create(&thread, NULL, stop_it, fixture), 0);
    pthread_sigmask(SIG_UNBLOCK, &set, NULL);
    struct outcome *outcome = shell(fixture, script);
    pthread_join(thread, NULL);
    assert_int_equal(outcome->status, MUSTER_ECANCELED);
    assert_true(says(outcome, "was stopped"));
}

static void descriptors_and_signals_of_the_worker_stay_there(void **state)
{
    int fd = dup(2); /* without close-on-exec */
    signal(SIGPIPE, SIG_IGN);
    /* Left out: signals 32 and 33, the C library's own, which it leaves ignored in whatever posix_spawn() started; make
     * is one that starts tests so. */
    struct outcome *outcome = shell(*state, "ls /proc/self/fd | wc -l\n"
                                            "ignored=$(sed -n 's/^SigIgn:[[:space:]]*//p' /proc/self/status)\n"
                                            "echo $((0x$ignored & ~0x180000000))");
    expect_output(outcome, "stdout", "4\n0\n"); /* 0, 1, 2 and the directory */
    signal(SIGPIPE, SIG_DFL);
    close(fd);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, fixture_set_up, fixture_tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(output_and_exit_status_come_back),
        TEST(a_signal_that_ended_it_comes_back),
        TEST(outputs_can_be_merged),
        TEST(input_directory_and_environment_go_in),
        TEST(a_cleared_environment_is_empty),
        TEST(much_input_is_not_a_deadlock),
        TEST(output_beyond_the_limit_is_dropped_and_said),
        TEST(what_cannot_be_started_is_an_exec_error),
        TEST(a_map_that_makes_no_sense_is_an_exec_error),
        TEST(a_script_without_interpreter_is_the_shells),
        TEST(a_child_that_stays_is_not_waited_for),
        TEST(stopping_ends_the_whole_group),
        TEST(descriptors_and_signals_of_the_worker_stay_there),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
