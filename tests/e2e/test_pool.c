/*
 * A pool on a musterd: connecting, and what is promised when any of the processes is killed in the middle of a job.
 */
#include <netinet/in.h>
#include <pthread.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <nng/nng.h>
#include <nng/protocol/reqrep0/rep.h>

#include "tests/e2e/pools.h"

#define LARGE (1 << 20)

static const char *program; /* this test, to be started again as a client */

/* Ends what was started, and looks at what is left. */
static void end_all(pid_t workers, pid_t musterd)
{
    if (workers)
        stop(workers, SIGTERM);
    if (musterd)
        stop(musterd, SIGTERM);
    assert_nothing_left();
}

static void a_pool_on_a_musterd_works(void **state)
{
    const muster_value *value;
    const muster_error *error;
    char *json;
    (void)state;
    pid_t musterd = start_musterd("md"), workers = start_workers("md", "2");
    muster_pool *pool = open_pool(url_of("md"), NULL);
    muster_result *result = submit(pool, "add", MUSTER_ARGS(muster_int(40), muster_int(2)), NULL);
    assert_int_equal(muster_get(result, WAIT_S, &value), 0);
    assert_int_equal(value->integer, 42);
    muster_result_free(result);
    assert_int_equal(outcome(pool, "no_such_thing", MUSTER_NO_ARGS, NULL, &error), MUSTER_ENOFUNCTION);
    wait_until(muster_pool_workers(pool) == 2);
    assert_int_equal(muster_pool_status(pool, &json, WAIT_S), 0);
    assert_int_equal(json[0], '{');
    free(json);
    muster_pool_close(pool);
    assert_int_equal(muster_pool_join(pool, WAIT_S), 0);
    muster_pool_free(pool);
    end_all(workers, musterd);
}

static void large_arguments_and_results_come_back_whole(void **state)
{
    (void)state;
    pid_t musterd = start_musterd("md"), workers = start_workers("md", "2");
    muster_pool *pool = open_pool(url_of("md"), NULL);
    static const size_t sizes[] = {0, 1000, 256 * 1024 - 10, 256 * 1024, LARGE, 5 * LARGE};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        const muster_value *value;
        char *data = malloc(sizes[i] + 1);
        for (size_t at = 0; at < sizes[i]; at++)
            data[at] = (char)(at * 31 + i);
        muster_result *result = submit(pool, "identity", MUSTER_ARGS(muster_bytes(data, sizes[i])), NULL);
        assert_int_equal(muster_get(result, WAIT_S, &value), 0);
        assert_int_equal(value->size, sizes[i]);
        assert_int_equal(sizes[i] ? memcmp(value->data, data, sizes[i]) : 0, 0);
        muster_result_free(result);
        free(data);
    }
    muster_pool_free(pool);
    end_all(workers, musterd);
}

/* --- URLs --------------------------------------------------------------------------------------------------------- */

static void a_url_that_is_wrong_is_refused_at_once(void **state)
{
    static const char *const bad[] = {"",          "foo",      "local",      "local:0",          "local:-1",
                                      "local:2x",  "http://x", "tcp://host", "tcp://host:99999", "ipc://",
                                      "local:5000"};
    muster_pool *pool;
    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        assert_int_equal(muster_pool_open(&pool, bad[i], NULL), MUSTER_EURL);
        assert_null(pool);
        assert_non_null(strstr(muster_last_error(), bad[i]));
    }
    assert_int_equal(muster_pool_open(&pool, NULL, NULL), MUSTER_EURL);
    assert_int_equal(muster_pool_open(NULL, "local:", NULL), MUSTER_EINVAL);
}

static void nobody_at_the_url_is_said_after_the_connect_timeout(void **state)
{
    const muster_pool_options options = {.connect_timeout = 0.3};
    muster_pool *pool;
    (void)state;
    assert_int_equal(muster_pool_open(&pool, url_of("nobody"), &options), MUSTER_ECONNECT);
    assert_non_null(strstr(muster_last_error(), url_of("nobody")));
    assert_non_null(strstr(muster_last_error(), "No such file"));
    assert_int_equal(muster_pool_open(&pool, "tcp://127.0.0.1:1", &options), MUSTER_ECONNECT);
    assert_non_null(strstr(muster_last_error(), "refused"));
}

static int listen_at(const char *path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    strcpy(address.sun_path, path);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof address), 0);
    assert_int_equal(listen(fd, 16), 0);
    return fd;
}

/* Answers each connection like a web server would. */
static void *speak_http(void *arg)
{
    int listener = *(int *)arg, fd;
    static const char answer[] = "HTTP/1.1 400 Bad Request\r\n\r\n";
    while ((fd = accept(listener, NULL, NULL)) >= 0) {
        send(fd, answer, sizeof answer - 1, MSG_NOSIGNAL);
        close(fd);
    }
    return NULL;
}

static void what_speaks_another_protocol_is_said_to(void **state)
{
    const muster_pool_options options = {.connect_timeout = 0.5};
    muster_pool *pool;
    pthread_t thread;
    (void)state;
    int listener = listen_at(path_of("web"));
    pthread_create(&thread, NULL, speak_http, &listener);
    assert_int_equal(muster_pool_open(&pool, url_of("web"), &options), MUSTER_ECONNECT);
    assert_non_null(strstr(muster_last_error(), "has not answered as a musterd"));
    shutdown(listener, SHUT_RDWR);
    close(listener);
    pthread_join(thread, NULL);
}

static void *speak_nonsense(void *arg)
{
    nng_socket *socket = arg;
    char *data;
    size_t size;
    while (nng_recv(*socket, &data, &size, NNG_FLAG_ALLOC) == 0) {
        nng_free(data, size);
        nng_send(*socket, "nonsense", 8, 0);
    }
    return NULL;
}

static void an_nng_peer_that_is_no_musterd_is_a_protocol_error(void **state)
{
    muster_pool *pool;
    pthread_t thread;
    nng_socket socket;
    (void)state;
    assert_int_equal(nng_rep0_open(&socket), 0);
    assert_int_equal(nng_listen(socket, url_of("rep"), NULL, 0), 0);
    pthread_create(&thread, NULL, speak_nonsense, &socket);
    assert_int_equal(muster_pool_open(&pool, url_of("rep"), NULL), MUSTER_EPROTOCOL);
    assert_non_null(strstr(muster_last_error(), url_of("rep")));
    nng_close(socket);
    pthread_join(thread, NULL);
}

static void write_key(const char *name, const char *key)
{
    FILE *file = fopen(path_of(name), "w");
    assert_non_null(file);
    fputs(key, file);
    fclose(file);
    chmod(path_of(name), 0600);
}

static void a_wrong_authkey_is_refused(void **state)
{
    (void)state;
    write_key("right", "the right key\n");
    write_key("wrong", "another key\n");
    pid_t musterd = START(MUSTER_BIN_DIR "/musterd", "--listen", url_of("md"), "--authkey-file", path_of("right"));
    wait_until(access(path_of("md"), F_OK) == 0);
    muster_pool *pool;
    muster_pool_options options = {.authkey_file = path_of("wrong")};
    assert_int_equal(muster_pool_open(&pool, url_of("md"), &options), MUSTER_EAUTH);
    assert_int_equal(muster_pool_open(&pool, url_of("md"), NULL), MUSTER_EAUTH);
    options.authkey_file = path_of("missing");
    assert_int_not_equal(muster_pool_open(&pool, url_of("md"), &options), 0);
    options.authkey_file = path_of("right");
    muster_pool_free(open_pool(url_of("md"), &options));
    end_all(0, musterd);
}

static void options_of_local_workers_are_refused_elsewhere(void **state)
{
    const muster_pool_options options = {.exec = true};
    muster_pool *pool;
    (void)state;
    assert_int_equal(muster_pool_open(&pool, url_of("md"), &options), MUSTER_EINVAL);
}

/* --- kill -9 ------------------------------------------------------------------------------------------------------ */

enum { JOB = 300 };

/* A job whose tasks leave a note each. */
static void submit_job(muster_pool *pool, muster_result **results, int milliseconds)
{
    for (int i = 0; i < JOB; i++)
        results[i] = submit(
            pool, "note", MUSTER_ARGS(muster_string(path_of("notes")), muster_int(i), muster_int(milliseconds)), NULL);
}

/* Takes all outcomes: each is a success or ELOST. Each task has run at most once, and those that succeeded exactly
 * once. */
static size_t take_job(muster_result **results)
{
    unsigned times[JOB];
    size_t lost = 0;
    bool succeeded[JOB];
    for (int i = 0; i < JOB; i++) {
        int status = muster_get(results[i], WAIT_S, NULL);
        if (status != 0 && status != MUSTER_ELOST)
            fail_msg("task %d: %s", i, muster_last_error());
        succeeded[i] = status == 0;
        lost += status != 0;
        muster_result_free(results[i]);
    }
    read_notes(path_of("notes"), times, JOB);
    for (int i = 0; i < JOB; i++) {
        assert_true(times[i] <= 1);
        assert_true(times[i] == 1 || !succeeded[i]);
    }
    return lost;
}

static void until_notes(size_t lines)
{
    unsigned times[JOB];
    wait_until(read_notes(path_of("notes"), times, JOB) >= lines);
}

static void a_restarted_musterd_loses_nothing_and_runs_nothing_twice(void **state)
{
    muster_result *results[JOB];
    (void)state;
    pid_t musterd = start_musterd("md"), workers = start_workers("md", "2");
    muster_pool *pool = open_pool(url_of("md"), NULL);
    submit_job(pool, results, 5);
    for (size_t round = 1; round <= 2; round++) {
        until_notes(round * JOB / 4);
        stop(musterd, SIGKILL);
        unlink(path_of("md"));
        unlink(path_of("md.push"));
        musterd = start_musterd("md");
    }
    assert_int_equal(take_job(results), 0);
    muster_stats stats;
    muster_pool_stats(pool, &stats);
    assert_int_equal(stats.succeeded, JOB);
    assert_int_equal(stats.outstanding, 0);
    muster_pool_free(pool);
    end_all(workers, musterd);
}

static void a_killed_supervisor_takes_its_workers_along_and_others_go_on(void **state)
{
    muster_result *results[JOB];
    (void)state;
    pid_t musterd = start_musterd("md"), first = start_workers("md", "2");
    muster_pool *pool = open_pool(url_of("md"), NULL);
    submit_job(pool, results, 5);
    until_notes(JOB / 4);
    stop(first, SIGKILL);
    pid_t second = start_workers("md", "2");
    size_t lost = take_job(results);
    assert_true(lost >= 1 && lost < JOB / 2);
    muster_pool_free(pool);
    end_all(second, musterd);
}

static void a_killed_worker_of_a_musterd_loses_one_task(void **state)
{
    muster_result *results[JOB];
    pid_t pids[16], victim = 0;
    (void)state;
    pid_t musterd = start_musterd("md"), workers = start_workers("md", "2");
    muster_pool *pool = open_pool(url_of("md"), NULL);
    submit_job(pool, results, 5);
    until_notes(JOB / 4);
    size_t count = marked_processes(pids, 16);
    for (size_t i = 0; i < count && i < 16; i++)
        if (pids[i] != musterd && pids[i] != workers)
            victim = pids[i];
    assert_int_not_equal(victim, 0);
    kill(victim, SIGKILL);
    assert_true(take_job(results) <= 1);
    muster_pool_free(pool);
    end_all(workers, musterd);
}

/* What this program does when it is started again as "--client URL FUNCTION": submits, says so, and waits to be killed.
 */
static int run_client(const char *url, const char *function)
{
    muster_pool *pool;
    muster_result *result;
    static char data[LARGE];
    if (muster_pool_open(&pool, url, NULL) != 0)
        return 1;
    for (int i = 0; i < 8; i++)
        if (muster_apply_async(pool, function, MUSTER_ARGS(muster_bytes(data, sizeof data)), NULL, &result) != 0)
            return 1;
    puts("submitted");
    fflush(stdout);
    for (;;)
        pause();
}

static bool output_has(const char *text)
{
    char line[1024];
    bool found = false;
    FILE *file = fopen(path_of("output"), "r");
    while (file && !found && fgets(line, sizeof line, file))
        found = strstr(line, text);
    if (file)
        fclose(file);
    return found;
}

static void a_killed_client_has_its_tasks_cancelled_and_its_segments_removed(void **state)
{
    (void)state;
    pid_t musterd = start_musterd("md"), workers = start_workers("md", "2");
    pid_t client = START(program, "--client", url_of("md"), "wait_for_stop");
    wait_until(output_has("submitted"));
    assert_true(segment_count(client) > 0);
    stop(client, SIGKILL);
    wait_until(segment_count(client) == 0);
    muster_pool *pool = open_pool(url_of("md"), NULL);
    assert_alive(pool); /* the workers have been freed of the dead client's tasks */
    muster_pool_free(pool);
    end_all(workers, musterd);
}

static void calls_wait_while_musterd_is_gone(void **state)
{
    (void)state;
    pid_t musterd = start_musterd("md"), workers = start_workers("md", "1");
    muster_pool *pool = open_pool(url_of("md"), NULL);
    assert_alive(pool);
    stop(musterd, SIGKILL);
    unlink(path_of("md"));
    unlink(path_of("md.push"));
    muster_result *result = submit(pool, "add", MUSTER_ARGS(muster_int(1)), NULL);
    assert_int_equal(muster_wait(result, 0.2), MUSTER_ETIMEDOUT);
    char *json;
    assert_int_equal(muster_pool_status(pool, &json, 0.1), MUSTER_ETIMEDOUT);
    musterd = start_musterd("md");
    assert_int_equal(muster_get(result, WAIT_S, NULL), 0);
    muster_result_free(result);
    muster_pool_free(pool);
    end_all(workers, musterd);
}

static void a_pool_ends_also_when_musterd_is_gone_for_good(void **state)
{
    (void)state;
    pid_t musterd = start_musterd("md");
    muster_pool *pool = open_pool(url_of("md"), NULL);
    muster_result *result = submit(pool, "add", MUSTER_ARGS(muster_int(1)), NULL);
    stop(musterd, SIGKILL);
    unlink(path_of("md"));
    unlink(path_of("md.push"));
    double start_s = now_s();
    muster_pool_terminate(pool);
    assert_int_equal(muster_get(result, WAIT_S, NULL), MUSTER_ECLOSED);
    assert_int_equal(muster_pool_join(pool, MUSTER_FOREVER), 0);
    assert_int_equal(muster_pool_free(pool), 0);
    assert_true(now_s() - start_s < WAIT_S);
    muster_result_free(result);
    assert_nothing_left();
}

static void a_terminated_pool_stops_its_tasks(void **state)
{
    (void)state;
    pid_t musterd = start_musterd("md"), workers = start_workers("md", "1");
    muster_pool *pool = open_pool(url_of("md"), NULL), *other = open_pool(url_of("md"), NULL);
    muster_result *running = submit(pool, "wait_for_stop", MUSTER_NO_ARGS, NULL);
    muster_result *waiting = submit(pool, "add", MUSTER_NO_ARGS, NULL);
    muster_pool_terminate(pool);
    assert_int_equal(muster_get(running, 0, NULL), MUSTER_ECLOSED);
    assert_int_equal(muster_get(waiting, 0, NULL), MUSTER_ECLOSED);
    assert_int_equal(muster_apply(pool, "add", MUSTER_NO_ARGS, NULL, NULL), MUSTER_ECLOSED);
    assert_int_equal(muster_pool_join(pool, WAIT_S), 0);
    assert_alive(other);
    muster_result_free(running);
    muster_result_free(waiting);
    muster_pool_free(pool);
    muster_pool_free(other);
    end_all(workers, musterd);
}

/* --- many threads ------------------------------------------------------------------------------------------------- */

static void *submit_many(void *arg)
{
    muster_pool *pool = arg;
    size_t wrong = 0;
    for (int i = 0; i < 300; i++) {
        muster_result *result;
        const muster_value *value;
        if (muster_apply_async(pool, "identity", MUSTER_ARGS(muster_int(i)), NULL, &result) != 0) {
            wrong++;
            continue;
        }
        if (i % 7 == 0)
            muster_cancel(result);
        int status = muster_get(result, WAIT_S, &value);
        wrong += status == 0 ? value->integer != i : status != MUSTER_ECANCELED;
        muster_result_free(result);
    }
    return (void *)(uintptr_t)wrong;
}

static void threads_share_a_pool(void **state)
{
    pthread_t threads[8];
    muster_stats stats;
    (void)state;
    pid_t musterd = start_musterd("md"), workers = start_workers("md", "2");
    muster_pool *pool = open_pool(url_of("md"), NULL);
    for (int i = 0; i < 8; i++)
        pthread_create(&threads[i], NULL, submit_many, pool);
    for (int i = 0; i < 8; i++) {
        void *wrong;
        pthread_join(threads[i], &wrong);
        assert_null(wrong);
    }
    muster_pool_stats(pool, &stats);
    assert_int_equal(stats.succeeded + stats.cancelled, 2400);
    muster_pool_free(pool);
    end_all(workers, musterd);
}

int main(int argc, char **argv)
{
    program = argv[0];
    if (argc == 4 && strcmp(argv[1], "--client") == 0)
        return run_client(argv[2], argv[3]);
    const struct CMUnitTest tests[] = {
        E2E_TEST(a_pool_on_a_musterd_works),
        E2E_TEST(large_arguments_and_results_come_back_whole),
        E2E_TEST(a_url_that_is_wrong_is_refused_at_once),
        E2E_TEST(nobody_at_the_url_is_said_after_the_connect_timeout),
        E2E_TEST(what_speaks_another_protocol_is_said_to),
        E2E_TEST(an_nng_peer_that_is_no_musterd_is_a_protocol_error),
        E2E_TEST(a_wrong_authkey_is_refused),
        E2E_TEST(options_of_local_workers_are_refused_elsewhere),
        E2E_TEST(a_restarted_musterd_loses_nothing_and_runs_nothing_twice),
        E2E_TEST(a_killed_supervisor_takes_its_workers_along_and_others_go_on),
        E2E_TEST(a_killed_worker_of_a_musterd_loses_one_task),
        E2E_TEST(a_killed_client_has_its_tasks_cancelled_and_its_segments_removed),
        E2E_TEST(calls_wait_while_musterd_is_gone),
        E2E_TEST(a_pool_ends_also_when_musterd_is_gone_for_good),
        E2E_TEST(a_terminated_pool_stops_its_tasks),
        E2E_TEST(threads_share_a_pool),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
