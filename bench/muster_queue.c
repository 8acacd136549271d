/*
 * A deep queue: does a task cost more when many wait, and what does a waiting task weigh?
 *
 * queue: the client keeps as many calls outstanding as the line's number says (its window), fills the window, and then
 * measures how long each further call takes while the depth stays the same. The answers come by callback, so that no
 * handle weighs on the client.
 *
 * queue_memory: the workers are held busy, the line's number of calls is submitted, and the growth of musterd's
 * resident memory is divided by it. A status request marks the moment when musterd has taken in all of them: a session
 * keeps the order.
 */
#include "bench/muster_pools.h"
#include <errno.h>
#include <fcntl.h>
#include <semaphore.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { MEASURED_TASKS = 300 * 1000, DRAIN_S = 100 };

struct queue_state {
    struct bench_pool pool;
    char pipe_path[200];
    int pipe; /* open for reading and writing, so that no open waits for the other side */
    long done, failed, submitted;
    sem_t all_done;
};

/* Callbacks come one at a time, in one thread; `done` is read elsewhere only after the semaphore. */
static void finished(struct queue_state *state)
{
    if (__atomic_add_fetch(&state->done, 1, __ATOMIC_ACQ_REL) == __atomic_load_n(&state->submitted, __ATOMIC_ACQUIRE))
        sem_post(&state->all_done);
}

static void on_success(muster_result *result, void *arg)
{
    (void)result;
    finished(arg);
}

static void on_error(muster_result *result, void *arg)
{
    struct queue_state *state = arg;
    (void)result;
    __atomic_add_fetch(&state->failed, 1, __ATOMIC_RELAXED);
    finished(state);
}

static int submit(struct queue_state *state, long count)
{
    muster_options options = {.on_success = on_success, .on_error = on_error, .arg = state};
    int status = 0;
    for (long i = 0; i < count && status == 0; i++)
        status = muster_apply_async(state->pool.pool, "nothing", MUSTER_ARGS(bench_argument()), &options, NULL);
    return status;
}

static enum bench_status wait_all(struct bench_run *run, struct queue_state *state)
{
    struct timespec deadline;
    clock_gettime(CLOCK_REALTIME, &deadline);
    deadline.tv_sec += DRAIN_S;
    int failed;
    while ((failed = sem_timedwait(&state->all_done, &deadline)) != 0 && errno == EINTR)
        ;
    if (failed)
        return bench_stop(run, BENCH_FAILED, "%ld of %ld results came", state->done, state->submitted);
    return state->failed ? bench_stop(run, BENCH_FAILED, "%ld calls failed", state->failed) : BENCH_OK;
}

static enum bench_status queue_open(struct bench_run *run)
{
    struct queue_state *state = run->state = calloc(1, sizeof *state);
    if (!state)
        return bench_stop(run, BENCH_FAILED, "out of memory");
    state->pipe = -1;
    sem_init(&state->all_done, 0, 0);
    snprintf(state->pipe_path, sizeof state->pipe_path, "%s/hold", run->directory);
    if (mkfifo(state->pipe_path, 0600) != 0 || (state->pipe = open(state->pipe_path, O_RDWR | O_CLOEXEC)) < 0)
        return bench_stop(run, BENCH_FAILED, "no named pipe");
    return bench_pool_open(run, &state->pool, run->line->argument, MUSTER_WORKERS,
                           (size_t)run->line->number + MUSTER_WORKERS);
}

static enum bench_status queue_sample(struct bench_run *run, double *value)
{
    struct queue_state *state = run->state;
    state->done = state->failed = 0;
    state->submitted = run->line->number + MEASURED_TASKS;
    int status = submit(state, run->line->number);
    double start = bench_now_us();
    if (status == 0)
        status = submit(state, MEASURED_TASKS);
    *value = (bench_now_us() - start) / MEASURED_TASKS;
    return status == 0 ? wait_all(run, state) : bench_muster_failed(run, "apply_async", status);
}

static int hold_workers(struct queue_state *state)
{
    muster_options options = {.on_success = on_success, .on_error = on_error, .arg = state};
    int status = 0;
    for (int i = 0; i < MUSTER_WORKERS && status == 0; i++)
        status =
            muster_apply_async(state->pool.pool, "hold", MUSTER_ARGS(muster_string(state->pipe_path)), &options, NULL);
    return status;
}

static enum bench_status memory_sample(struct bench_run *run, double *value)
{
    static const char bytes[MUSTER_WORKERS] = {0};
    struct queue_state *state = run->state;
    char *json = NULL;
    state->done = state->failed = 0;
    state->submitted = run->line->number + MUSTER_WORKERS;
    double before = bench_resident_bytes(state->pool.daemon.pid);
    int status = hold_workers(state);
    if (status == 0)
        status = submit(state, run->line->number);
    if (status == 0)
        status = muster_pool_status(state->pool.pool, &json, DRAIN_S);
    free(json);
    double after = bench_resident_bytes(state->pool.daemon.pid);
    if (write(state->pipe, bytes, sizeof bytes) != (ssize_t)sizeof bytes)
        return bench_stop(run, BENCH_FAILED, "the workers cannot be released");
    if (status != 0)
        return bench_muster_failed(run, "queue", status);
    *value = (after - before) / (double)run->line->number;
    return wait_all(run, state);
}

static void queue_close(struct bench_run *run)
{
    struct queue_state *state = run->state;
    if (!state)
        return;
    bench_pool_close(&state->pool);
    if (state->pipe >= 0)
        close(state->pipe);
    unlink(state->pipe_path);
    free(state);
    run->state = NULL;
}

/* Each sample needs a musterd that has never held a queue: freed memory stays resident. */
static enum bench_status fresh_open(struct bench_run *run)
{
    (void)run;
    return BENCH_OK;
}

static enum bench_status fresh_sample(struct bench_run *run, double *value)
{
    enum bench_status status = queue_open(run);
    if (status == BENCH_OK)
        status = memory_sample(run, value);
    queue_close(run);
    return status;
}

const struct bench_kind muster_queue_kind = {queue_open, queue_sample, queue_close};
const struct bench_kind muster_queue_memory_kind = {fresh_open, fresh_sample, queue_close};
