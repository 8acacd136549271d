/*
 * The floor: one byte to another process and back over a Unix socket. No transport between two processes that waits in
 * the kernel is faster.
 */
#include "bench/bench.h"
#include "bench/helper.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

struct unix_state {
    struct helper echo;
    int fd;
};

static int bound_socket(const char *path, bool listening)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    snprintf(address.sun_path, sizeof address.sun_path, "%s", path);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -1;
    int failed = listening ? bind(fd, (struct sockaddr *)&address, sizeof address) || listen(fd, 1)
                           : connect(fd, (struct sockaddr *)&address, sizeof address);
    if (failed) {
        close(fd);
        return -1;
    }
    return fd;
}

int raw_socket_role(int argc, char **argv)
{
    char byte;
    int listener = argc > 1 ? bound_socket(argv[1], true) : -1;
    if (listener < 0)
        return 1;
    puts("ready");
    fflush(stdout);
    int fd = accept(listener, NULL, NULL);
    while (fd >= 0 && read(fd, &byte, 1) == 1 && write(fd, &byte, 1) == 1)
        ;
    return 0;
}

static enum bench_status unix_open(struct bench_run *run)
{
    char path[200], line[64];
    struct unix_state *state = run->state = calloc(1, sizeof *state);
    if (!state)
        return bench_stop(run, BENCH_FAILED, "out of memory");
    state->fd = -1;
    snprintf(path, sizeof path, "%s/echo", run->directory);
    if (helper_start_role(&state->echo, "unix-echo", path, NULL) != 0 ||
        helper_read_line(&state->echo, line, sizeof line, 5000) != 1)
        return bench_stop(run, BENCH_FAILED, "the echo process did not start");
    state->fd = bound_socket(path, false);
    double ignored;
    return state->fd < 0 ? bench_stop(run, BENCH_FAILED, "cannot connect to %s", path)
                         : run->line->kind->sample(run, &ignored);
}

static enum bench_status unix_sample(struct bench_run *run, double *value)
{
    struct unix_state *state = run->state;
    char byte = 'x';
    double start = bench_now_us();
    for (long i = 0; i < run->line->number; i++) {
        if (write(state->fd, &byte, 1) != 1 || read(state->fd, &byte, 1) != 1)
            return bench_stop(run, BENCH_FAILED, "the echo process ended");
    }
    *value = (bench_now_us() - start) / (double)run->line->number;
    return BENCH_OK;
}

static void unix_close(struct bench_run *run)
{
    struct unix_state *state = run->state;
    if (!state)
        return;
    if (state->fd >= 0)
        close(state->fd);
    helper_end(&state->echo);
    free(state);
}

const struct bench_kind raw_socket_kind = {unix_open, unix_sample, unix_close};
