/*
 * Starting, reading and ending helper processes.
 *
 * The child asks the kernel for SIGKILL when its parent dies (PR_SET_PDEATHSIG survives exec), so a benchmark that is
 * killed takes its helpers along. Waiting for an end polls with WNOHANG in small steps, which bounds every wait without
 * a signal handler.
 */
#include "bench/helper.h"
#include "bench/bench.h"
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { ROLE_ARGUMENTS = 12, END_MS = 2000 };

static void child_descriptors(int input, int output, const char *error_path)
{
    int null = open("/dev/null", O_RDWR | O_CLOEXEC);
    dup2(input >= 0 ? input : null, STDIN_FILENO);
    dup2(output >= 0 ? output : null, STDOUT_FILENO);
    if (error_path) {
        int error = open(error_path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
        if (error >= 0)
            dup2(error, STDERR_FILENO);
    }
}

int helper_start(struct helper *helper, char *const *argv, int flags, const char *error_path)
{
    int in[2] = {-1, -1}, out[2] = {-1, -1};
    *helper = (struct helper){.input = -1, .output = -1, .flags = flags};
    if ((flags & HELPER_INPUT) && pipe2(in, O_CLOEXEC) != 0)
        return -1;
    if ((flags & HELPER_OUTPUT) && pipe2(out, O_CLOEXEC) != 0) {
        close(in[0]);
        close(in[1]);
        return -1;
    }
    pid_t pid = fork();
    if (pid == 0) {
        if (flags & HELPER_GROUP)
            setpgid(0, 0);
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        child_descriptors(in[0], out[1], error_path);
        execv(argv[0], argv);
        _exit(127);
    }
    int saved = errno;
    if (in[0] >= 0)
        close(in[0]);
    if (out[1] >= 0)
        close(out[1]);
    helper->input = in[1];
    helper->output = out[0];
    helper->pid = pid > 0 ? pid : 0;
    errno = saved;
    return pid > 0 ? 0 : -1;
}

int helper_start_role(struct helper *helper, const char *role, ...)
{
    char *argv[ROLE_ARGUMENTS + 4] = {"/proc/self/exe", "--role", (char *)role};
    int count = 3;
    va_list arguments;
    va_start(arguments, role);
    while (count < ROLE_ARGUMENTS + 3 && (argv[count] = va_arg(arguments, char *)) != NULL)
        count++;
    va_end(arguments);
    argv[count] = NULL;
    return helper_start(helper, argv, HELPER_OUTPUT, NULL);
}

/* Moves one whole line from the process's buffer to `line`. */
static bool take_line(struct helper *helper, char *line, size_t size)
{
    char *end = memchr(helper->line, '\n', helper->length);
    if (!end && helper->length < sizeof helper->line)
        return false;
    size_t length = end ? (size_t)(end - helper->line) : helper->length;
    snprintf(line, size, "%.*s", (int)length, helper->line);
    size_t taken = end ? length + 1 : length;
    helper->length -= taken;
    memmove(helper->line, helper->line + taken, helper->length);
    return true;
}

int helper_read_line(struct helper *helper, char *line, size_t size, int timeout_ms)
{
    double deadline = bench_now_us() + timeout_ms * 1e3;
    for (;;) {
        if (take_line(helper, line, size))
            return 1;
        double left_ms = (deadline - bench_now_us()) / 1e3;
        struct pollfd watched = {.fd = helper->output, .events = POLLIN};
        int ready = left_ms > 0 ? poll(&watched, 1, (int)left_ms + 1) : 0;
        if (ready == 0)
            return -1;
        if (ready < 0 && errno == EINTR)
            continue;
        ssize_t got = read(helper->output, helper->line + helper->length, sizeof helper->line - helper->length);
        if (got <= 0)
            return 0;
        helper->length += (size_t)got;
    }
}

int helper_wait(struct helper *helper, int timeout_ms)
{
    double deadline = bench_now_us() + timeout_ms * 1e3;
    const struct timespec step = {.tv_nsec = 500 * 1000};
    for (;;) {
        int status;
        pid_t pid = waitpid(helper->pid, &status, WNOHANG);
        if (pid == helper->pid || (pid < 0 && errno == ECHILD)) {
            helper->pid = 0;
            if (pid < 0)
                return 0;
            return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
        }
        if (bench_now_us() >= deadline)
            return -1;
        nanosleep(&step, NULL);
    }
}

static void close_pipes(struct helper *helper)
{
    if (helper->input >= 0)
        close(helper->input);
    if (helper->output >= 0)
        close(helper->output);
    helper->input = helper->output = -1;
}

void helper_kill(struct helper *helper)
{
    if (helper->pid <= 0)
        return;
    if (helper->flags & HELPER_GROUP)
        kill(-helper->pid, SIGKILL);
    kill(helper->pid, SIGKILL);
    helper_wait(helper, END_MS);
    close_pipes(helper);
}

void helper_end(struct helper *helper)
{
    if (helper->pid <= 0)
        return;
    kill(helper->pid, SIGTERM);
    if (helper_wait(helper, END_MS) < 0)
        helper_kill(helper);
    close_pipes(helper);
}

/* The pids of this process's children as the kernel tells them, or an empty text. */
static void read_children(char *text, size_t size)
{
    char path[64];
    snprintf(path, sizeof path, "/proc/self/task/%d/children", (int)getpid());
    text[0] = 0;
    FILE *file = fopen(path, "re");
    if (!file)
        return;
    text[fread(text, 1, size - 1, file)] = 0;
    fclose(file);
}

static void add_command(char *names, size_t size, long pid)
{
    char path[64], command[64] = "?";
    snprintf(path, sizeof path, "/proc/%ld/comm", pid);
    FILE *file = fopen(path, "re");
    if (file) {
        if (fgets(command, sizeof command, file))
            command[strcspn(command, "\n")] = 0;
        fclose(file);
    }
    size_t used = strlen(names);
    if (used + 1 < size)
        snprintf(names + used, size - used, "%s%s (%ld)", used ? ", " : "", command, pid);
}

int helper_end_orphans(char *names, size_t size)
{
    char text[4096];
    double deadline = bench_now_us() + END_MS * 1e3;
    const struct timespec step = {.tv_nsec = 5 * 1000 * 1000};
    int killed = 0;
    names[0] = 0;
    for (;;) {
        while (waitpid(-1, NULL, WNOHANG) > 0)
            ;
        read_children(text, sizeof text);
        if (!text[0])
            return killed;
        if (bench_now_us() < deadline) {
            nanosleep(&step, NULL);
            continue;
        }
        char *save = NULL;
        for (char *word = strtok_r(text, " \n", &save); word; word = strtok_r(NULL, " \n", &save)) {
            long pid = strtol(word, NULL, 10);
            if (pid <= 1)
                continue;
            add_command(names, size, pid);
            kill((pid_t)pid, SIGKILL);
            waitpid((pid_t)pid, NULL, 0);
            killed++;
        }
    }
}
