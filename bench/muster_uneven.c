/*
 * Tasks of uneven length, in the orders that hurt: one of 1 s, five hundred of 1 ms, five hundred of 10 ms.
 *
 * middle (the line's number is 500): the long one after the 1 ms ones, when a worker has learned that tasks are short
 * and may hold many in advance; those must not wait behind the long one. last (1000): the long one at the end.
 *
 * The best possible finish is that of a scheduler that hands the next task of this order to whichever worker is free,
 * at no cost: nobody who does not know the lengths beforehand can do better. The figure is the time taken divided by
 * it.
 */
#include "bench/muster_pools.h"
#include <stdlib.h>

enum { TASKS = 1001 };

struct uneven_state {
    struct bench_pool pool;
    muster_value lengths[TASKS];
    double best; /* s */
};

static enum bench_status uneven_open(struct bench_run *run)
{
    struct uneven_state *state = run->state = calloc(1, sizeof *state);
    double ends[MUSTER_WORKERS] = {0};
    if (!state)
        return bench_stop(run, BENCH_FAILED, "out of memory");
    for (long i = 0; i < TASKS; i++) {
        long rank = i > run->line->number ? i - 1 : i; /* among the thousand */
        double length = i == run->line->number ? 1.0 : rank < TASKS / 2 ? 0.001 : 0.010;
        state->lengths[i] = muster_double(length);
        int free_worker = ends[1] < ends[0];
        ends[free_worker] += length;
    }
    state->best = ends[0] > ends[1] ? ends[0] : ends[1];
    return bench_pool_open(run, &state->pool, run->line->argument, MUSTER_WORKERS, 0);
}

static enum bench_status uneven_sample(struct bench_run *run, double *value)
{
    struct uneven_state *state = run->state;
    muster_options options = {.chunk_size = 1};
    muster_result *result;
    double start = bench_now_us();
    int status = muster_map(state->pool.pool, "sleep", state->lengths, TASKS, &options, &result);
    *value = (bench_now_us() - start) / 1e6 / state->best;
    muster_result_free(result);
    return status == 0 ? BENCH_OK : bench_muster_failed(run, "map", status);
}

static void uneven_close(struct bench_run *run)
{
    struct uneven_state *state = run->state;
    if (!state)
        return;
    bench_pool_close(&state->pool);
    free(state);
}

const struct bench_kind muster_uneven_kind = {uneven_open, uneven_sample, uneven_close};
