/* The functions that the benchmark's workers offer, for local pools and behind musterd alike. */
#include <muster.h>
#include <fcntl.h>
#include <time.h>
#include <unistd.h>

static int nothing(muster_task *task)
{
    (void)task;
    return MUSTER_OK;
}

static int echo(muster_task *task)
{
    const void *data;
    size_t size;
    int status = muster_arg_bytes(task, 0, &data, &size);
    return status ? status : muster_return_bytes(task, data, size);
}

/* Ends so many seconds after its start, whatever the kernel rounds a single sleep up to. */
static int sleep_for(muster_task *task)
{
    struct timespec end;
    double seconds;
    int status = muster_arg_double(task, 0, &seconds);
    if (status)
        return status;
    clock_gettime(CLOCK_MONOTONIC, &end);
    long ns = end.tv_nsec + (long)((seconds - (double)(time_t)seconds) * 1e9);
    end.tv_sec += (time_t)seconds + ns / 1000000000;
    end.tv_nsec = ns % 1000000000;
    while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &end, NULL) != 0 && !muster_cancelled(task))
        ;
    return MUSTER_OK;
}

/* Keeps its worker busy until a byte comes through the named pipe whose path is the argument. */
static int hold(muster_task *task)
{
    char path[256], byte;
    const char *text;
    size_t size;
    int status = muster_arg_string(task, 0, &text, &size);
    if (status)
        return status;
    if (size >= sizeof path)
        return muster_fail(task, "ValueError", "a path of %zu bytes", size);
    for (size_t i = 0; i < size; i++)
        path[i] = text[i];
    path[size] = 0;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t got = fd < 0 ? -1 : read(fd, &byte, 1);
    if (fd >= 0)
        close(fd);
    return got == 1 ? MUSTER_OK : muster_fail(task, "OSError", "cannot read %s", path);
}

static const muster_function functions[] = {
    {"nothing", nothing}, {"echo", echo}, {"sleep", sleep_for}, {"hold", hold}, {0},
};
MUSTER_PLUGIN(functions);
