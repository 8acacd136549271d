/*
 * Tasks that leave a note in a file, so that a test can count how often each has run.
 */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "muster.h"

/* One line, in one write: notes of several workers do not mix. */
static int write_note(const char *path, size_t size, long long number)
{
    char name[512], line[64];
    if (size >= sizeof name)
        return MUSTER_EINVAL;
    memcpy(name, path, size);
    name[size] = '\0';
    int length = snprintf(line, sizeof line, "%lld\n", number);
    int fd = open(name, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    ssize_t written = fd < 0 ? -1 : write(fd, line, (size_t)length);
    close(fd);
    return written == length ? 0 : MUSTER_ESYSTEM;
}

/* note(path, number, milliseconds): writes the number, sleeps, returns the number. */
static int note(muster_task *task)
{
    const char *path;
    size_t size;
    int64_t number, ms;
    int status = muster_arg_string(task, 0, &path, &size);
    if (status == 0)
        status = muster_arg_int(task, 1, &number);
    if (status == 0)
        status = muster_arg_int(task, 2, &ms);
    if (status == 0)
        status = write_note(path, size, number);
    if (status != 0)
        return status;
    struct timespec left = {ms / 1000, ms % 1000 * 1000000};
    while (nanosleep(&left, &left) != 0 && !muster_cancelled(task))
        continue;
    return muster_return_int(task, number);
}

/* die_first(path): kills its worker the first two times, then succeeds. */
static int die_first(muster_task *task)
{
    const char *path;
    size_t size;
    char name[512];
    int status = muster_arg_string(task, 0, &path, &size);
    if (status == 0)
        status = write_note(path, size, 0);
    if (status != 0)
        return status;
    snprintf(name, sizeof name, "%.*s", (int)size, path);
    int fd = open(name, O_RDONLY | O_CLOEXEC);
    off_t length = lseek(fd, 0, SEEK_END);
    close(fd);
    if (length < 6)
        _exit(9);
    return muster_return_int(task, (int64_t)length / 2);
}

/* item_dies(number): number 7 kills its worker. */
static int item_dies(muster_task *task)
{
    int64_t number;
    int status = muster_arg_int(task, 0, &number);
    if (status == 0 && number == 7)
        _exit(7);
    return status ? status : muster_return_int(task, number);
}

static const muster_function functions[] = {{"note", note}, {"die_first", die_first}, {"item_dies", item_dies}, {0}};
MUSTER_PLUGIN(functions);
