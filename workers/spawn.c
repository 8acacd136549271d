/*
 * The child's part runs in the parent's memory while the parent's thread is suspended: it makes system calls and
 * changes nothing else. All signals are blocked meanwhile, so that no handler of the host's runs there either.
 *
 * What went wrong in the child comes back through a pipe that closes when the program begins. So nothing here needs the
 * shared memory or the suspension: a sanitizer makes a plain fork of the vfork.
 */
#include "workers/spawn.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define CLOSE_RANGE_AS_CLOEXEC 4u /* CLOSE_RANGE_CLOEXEC; Debian 12's headers have it, older ones do not */

/* What went wrong in the child. */
struct report {
    int error;
    bool directory;
};

int spawn_lift(int fd)
{
    if (fd < 0 || fd > 2)
        return fd;
    int lifted = fcntl(fd, F_DUPFD_CLOEXEC, 3);
    int error = errno;
    close(fd);
    errno = error;
    return lifted;
}

static void reset_signals(void)
{
    /* Handlers fall back to the default by themselves when the program starts; what is ignored would stay so. */
    struct sigaction ignored, standard = {.sa_handler = SIG_DFL};
    for (int number = 1; number < NSIG; number++)
        if (sigaction(number, NULL, &ignored) == 0 && ignored.sa_handler == SIG_IGN)
            sigaction(number, &standard, NULL);
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
}

__attribute__((noreturn)) static void become(const struct spawn *spawn, pid_t parent, int reports)
{
    struct report report = {.directory = false};
    setpgid(0, 0);
    if (spawn->group)
        atomic_store(spawn->group, getpid());
    if (spawn->death_signal != 0 && prctl(PR_SET_PDEATHSIG, spawn->death_signal) == 0 && getppid() != parent)
        _exit(127);
    for (int i = 0; i < 3; i++)
        if (spawn->fds[i] >= 0 && dup2(spawn->fds[i], i) < 0)
            goto failed;
    syscall(SYS_close_range, 3u, ~0u, CLOSE_RANGE_AS_CLOEXEC);
    for (size_t i = 0; i < spawn->keep_count; i++)
        if (fcntl(spawn->keep[i], F_SETFD, 0) < 0)
            goto failed;
    report.directory = spawn->cwd && chdir(spawn->cwd) != 0;
    if (report.directory)
        goto failed;
    reset_signals();
    execve(spawn->path, spawn->argv, spawn->envp);
failed:
    report.error = errno;
    ssize_t ignored = write(reports, &report, sizeof report);
    (void)ignored;
    _exit(127);
}

/* Waits until the child has become the program, or has said why not. */
static struct report await(int reports)
{
    struct report report = {0};
    ssize_t got;
    do
        got = read(reports, &report, sizeof report);
    while (got < 0 && errno == EINTR);
    return got == (ssize_t)sizeof report ? report : (struct report){0};
}

int spawn_start(const struct spawn *spawn, pid_t *pid, const char **what)
{
    sigset_t all, before;
    int reports[2];
    *what = "start a process";
    if (pipe2(reports, O_CLOEXEC) != 0)
        return errno;
    reports[1] = spawn_lift(reports[1]); /* the child's 0, 1 and 2 are taken */
    if (reports[1] < 0) {
        int error = errno;
        close(reports[0]);
        return error;
    }
    pid_t parent = getpid();
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    pid_t child = vfork();
    if (child == 0)
        become(spawn, parent, reports[1]);
    int error = child < 0 ? errno : 0;
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    close(reports[1]);
    struct report report = child > 0 ? await(reports[0]) : (struct report){.error = error};
    close(reports[0]);
    *pid = child;
    if (child > 0 && report.error != 0) {
        *what = report.directory ? "change to the directory" : "run";
        while (waitpid(child, NULL, 0) < 0 && errno == EINTR)
            continue;
        if (spawn->group)
            atomic_store(spawn->group, 0);
    }
    return report.error;
}
