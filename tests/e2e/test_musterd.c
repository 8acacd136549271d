/*
 * musterd as people meet it: what it says, what it refuses, how it ends, and what it leaves behind when it is killed:
 * nothing.
 */
#include "pools.h"

#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>

#define MUSTERD MUSTER_BIN_DIR "/musterd"

/* The number that follows `key` in /proc/<pid>/status, or -1. */
static long status_of(pid_t pid, const char *key)
{
    char path[64], line[256];
    long value = -1;
    snprintf(path, sizeof path, "/proc/%d/status", (int)pid);
    FILE *file = fopen(path, "re");
    while (file && fgets(line, sizeof line, file)) {
        if (strncmp(line, key, strlen(key)) == 0)
            value = strtol(line + strlen(key), NULL, 10);
    }
    if (file)
        fclose(file);
    return value;
}

static bool output_has(const char *text)
{
    static char output[65536];
    FILE *file = fopen(path_of("output"), "re");
    size_t length = file ? fread(output, 1, sizeof output - 1, file) : 0;
    if (file)
        fclose(file);
    output[length] = 0;
    return strstr(output, text) != NULL;
}

static int wait_for(pid_t pid)
{
    int status = 0;
    wait_until(waitpid(pid, &status, WNOHANG) == pid);
    return status;
}

static void assert_exit(int status, int expected)
{
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), expected);
}

static void make_file(const char *name, const char *text, mode_t mode)
{
    int fd = open(path_of(name), O_CREAT | O_WRONLY | O_TRUNC | O_CLOEXEC, mode);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, strlen(text)), (ssize_t)strlen(text));
    fchmod(fd, mode);
    close(fd);
}

static pid_t started(const char *const *arguments)
{
    pid_t pid = start(MUSTERD, arguments);
    wait_until(output_has("listening on") || status_of(pid, "PPid:") < 0 || waitpid(pid, NULL, WNOHANG) != 0);
    assert_true(output_has("listening on"));
    return pid;
}
#define STARTED(...) started((const char *const[]){__VA_ARGS__, NULL})

static void check_service(const char *url)
{
    muster_pool *pool;
    char *json;
    assert_int_equal(muster_pool_open(&pool, url, NULL), 0);
    assert_int_equal(muster_pool_status(pool, &json, WAIT_S), 0);
    free(json);
    assert_int_equal(muster_pool_terminate(pool), 0);
    assert_int_equal(muster_pool_free(pool), 0);
}

/* --- starting ----------------------------------------------------------------------------------------------------- */

static void it_says_where_it_listens_and_serves(void **state)
{
    (void)state;
    char url[64] = "";
    pid_t pid = STARTED("--listen", url_of("sock"), "--listen", "tcp://127.0.0.1:0");
    wait_until(output_has("listening on tcp://127.0.0.1:"));
    assert_false(output_has("127.0.0.1:0\n"));
    FILE *file = fopen(path_of("output"), "re");
    char line[600];
    while (fgets(line, sizeof line, file))
        sscanf(line, "listening on tcp://127.0.0.1:%63s", url);
    fclose(file);
    memmove(url + strlen("tcp://127.0.0.1:"), url, strlen(url) + 1);
    memcpy(url, "tcp://127.0.0.1:", strlen("tcp://127.0.0.1:"));
    check_service(url_of("sock"));
    check_service(url);
    assert_exit(stop(pid, SIGTERM), 0);
    assert_nothing_left();
}

static void it_listens_in_the_users_runtime_directory_by_default(void **state)
{
    (void)state;
    pid_t pid = START(MUSTERD, "--log-level", "info");
    wait_until(output_has("listening on"));
    check_service(url_of("muster.sock"));
    assert_exit(stop(pid, SIGTERM), 0);
    assert_nothing_left();
}

static void it_runs_without_standard_streams(void **state)
{
    (void)state;
    char command[2048];
    snprintf(command, sizeof command, "exec %s --listen %s --pid-file %s <&- >&- 2>&-", MUSTERD, url_of("sock"),
             path_of("pid"));
    pid_t pid = START("/bin/sh", "-c", command);
    wait_until(access(path_of("sock.push"), F_OK) == 0);
    check_service(url_of("sock"));
    assert_exit(stop(pid, SIGTERM), 0);
    assert_nothing_left();
}

static void wrong_usage_is_said_and_ends_with_2(void **state)
{
    (void)state;
    static const struct {
        const char *arguments[4], *says;
    } cases[] = {
        {{"--nonsense"}, "no option --nonsense"},
        {{"--listen"}, "--listen needs an argument"},
        {{"--heartbeat", "soon"}, "--heartbeat soon: not a time"},
        {{"--heartbeat", "0.001"}, "from 0.1 to 3600"},
        {{"--sessions", "0"}, "--sessions 0: not a whole number from 1"},
        {{"--frame-limit", "1x"}, "--frame-limit 1x: not a size"},
        {{"--log-level", "loud"}, "--log-level loud: not error, warning, info or debug"},
        {{"tcp://127.0.0.1:0"}, "addresses are given with --listen"},
        {{"--insecure=yes"}, "--insecure takes no argument"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        assert_exit(wait_for(start(MUSTERD, cases[i].arguments)), 2);
        if (!output_has(cases[i].says))
            fail_msg("not said: %s", cases[i].says);
        unlink(path_of("output"));
    }
}

static void what_cannot_be_is_said_and_ends_with_1(void **state)
{
    (void)state;
    make_file("open.key", "secret\n", 0644);
    make_file("empty.key", "", 0600);
    make_file("precious", "data", 0600);
    char open_key[512], empty_key[512];
    strcpy(open_key, path_of("open.key"));
    strcpy(empty_key, path_of("empty.key"));
    const struct {
        const char *arguments[6], *says;
    } cases[] = {
        {{"--listen", "http://127.0.0.1:1"}, "a scheme that muster does not know"},
        {{"--listen", "tcp://127.0.0.1"}, "needs a host and a port"},
        {{"--listen", "ipc:///nonexistent/directory/sock"}, "there is no such directory"},
        {{"--listen", "tcp://0.0.0.0:0"}, "without an authkey"},
        {{"--listen", "tcp://0.0.0.0:0", "--authkey-file", "/nonexistent"}, "/nonexistent"},
        {{"--authkey-file", open_key}, "open.key"},
        {{"--authkey-file", empty_key}, "empty.key"},
        {{"--pid-file", "/nonexistent/pid"}, "/nonexistent/pid"},
        {{"--payload-limit", "4k"}, "limits must rise"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        assert_exit(wait_for(start(MUSTERD, cases[i].arguments)), 1);
        if (!output_has(cases[i].says))
            fail_msg("not said: %s", cases[i].says);
        unlink(path_of("output"));
    }
    assert_exit(wait_for(START(MUSTERD, "--listen", url_of("precious"))), 1);
    assert_true(output_has("is not a socket"));
    assert_int_equal(access(path_of("precious"), F_OK), 0);
    assert_nothing_left();
}

static void help_and_version_end_with_0(void **state)
{
    (void)state;
    assert_exit(wait_for(START(MUSTERD, "--help")), 0);
    assert_true(output_has("Usage: musterd"));
    assert_true(output_has("--drain-timeout"));
    assert_exit(wait_for(START(MUSTERD, "--version")), 0);
    assert_true(output_has("musterd " MUSTER_VERSION));
}

static void a_second_one_on_the_same_address_does_not_disturb_the_first(void **state)
{
    (void)state;
    pid_t pid = STARTED("--listen", url_of("sock"), "--pid-file", path_of("pid"));
    for (int i = 0; i < 5; i++)
        assert_exit(wait_for(START(MUSTERD, "--listen", url_of("sock"))), 1);
    assert_true(output_has("in use"));
    assert_exit(wait_for(START(MUSTERD, "--listen", url_of("other"), "--pid-file", path_of("pid"))), 1);
    assert_true(output_has("still running"));
    check_service(url_of("sock"));
    assert_int_equal(access(path_of("pid"), F_OK), 0);
    assert_exit(stop(pid, SIGTERM), 0);
    assert_int_equal(access(path_of("pid"), F_OK), -1);
    assert_nothing_left();
}

static void a_key_is_asked_of_everybody(void **state)
{
    (void)state;
    muster_pool *pool;
    make_file("key", "correct horse\n", 0600);
    make_file("other", "battery staple\n", 0600);
    pid_t pid = STARTED("--listen", url_of("sock"), "--authkey-file", path_of("key"));
    muster_pool_options options = {.authkey_file = path_of("key")};
    assert_int_equal(muster_pool_open(&pool, url_of("sock"), &options), 0);
    muster_pool_terminate(pool);
    muster_pool_free(pool);
    options.authkey_file = path_of("other");
    assert_int_equal(muster_pool_open(&pool, url_of("sock"), &options), MUSTER_EAUTH);
    assert_exit(stop(pid, SIGTERM), 0);
    assert_nothing_left();
}

static void systemd_is_told_if_that_is_asked_for(void **state)
{
    (void)state;
    char text[64];
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    strcpy(address.sun_path, path_of("notify"));
    assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof address), 0);
    setenv("NOTIFY_SOCKET", path_of("notify"), 1);
    pid_t pid = STARTED("--listen", url_of("silent"));
    assert_exit(stop(pid, SIGTERM), 0);
    assert_int_equal(recv(fd, text, sizeof text, 0), -1);
    pid = STARTED("--listen", url_of("sock"), "--systemd");
    wait_until(recv(fd, text, sizeof text, 0) == 7);
    assert_memory_equal(text, "READY=1", 7);
    assert_exit(stop(pid, SIGTERM), 0);
    assert_int_equal(recv(fd, text, sizeof text, 0), 10);
    assert_memory_equal(text, "STOPPING=1", 10);
    unsetenv("NOTIFY_SOCKET");
    close(fd);
    unlink(path_of("notify"));
    assert_nothing_left();
}

/* --- ending ------------------------------------------------------------------------------------------------------- */

/* A call that nobody can serve, so that something is outstanding. */
static muster_pool *outstanding(const char *url, muster_result **result)
{
    muster_pool *pool;
    char *json;
    assert_int_equal(muster_pool_open(&pool, url, NULL), 0);
    assert_int_equal(muster_apply_async(pool, "nobody.offers.this", MUSTER_ARGS(), NULL, result), 0);
    assert_int_equal(muster_pool_status(pool, &json, WAIT_S), 0); /* so the call has arrived, too */
    free(json);
    return pool;
}

static void sigterm_lets_what_is_outstanding_finish(void **state)
{
    (void)state;
    muster_result *result;
    pid_t pid = STARTED("--listen", url_of("sock"), "--function-grace", "1h", "--log-level", "info");
    muster_pool *pool = outstanding(url_of("sock"), &result);
    kill(pid, SIGTERM);
    wait_until(output_has("taking no more tasks"));
    assert_int_equal(waitpid(pid, NULL, WNOHANG), 0);
    assert_false(muster_ready(result));
    muster_cancel(result);
    assert_int_equal(muster_wait(result, WAIT_S), 0);
    assert_exit(wait_for(pid), 0);
    muster_result_free(result);
    muster_pool_terminate(pool);
    muster_pool_free(pool);
    assert_nothing_left();
}

static void the_drain_has_an_end(void **state)
{
    (void)state;
    muster_result *result;
    pid_t pid = STARTED("--listen", url_of("sock"), "--function-grace", "1h", "--drain-timeout", "200ms");
    muster_pool *pool = outstanding(url_of("sock"), &result);
    assert_exit(stop(pid, SIGTERM), 0);
    assert_true(output_has("still outstanding"));
    muster_pool_terminate(pool);
    muster_result_free(result);
    muster_pool_free(pool);
    assert_nothing_left();
}

static void a_second_sigint_ends_it_at_once(void **state)
{
    (void)state;
    muster_result *result;
    pid_t pid = STARTED("--listen", url_of("sock"), "--function-grace", "1h", "--log-level", "info");
    muster_pool *pool = outstanding(url_of("sock"), &result);
    kill(pid, SIGINT);
    wait_until(output_has("taking no more tasks"));
    assert_exit(stop(pid, SIGINT), 1);
    muster_pool_terminate(pool);
    muster_result_free(result);
    muster_pool_free(pool);
    assert_nothing_left();
}

static void sighup_ends_nothing(void **state)
{
    (void)state;
    pid_t pid = STARTED("--listen", url_of("sock"));
    kill(pid, SIGHUP);
    check_service(url_of("sock"));
    assert_exit(stop(pid, SIGTERM), 0);
    assert_nothing_left();
}

static void kill_9_leaves_nothing_behind(void **state)
{
    (void)state;
    pid_t pid = STARTED("--listen", url_of("sock"), "--pid-file", path_of("pid"));
    assert_int_equal(access(path_of("sock.push"), F_OK), 0);
    assert_int_equal(process_count(), 2); /* and its guard */
    stop(pid, SIGKILL);
    assert_nothing_left();
    assert_int_equal(access(path_of("pid"), F_OK), -1);
}

static void the_guard_removes_only_what_was_its_own(void **state)
{
    (void)state;
    pid_t pid = STARTED("--listen", url_of("sock"), "--pid-file", path_of("pid"));
    assert_int_equal(unlink(path_of("sock")), 0);
    make_file("sock", "somebody else's", 0600);
    stop(pid, SIGKILL);
    wait_until(process_count() == 0);
    assert_int_equal(access(path_of("sock"), F_OK), 0);
    assert_int_equal(access(path_of("sock.push"), F_OK), -1);
    assert_int_equal(access(path_of("pid"), F_OK), -1);
}

static void a_killed_guard_takes_nothing_with_it(void **state)
{
    (void)state;
    pid_t pids[4];
    pid_t pid = STARTED("--listen", url_of("sock"));
    assert_int_equal(marked_processes(pids, 4), 2);
    kill(pids[0] == pid ? pids[1] : pids[0], SIGKILL);
    check_service(url_of("sock"));
    assert_exit(stop(pid, SIGTERM), 0);
    assert_nothing_left();
}

static void a_socket_file_left_behind_is_no_obstacle(void **state)
{
    (void)state;
    pid_t pids[4];
    pid_t pid = STARTED("--listen", url_of("sock"), "--pid-file", path_of("pid"));
    assert_int_equal(marked_processes(pids, 4), 2);
    kill(pids[0] == pid ? pids[1] : pids[0], SIGKILL);
    stop(pid, SIGKILL); /* nobody is left to clean up */
    wait_until(process_count() == 0);
    assert_int_equal(access(path_of("sock"), F_OK), 0);
    unlink(path_of("output"));
    pid = STARTED("--listen", url_of("sock"), "--pid-file", path_of("pid"));
    check_service(url_of("sock"));
    assert_exit(stop(pid, SIGTERM), 0);
    assert_nothing_left();
}

/* --- strangers ---------------------------------------------------------------------------------------------------- */

static int connect_to(const char *name)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    strcpy(address.sun_path, path_of(name));
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&address, sizeof address), 0);
    return fd;
}

static void garbage_is_refused_and_the_next_one_is_served(void **state)
{
    (void)state;
    unsigned char bytes[4096];
    pid_t pid = STARTED("--listen", url_of("sock"));
    long before_kib = status_of(pid, "VmRSS:");
    srand(4);
    for (int i = 0; i < 100; i++) {
        int fd = connect_to(i % 2 ? "sock" : "sock.push");
        for (size_t k = 0; k < sizeof bytes; k++)
            bytes[k] = (unsigned char)rand();
        if (i % 4 < 2) /* NNG's greeting, then a message that claims to be huge */
            memcpy(bytes, i % 2 ? "\0SP\0\0\x30\0\0\1\0\0\0\0\x7f" : "\0SP\0\0\x50\0\0\1\0\0\0\0\x7f", 14);
        send(fd, bytes, sizeof bytes, MSG_NOSIGNAL);
        close(fd);
    }
    check_service(url_of("sock"));
    assert_true(status_of(pid, "VmRSS:") - before_kib < 20000);
    assert_exit(stop(pid, SIGTERM), 0);
    assert_nothing_left();
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, make_directory, remove_directory)

int main(void)
{
    prctl(PR_SET_CHILD_SUBREAPER, 1);
    const struct CMUnitTest tests[] = {
        TEST(it_says_where_it_listens_and_serves),
        TEST(it_listens_in_the_users_runtime_directory_by_default),
        TEST(it_runs_without_standard_streams),
        TEST(wrong_usage_is_said_and_ends_with_2),
        TEST(what_cannot_be_is_said_and_ends_with_1),
        TEST(help_and_version_end_with_0),
        TEST(a_second_one_on_the_same_address_does_not_disturb_the_first),
        TEST(a_key_is_asked_of_everybody),
        TEST(systemd_is_told_if_that_is_asked_for),
        TEST(sigterm_lets_what_is_outstanding_finish),
        TEST(the_drain_has_an_end),
        TEST(a_second_sigint_ends_it_at_once),
        TEST(sighup_ends_nothing),
        TEST(kill_9_leaves_nothing_behind),
        TEST(the_guard_removes_only_what_was_its_own),
        TEST(a_killed_guard_takes_nothing_with_it),
        TEST(a_socket_file_left_behind_is_no_obstacle),
        TEST(garbage_is_refused_and_the_next_one_is_served),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
