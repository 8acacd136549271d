/*
 * For the end-to-end tests of pools: real programs, a directory of the test's own, and the question what was left
 * behind.
 *
 * Everything that a test starts inherits a mark in its environment, so leftovers are found whatever became of
 * their parents. XDG_RUNTIME_DIR is the test's directory, so the private directories of local pools are in there too.
 */
#ifndef TESTS_E2E_POOLS_H
#define TESTS_E2E_POOLS_H

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <spawn.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "muster.h"

#define MISBEHAVE TEST_PLUGIN_DIR "/misbehave.so"
#define NOTES TEST_PLUGIN_DIR "/notes.so"
#define WAIT_S 30 /* no condition takes longer, also under a sanitizer on a busy machine */
#define MARK "MUSTER_TEST_MARK"

static char directory[64]; /* of this test */
static char mark[80];      /* MUSTER_TEST_MARK=... */

static inline double now_s(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

/* Repeats the expression until it is true; fails the test after WAIT_S. */
#define wait_until(condition)                                                                   \
    do {                                                                                        \
        double give_up = now_s() + WAIT_S;                                                      \
        while (!(condition)) {                                                                  \
            if (now_s() > give_up)                                                              \
                fail_msg("%s:%d: not within %d s: %s", __FILE__, __LINE__, WAIT_S, #condition); \
            poll(NULL, 0, 2);                                                                   \
        }                                                                                       \
    } while (0)

static inline const char *path_of(const char *name)
{
    static char paths[4][512];
    static unsigned next;
    char *path = paths[next++ % 4];
    snprintf(path, sizeof paths[0], "%s/%s", directory, name);
    return path;
}

/* --- processes ---------------------------------------------------------------------------------------------------- */

/* Does the process carry our mark? */
static inline bool marked(pid_t pid)
{
    char path[64], text[16384];
    snprintf(path, sizeof path, "/proc/%d/environ", (int)pid);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return false;
    ssize_t length = read(fd, text, sizeof text);
    close(fd);
    return length > 0 && memmem(text, (size_t)length, mark, strlen(mark) + 1) != NULL;
}

/* Living processes with our mark, without this one. Fills in at most `room`. */
static inline size_t marked_processes(pid_t *pids, size_t room)
{
    size_t count = 0;
    DIR *entries = opendir("/proc");
    struct dirent *entry;
    while ((entry = readdir(entries))) {
        pid_t pid = (pid_t)atoi(entry->d_name);
        if (pid <= 0 || pid == getpid() || !marked(pid))
            continue;
        if (count < room)
            pids[count] = pid;
        count++;
    }
    closedir(entries);
    return count;
}

static inline size_t process_count(void)
{
    return marked_processes(NULL, 0);
}

/* Starts a program of ours; its output goes to "output" in the directory. */
static inline pid_t start(const char *program, const char *const *arguments)
{
    const char *argv[32] = {program};
    size_t count = 1;
    while (*arguments && count < 31)
        argv[count++] = *arguments++;
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_addopen(&actions, 1, path_of("output"), O_WRONLY | O_CREAT | O_APPEND, 0600);
    posix_spawn_file_actions_adddup2(&actions, 1, 2);
    pid_t pid;
    extern char **environ;
    assert_int_equal(posix_spawn(&pid, program, &actions, NULL, (char *const *)(void *)argv, environ), 0);
    posix_spawn_file_actions_destroy(&actions);
    return pid;
}
#define START(program, ...) start(program, (const char *const[]){__VA_ARGS__, NULL})

/* Ends a process that start() started, and gives its wait status. */
static inline int stop(pid_t pid, int signal)
{
    int ended = 0;
    kill(pid, signal);
    wait_until(waitpid(pid, &ended, WNOHANG) == pid);
    return ended;
}

/* --- a musterd with workers --------------------------------------------------------------------------------------- */

static inline const char *url_of(const char *name)
{
    static char url[600];
    snprintf(url, sizeof url, "ipc://%s", path_of(name));
    return url;
}

/* Waits until somebody listens there. */
static inline pid_t start_musterd(const char *name)
{
    pid_t pid = START(MUSTER_BIN_DIR "/musterd", "--listen", url_of(name));
    wait_until(access(path_of(name), F_OK) == 0);
    return pid;
}

static inline pid_t start_workers(const char *name, const char *count)
{
    return START(MUSTER_BIN_DIR "/muster-worker", "-n", count, url_of(name), "--load", MISBEHAVE, "--load", NOTES);
}

/* --- what is left ------------------------------------------------------------------------------------------------- */

/* Shared-memory segments that belong to this process (its number stands in their names). */
static inline size_t segment_count(pid_t owner)
{
    char part[32];
    size_t count = 0;
    snprintf(part, sizeof part, "-%x-", (unsigned)owner);
    DIR *entries = opendir("/dev/shm");
    struct dirent *entry;
    while (entries && (entry = readdir(entries)))
        count += strncmp(entry->d_name, "muster-", 7) == 0 && strstr(entry->d_name, part);
    if (entries)
        closedir(entries);
    return count;
}

/* Sockets and private directories in our directory. */
static inline size_t leftover_count(void)
{
    size_t count = 0;
    struct stat info;
    DIR *entries = opendir(directory);
    struct dirent *entry;
    while (entries && (entry = readdir(entries)))
        if (entry->d_name[0] != '.' && lstat(path_of(entry->d_name), &info) == 0)
            count += S_ISSOCK(info.st_mode) || S_ISDIR(info.st_mode);
    if (entries)
        closedir(entries);
    return count;
}

static inline void assert_nothing_left(void)
{
    wait_until(process_count() == 0);
    wait_until(leftover_count() == 0);
    wait_until(segment_count(getpid()) == 0);
}

/* --- setup and teardown of a test --------------------------------------------------------------------------------- */

static inline int make_directory(void **state)
{
    (void)state;
    strcpy(directory, "/tmp/muster-e2e-XXXXXX");
    if (!mkdtemp(directory))
        return -1;
    snprintf(mark, sizeof mark, MARK "=%s", directory);
    setenv(MARK, directory, 1);
    setenv("XDG_RUNTIME_DIR", directory, 1);
    return 0;
}

static inline int remove_directory(void **state)
{
    pid_t left[64];
    size_t count = marked_processes(left, 64);
    (void)state;
    for (size_t i = 0; i < count && i < 64; i++) /* a test has failed: do not leave its processes to the next */
        kill(left[i], SIGKILL);
    char command[128];
    snprintf(command, sizeof command, "rm -rf '%s'", directory);
    return system(command) == 0 && count == 0 ? 0 : -1;
}

/* Prints what the programs have written, for a test that fails. */
static inline void show_output(void)
{
    char line[1024];
    FILE *file = fopen(path_of("output"), "r");
    while (file && fgets(line, sizeof line, file))
        print_message("%s", line);
    if (file)
        fclose(file);
}

/* --- pools -------------------------------------------------------------------------------------------------------- */

static inline muster_pool *open_pool(const char *url, const muster_pool_options *options)
{
    muster_pool *pool = NULL;
    if (muster_pool_open(&pool, url, options) != 0) {
        show_output();
        fail_msg("%s: %s", url, muster_last_error());
    }
    return pool;
}

/* A local pool with the plugins of the tests. Workers' output is dropped. */
static inline void drop_output(int stream, const char *worker, const char *line, size_t size, void *arg)
{
    (void)stream, (void)worker, (void)line, (void)size, (void)arg;
}

static inline muster_pool *open_local(const char *url)
{
    static const char *const plugins[] = {MISBEHAVE, NOTES, NULL};
    return open_pool(url, &(muster_pool_options){.plugins = plugins, .on_output = drop_output});
}

static inline muster_result *submit(muster_pool *pool, const char *function, muster_args args,
                                    const muster_options *options)
{
    muster_result *result = NULL;
    int status = muster_apply_async(pool, function, args, options, &result);
    if (status != 0)
        fail_msg("%s: %s", function, muster_last_error());
    return result;
}

/* The status of a call, and its error if it failed; the result is kept until the next call. */
static inline int outcome(muster_pool *pool, const char *function, muster_args args, const muster_options *options,
                          const muster_error **error)
{
    static muster_result *result;
    muster_result_free(result);
    result = submit(pool, function, args, options);
    int status = muster_get(result, WAIT_S, NULL);
    *error = muster_result_error(result, 0);
    if (status == MUSTER_ETIMEDOUT && !*error)
        fail_msg("%s has no outcome", function);
    return status;
}

/* The pool still works, on as many workers as before. */
static inline void assert_alive(muster_pool *pool)
{
    const muster_error *error;
    assert_int_equal(outcome(pool, "add", MUSTER_ARGS(muster_int(1), muster_int(2)), NULL, &error), 0);
}

/* How often each number below `count` stands in a file of notes; gives the number of lines. */
static inline size_t read_notes(const char *path, unsigned *times, size_t count)
{
    long long number;
    size_t lines = 0;
    memset(times, 0, count * sizeof *times);
    FILE *file = fopen(path, "r");
    while (file && fscanf(file, "%lld", &number) == 1) {
        assert_true(number >= 0 && (size_t)number < count);
        times[number]++;
        lines++;
    }
    if (file)
        fclose(file);
    return lines;
}

#define E2E_TEST(name) cmocka_unit_test_setup_teardown(name, make_directory, remove_directory)

#endif
