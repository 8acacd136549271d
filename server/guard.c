/*
 * The guard. It reads records from a pipe that nobody else holds and so sees the end of its parent, however that comes.
 * A record names a file and its device and inode. The record GUARD_DONE says that the parent has cleaned up itself.
 *
 * It lives in a session of its own with all signals ignored that come from terminals: what is meant for the parent's
 * process group is not meant for it.
 */
#include "server/guard.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "core/errors.h"
#include "core/segment.h"

#define GUARD_FILES 64

/* One record; written by one write() shorter than PIPE_BUF, so it arrives whole. */
struct guard_record {
    enum { GUARD_FILE = 1, GUARD_DONE } kind;
    dev_t device;
    ino_t inode;
    char path[512];
};

static void remove_file(const struct guard_record *record)
{
    struct stat status;
    if (lstat(record->path, &status) == 0 && status.st_dev == record->device && status.st_ino == record->inode)
        unlink(record->path);
}

static void detach(int pipe)
{
    setsid();
    signal(SIGINT, SIG_IGN);
    signal(SIGTERM, SIG_IGN);
    signal(SIGHUP, SIG_IGN);
    signal(SIGQUIT, SIG_IGN);
    prctl(PR_SET_NAME, "musterd-guard");
    if (chdir("/") != 0) {
        /* then it holds the directory; nothing else depends on it */
    }
    /* Nobody who waits for the end of our parent's output may wait for us. */
    int null = open("/dev/null", O_RDWR);
    for (int fd = 0; fd < 3 && null >= 0; fd++)
        dup2(null, fd);
    long most = sysconf(_SC_OPEN_MAX);
    if (most < 0 || most > 1024)
        most = 1024;
    for (int fd = 3; fd < most; fd++) {
        if (fd != pipe)
            close(fd);
    }
}

static ssize_t read_record(int pipe, struct guard_record *record)
{
    ssize_t length;
    do
        length = read(pipe, record, sizeof *record);
    while (length < 0 && errno == EINTR);
    return length;
}

static _Noreturn void guard_run(int pipe)
{
    static struct guard_record records[GUARD_FILES];
    size_t count = 0;
    struct guard_record record;
    detach(pipe);
    while (read_record(pipe, &record) == (ssize_t)sizeof record) {
        if (record.kind == GUARD_DONE)
            _exit(0);
        if (count < GUARD_FILES)
            records[count++] = record;
    }
    for (size_t i = 0; i < count; i++)
        remove_file(&records[i]);
    segment_sweep();
    _exit(0);
}

int guard_start(struct guard *guard)
{
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) != 0)
        return error_errno("cannot make a pipe");
    pid_t pid = fork();
    if (pid < 0) {
        close(ends[0]);
        close(ends[1]);
        return error_errno("cannot start the guard process");
    }
    if (pid == 0) {
        close(ends[1]);
        guard_run(ends[0]);
    }
    close(ends[0]);
    *guard = (struct guard){pid, ends[1]};
    return 0;
}

static int guard_tell(struct guard *guard, const struct guard_record *record)
{
    ssize_t length;
    do
        length = write(guard->pipe, record, sizeof *record);
    while (length < 0 && errno == EINTR);
    return length == (ssize_t)sizeof *record ? 0 : error_errno("the guard process is gone");
}

int guard_watch(struct guard *guard, const char *path)
{
    struct guard_record record;
    memset(&record, 0, sizeof record);
    record.kind = GUARD_FILE;
    struct stat status;
    if (lstat(path, &status) != 0)
        return error_errno("%s", path);
    record.device = status.st_dev;
    record.inode = status.st_ino;
    /* The guard stands elsewhere: a relative path is made absolute. */
    char *directory = path[0] == '/' ? NULL : getcwd(NULL, 0);
    int length =
        snprintf(record.path, sizeof record.path, "%s%s%s", directory ? directory : "", directory ? "/" : "", path);
    free(directory);
    if (length < 0 || (size_t)length >= sizeof record.path)
        return error_set(MUSTER_ESYSTEM, "%s: the path is too long", path);
    return guard_tell(guard, &record);
}

void guard_end(struct guard *guard)
{
    if (guard->pid <= 0)
        return;
    struct guard_record record;
    memset(&record, 0, sizeof record);
    record.kind = GUARD_DONE;
    guard_tell(guard, &record);
    close(guard->pipe);
    while (waitpid(guard->pid, NULL, 0) < 0 && errno == EINTR)
        ;
    guard->pid = 0;
}
