/*
 * The conversation between a supervisor and a fork server: this process is the supervisor, a child of it the fork
 * server, and what that one forks are children of this process too.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <dirent.h>
#include <poll.h>
#include <unistd.h>
#include <cmocka.h>

#include "core/clock.h"
#include "muster.h"
#include "workers/forks.h"
#include "workers/forkserver.h"
#include "workers/launch.h"

#define WAIT_MS 30000

/* --- the worker --------------------------------------------------------------------------------------------------- */

static pid_t supervisor;

/* What a worker finds, as its exit status: 0 if all is as it should be. */
#define CHECK(condition)                                                 \
    do {                                                                 \
        if (!(condition)) {                                              \
            dprintf(2, "line %d: not true: %s\n", __LINE__, #condition); \
            _exit(9);                                                    \
        }                                                                \
    } while (0)

static atomic_bool signalled;

static void on_signal(int number)
{
    (void)number;
    atomic_store(&signalled, true);
}

static void *signal_main_thread(void *main_thread)
{
    CHECK(pthread_kill(*(pthread_t *)main_thread, SIGUSR2) == 0);
    return NULL;
}

/* The C library knows the number of the thread that came out of the fork. */
static void check_thread(void)
{
    pthread_t self = pthread_self(), thread;
    signal(SIGUSR2, on_signal);
    CHECK(pthread_create(&thread, NULL, signal_main_thread, &self) == 0);
    CHECK(pthread_join(thread, NULL) == 0);
    CHECK(atomic_load(&signalled));
}

static void check_signals(void)
{
    sigset_t blocked;
    struct sigaction action;
    CHECK(sigprocmask(SIG_SETMASK, NULL, &blocked) == 0);
    for (int number = 1; number < SIGRTMAX; number++) {
        if (number == SIGUSR2 || sigaction(number, NULL, &action) != 0)
            continue;
        CHECK(!sigismember(&blocked, number));
        CHECK(action.sa_handler == SIG_DFL);
    }
}

static size_t descriptors(void)
{
    size_t count = 0;
    DIR *entries = opendir("/proc/self/fd");
    for (struct dirent *entry; (entry = readdir(entries)) != NULL;)
        count += entry->d_name[0] != '.';
    closedir(entries);
    return count - 1; /* without the directory itself */
}

static void check_worker(int launch_fd, size_t before)
{
    int death = 0;
    char byte;
    struct launch launch;
    CHECK(getppid() == supervisor);
    CHECK(getpgrp() == getpid());
    CHECK(prctl(PR_GET_PDEATHSIG, &death) == 0 && death == SIGCONT);
    CHECK(!getenv(FORKSERVER_VARIABLE));
    CHECK(descriptors() == before + 3 - 1); /* hand-over, page, lifeline; without the fork server's socket */
    CHECK(launch_read(launch_fd, &launch) == 0);
    CHECK(launch.slot == 5 && strcmp(launch.url, "ipc:///nowhere") == 0);
    CHECK(launch.authkey.length == 3 && memcmp(launch.authkey.bytes, "key", 3) == 0);
    CHECK(fcntl((int)launch.page_fd, F_GETFD) == FD_CLOEXEC && fcntl((int)launch.lifeline_fd, F_GETFD) == FD_CLOEXEC);
    CHECK(pread((int)launch.page_fd, &byte, 1, 0) == 1 && byte == 'p');
    CHECK(read((int)launch.lifeline_fd, &byte, 1) == 1 && byte == 'l');
    CHECK(read(0, &byte, 1) == 1 && byte == 'i');
    check_signals();
    check_thread();
    launch_free(&launch);
    printf("to stdout\n");
    fflush(stdout);
    _exit(0);
}

/* --- the fork server ---------------------------------------------------------------------------------------------- */

static int calls[3]; /* of the hooks */

static void before(void *arg)
{
    calls[0]++;
    (void)arg;
}

static void after(void *arg)
{
    calls[1]++;
    if (arg)
        raise(SIGKILL);
}

static void child(void *arg)
{
    calls[2]++;
    (void)arg;
}

struct server {
    pid_t pid;
    int socket;
};

static void *sleep_forever(void *arg)
{
    for (;;)
        pause();
    return arg;
}

enum habit { USUAL, DIES_AFTER_A_FORK, HAS_A_THREAD };

__attribute__((noreturn)) static void run_server(int fd, enum habit habit)
{
    struct forkserver_hooks hooks = {before, after, child, habit == DIES_AFTER_A_FORK ? &hooks : NULL};
    pthread_t thread;
    sigset_t some;
    alarm(WAIT_MS / 1000); /* if the test dies */
    signal(SIGINT, SIG_IGN);
    signal(SIGUSR1, on_signal);
    sigemptyset(&some);
    sigaddset(&some, SIGTERM);
    sigprocmask(SIG_BLOCK, &some, NULL);
    setenv(FORKSERVER_VARIABLE, "7", 1);
    if (habit == HAS_A_THREAD)
        pthread_create(&thread, NULL, sleep_forever, NULL);
    size_t count = descriptors();
    int launch_fd = forkserver_run(fd, &hooks);
    CHECK(calls[0] == 1 + calls[1] && calls[2] == 1); /* a second worker sees the hooks of the first fork */
    check_worker(launch_fd, count);
    _exit(9);
}

static struct server start_server(enum habit habit)
{
    struct server server;
    int other;
    supervisor = getpid();
    assert_int_equal(forkserver_sockets(&server.socket, &other), 0);
    server.pid = fork();
    assert_true(server.pid >= 0);
    if (server.pid == 0) {
        close(server.socket);
        run_server(other, habit);
    }
    close(other);
    return server;
}

/* --- the supervisor ----------------------------------------------------------------------------------------------- */

static int end_of(pid_t pid)
{
    int ended;
    assert_int_equal(waitpid(pid, &ended, 0), pid);
    return ended;
}

static void end_server(struct server *server)
{
    close(server->socket);
    assert_int_equal(end_of(server->pid), 0);
}

static int file_with(char byte)
{
    int fd = memfd_create("test", MFD_CLOEXEC);
    assert_int_equal(pwrite(fd, &byte, 1, 0), 1);
    return fd;
}

static int pipe_with(char byte)
{
    int pair[2];
    assert_int_equal(pipe2(pair, O_CLOEXEC), 0);
    assert_int_equal(write(pair[1], &byte, 1), 1);
    close(pair[1]);
    return pair[0];
}

/* Asks for a worker; gives the reading end of its stdout. */
static int ask(const struct server *server, uint32_t number)
{
    int output[2], fds[FORKSERVER_DESCRIPTORS];
    const struct launch launch = {.url = "ipc:///nowhere",
                                  .host = "h",
                                  .directory = "",
                                  .initializer = "",
                                  .slot = 5,
                                  .page_fd = 1000, /* as it is in the supervisor: of no use */
                                  .lifeline_fd = 1001,
                                  .authkey = {.bytes = "key", .length = 3}};
    assert_int_equal(pipe2(output, O_CLOEXEC), 0);
    assert_int_equal(launch_write(&launch, &fds[FORKSERVER_LAUNCH]), 0);
    fds[FORKSERVER_PAGE] = file_with('p');
    fds[FORKSERVER_LIFELINE] = pipe_with('l');
    fds[FORKSERVER_STDIN] = pipe_with('i');
    fds[FORKSERVER_STDOUT] = output[1];
    fds[FORKSERVER_STDERR] = dup(2);
    assert_int_equal(forkserver_ask(server->socket, number, fds), 0);
    for (int i = 0; i < FORKSERVER_DESCRIPTORS; i++)
        close(fds[i]);
    return output[0];
}

static int await_answer(const struct server *server, struct forkserver_answer *answer)
{
    struct pollfd ready = {server->socket, POLLIN, 0};
    assert_int_equal(poll(&ready, 1, WAIT_MS), 1);
    return forkserver_answer(server->socket, answer);
}

static void assert_worker_is_well(const struct forkserver_answer *answer, int output)
{
    char line[32] = "";
    assert_true(answer->pid > 0);
    assert_int_equal(end_of(answer->pid), 0);
    assert_int_equal(read(output, line, sizeof line - 1), 10);
    assert_string_equal(line, "to stdout\n");
    close(output);
}

static void a_forked_worker_is_a_child_of_the_supervisor_with_nothing_but_its_own(void **state)
{
    struct forkserver_answer answer;
    (void)state;
    struct server server = start_server(USUAL);
    for (uint32_t number = 7; number < 10; number++) {
        int output = ask(&server, number);
        assert_int_equal(await_answer(&server, &answer), 1);
        assert_int_equal(answer.number, number);
        assert_int_not_equal(answer.pid, server.pid);
        assert_worker_is_well(&answer, output);
        assert_int_equal(forkserver_answer(server.socket, &answer), 0);
    }
    end_server(&server);
}

static void a_worker_is_known_although_its_fork_server_died_at_once(void **state)
{
    struct forkserver_answer answer;
    (void)state;
    struct server server = start_server(DIES_AFTER_A_FORK);
    int output = ask(&server, 1);
    assert_int_equal(end_of(server.pid), SIGKILL);
    assert_int_equal(await_answer(&server, &answer), 1);
    assert_worker_is_well(&answer, output);
    assert_int_equal(await_answer(&server, &answer), MUSTER_EWORKERS); /* nobody is left at the other end */
    close(server.socket);
}

static void a_fork_server_with_threads_does_not_fork_and_says_so(void **state)
{
    struct forkserver_answer answer;
    (void)state;
    struct server server = start_server(HAS_A_THREAD);
    close(ask(&server, 3));
    assert_int_equal(await_answer(&server, &answer), 1);
    assert_int_equal(answer.number, 3);
    assert_int_equal(answer.pid, 0);
    assert_non_null(strstr(answer.reason, "threads"));
    end_server(&server);
}

static void a_request_of_another_release_is_refused(void **state)
{
    static const uint32_t request[2] = {99, 4};
    struct iovec part = {(void *)(uintptr_t)request, sizeof request};
    _Alignas(struct cmsghdr) unsigned char control[CMSG_SPACE(6 * sizeof(int))] = {0};
    struct msghdr message = {
        .msg_iov = &part, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control};
    struct cmsghdr *head = CMSG_FIRSTHDR(&message);
    struct forkserver_answer answer;
    (void)state;
    struct server server = start_server(USUAL);
    head->cmsg_level = SOL_SOCKET;
    head->cmsg_type = SCM_RIGHTS;
    head->cmsg_len = CMSG_LEN(6 * sizeof(int));
    for (int i = 0; i < 6; i++)
        memcpy(CMSG_DATA(head) + (size_t)i * sizeof(int), &(int){2}, sizeof(int));
    assert_int_equal(sendmsg(server.socket, &message, 0), sizeof request);
    assert_int_equal(await_answer(&server, &answer), 1);
    assert_int_equal(answer.number, 4);
    assert_non_null(strstr(answer.reason, "release"));
    end_server(&server);
}

static void a_fork_server_ends_at_a_request_without_descriptors(void **state)
{
    static const uint32_t request[2] = {1, 1};
    (void)state;
    struct server server = start_server(USUAL);
    assert_int_equal(send(server.socket, request, sizeof request, 0), sizeof request);
    assert_int_equal(end_of(server.pid), 0);
    close(server.socket);
}

static void what_is_no_answer_is_refused(void **state)
{
    struct forkserver_answer answer;
    int own, other;
    (void)state;
    assert_int_equal(forkserver_sockets(&own, &other), 0);
    assert_int_equal(forkserver_answer(own, &answer), 0);
    assert_int_equal(send(other, "abc", 3, 0), 3);
    assert_int_equal(forkserver_answer(own, &answer), MUSTER_EWORKERS);
    close(other);
    assert_int_equal(forkserver_answer(own, &answer), MUSTER_EWORKERS);
    assert_int_equal(forkserver_ask(own, 1, (const int[]){2, 2, 2, 2, 2, 2}), MUSTER_EWORKERS);
    close(own);
}

/* --- one fork server after the other ------------------------------------------------------------------------------ */

/* Started again as "--deaf": a fork server that reads nothing; as "--ended": one that ends at once; as "--plain": one
 * that answers with a worker which is its own child. */
__attribute__((noreturn)) static void run_deaf(void)
{
    for (;;)
        pause();
}

__attribute__((noreturn)) static void run_plain(void)
{
    const uint32_t answer[2] = {1, 0};
    char request[64];
    int fd = atoi(getenv(FORKSERVER_VARIABLE));
    if (recv(fd, request, sizeof request, 0) > 0 && fork() == 0) {
        send(fd, answer, sizeof answer, 0);
        _exit(0);
    }
    run_deaf();
}

static struct recipe *recipe_of(const char *option)
{
    struct recipe *recipe;
    const char *const command[] = {"/proc/self/exe", option, NULL};
    const struct processes_config config = {.url = "ipc:///nowhere", .slots = 1, .fork_server = command};
    assert_int_equal(recipe_make(&recipe, &config, 1), 0);
    return recipe;
}

static void await_end(struct forks *forks, uint64_t now_ns)
{
    struct pollfd ended = {forks->server->pidfd, POLLIN, 0};
    assert_int_equal(poll(&ended, 1, WAIT_MS), 1);
    forks_server_ended(forks, "", now_ns);
}

static void a_fork_server_that_does_not_answer_in_time_is_killed_and_replaced(void **state)
{
    struct forks forks;
    struct hatchling server, worker;
    (void)state;
    struct recipe *recipe = recipe_of("--deaf");
    forks_init(&forks, &server, 10 * NS_PER_S);
    for (uint64_t now_ns = NS_PER_S, last = 0; now_ns < 100 * NS_PER_S; now_ns += 50 * NS_PER_S) {
        assert_true(forks_ready(&forks));
        assert_int_equal(recipe_begin(&worker), 0);
        assert_int_equal(forks_ask(&forks, recipe, 0, 1, &worker, now_ns), 0);
        assert_false(forks_ready(&forks));
        assert_int_not_equal(server.pid, last);
        last = (uint64_t)server.pid;
        assert_true(forks.deadline_ns == now_ns + 10 * NS_PER_S);
        assert_int_equal(forks_hear(&forks, forks.deadline_ns - 1), 0);
        assert_int_equal(forks_hear(&forks, forks.deadline_ns), MUSTER_EWORKERS);
        assert_non_null(strstr(muster_last_error(), "not answered for 10 s"));
        assert_true(forks.deadline_ns == NEVER_NS);
        recipe_forget(&worker);
        page_unmap(worker.page);
        assert_false(forks_ready(&forks)); /* until it has ended */
        await_end(&forks, now_ns);
        recipe_forget(&server);
    }
    recipe_free(recipe);
}

static void a_fork_server_that_ends_before_it_is_asked_is_told_with_how_it_ended(void **state)
{
    struct forks forks;
    struct hatchling server, worker;
    (void)state;
    struct recipe *recipe = recipe_of("--ended");
    forks_init(&forks, &server, 10 * NS_PER_S);
    assert_int_equal(recipe_start_fork_server(recipe, &forks.socket, &server), 0);
    struct pollfd ended = {server.pidfd, POLLIN, 0};
    assert_int_equal(poll(&ended, 1, WAIT_MS), 1);
    assert_int_equal(recipe_begin(&worker), 0);
    assert_int_equal(forks_ask(&forks, recipe, 0, 1, &worker, 0), 0);
    assert_int_equal(forks_hear(&forks, 0), 0);
    forks_server_ended(&forks, "the last words", 0);
    assert_int_equal(forks_hear(&forks, 0), MUSTER_EWORKERS);
    assert_non_null(strstr(muster_last_error(), "exit status 3"));
    assert_non_null(strstr(muster_last_error(), "the last words"));
    assert_true(forks_ready(&forks));
    recipe_forget(&worker);
    page_unmap(worker.page);
    recipe_free(recipe);
}

static void a_worker_that_is_no_child_of_ours_is_refused(void **state)
{
    struct forks forks;
    struct hatchling server, worker;
    (void)state;
    struct recipe *recipe = recipe_of("--plain");
    forks_init(&forks, &server, 10 * NS_PER_S);
    assert_int_equal(recipe_begin(&worker), 0);
    assert_int_equal(forks_ask(&forks, recipe, 0, 1, &worker, 0), 0);
    struct pollfd ready = {forks.socket, POLLIN, 0};
    assert_int_equal(poll(&ready, 1, WAIT_MS), 1);
    assert_int_equal(forks_hear(&forks, 0), MUSTER_EWORKERS);
    assert_non_null(strstr(muster_last_error(), "CLONE_PARENT"));
    recipe_forget(&worker);
    page_unmap(worker.page);
    forks_end(&forks);
    assert_int_equal(server.pid, 0);
    recipe_free(recipe);
}

int main(int argc, char **argv)
{
    if (argc == 2 && strcmp(argv[1], "--deaf") == 0)
        run_deaf();
    if (argc == 2 && strcmp(argv[1], "--ended") == 0)
        return 3;
    if (argc == 2 && strcmp(argv[1], "--plain") == 0)
        run_plain();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_forked_worker_is_a_child_of_the_supervisor_with_nothing_but_its_own),
        cmocka_unit_test(a_worker_is_known_although_its_fork_server_died_at_once),
        cmocka_unit_test(a_fork_server_with_threads_does_not_fork_and_says_so),
        cmocka_unit_test(a_request_of_another_release_is_refused),
        cmocka_unit_test(a_fork_server_ends_at_a_request_without_descriptors),
        cmocka_unit_test(what_is_no_answer_is_refused),
        cmocka_unit_test(a_fork_server_that_does_not_answer_in_time_is_killed_and_replaced),
        cmocka_unit_test(a_fork_server_that_ends_before_it_is_asked_is_told_with_how_it_ended),
        cmocka_unit_test(a_worker_that_is_no_child_of_ours_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
