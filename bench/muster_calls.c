/*
 * Calls through muster.h as a user makes them: one at a time, many ahead, maps, and large ones. The line's argument
 * says where: "local" (embedded), or the scheme of the musterd in between. Its number is the chunk size of a map.
 */
#include "bench/muster_pools.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    CALLS = 1500,
    TASKS = 200 * 1000,
    SMALL_CHUNK_ITEMS = 100 * 1000,
    LARGE_CHUNK_ITEMS = 1000 * 1000,
    LARGE_CALLS = 40,
    LARGE = 1 << 20
};

struct calls_state {
    struct bench_pool pool;
    muster_result **results; /* TASKS, for the pipelined line */
    muster_value *items;     /* LARGE_CHUNK_ITEMS, for map */
    char *large;             /* LARGE bytes */
};

static enum bench_status open_pool(struct bench_run *run, int local_workers)
{
    struct calls_state *state = run->state = calloc(1, sizeof *state);
    double ignored;
    if (!state || !(state->results = calloc(TASKS, sizeof *state->results)) || !(state->large = calloc(1, LARGE)))
        return bench_stop(run, BENCH_FAILED, "out of memory");
    if (run->line->kind == &muster_map_kind && !(state->items = calloc(LARGE_CHUNK_ITEMS, sizeof *state->items)))
        return bench_stop(run, BENCH_FAILED, "out of memory");
    for (int64_t i = 0; state->items && i < LARGE_CHUNK_ITEMS; i++)
        state->items[i] = muster_int(i);
    bool local = strcmp(run->line->argument, "local") == 0;
    enum bench_status status =
        bench_pool_open(run, &state->pool, run->line->argument, local ? local_workers : MUSTER_WORKERS, 0);
    return status == BENCH_OK ? run->line->kind->sample(run, &ignored) : status;
}

/* The embedded round trip is measured with one worker: two hops and no choice. */
static enum bench_status apply_open(struct bench_run *run)
{
    return open_pool(run, 1);
}

static enum bench_status calls_open(struct bench_run *run)
{
    return open_pool(run, MUSTER_WORKERS);
}

static enum bench_status apply_sample(struct bench_run *run, double *value)
{
    struct calls_state *state = run->state;
    double start = bench_now_us();
    for (int i = 0; i < CALLS; i++) {
        muster_result *result;
        int status = muster_apply(state->pool.pool, "nothing", MUSTER_ARGS(bench_argument()), NULL, &result);
        if (status != 0)
            return bench_muster_failed(run, "apply", status);
        muster_result_free(result);
    }
    *value = (bench_now_us() - start) / CALLS;
    return BENCH_OK;
}

/* All submitted, then every result taken: what Python's line does. */
static enum bench_status tasks_sample(struct bench_run *run, double *value)
{
    struct calls_state *state = run->state;
    int submitted = 0, status = 0;
    double start = bench_now_us();
    while (submitted < TASKS && status == 0) {
        status = muster_apply_async(state->pool.pool, "nothing", MUSTER_ARGS(bench_argument()), NULL,
                                    &state->results[submitted]);
        submitted += status == 0;
    }
    for (int i = 0; i < submitted; i++) {
        if (status == 0)
            status = muster_get(state->results[i], MUSTER_PATIENCE, NULL);
        muster_result_free(state->results[i]);
    }
    *value = TASKS / (bench_now_us() - start) * 1e3;
    return status == 0 ? BENCH_OK : bench_muster_failed(run, "apply_async", status);
}

static enum bench_status map_sample(struct bench_run *run, double *value)
{
    struct calls_state *state = run->state;
    size_t chunk = (size_t)run->line->number;
    size_t items = chunk == 0 || chunk > 10 ? LARGE_CHUNK_ITEMS : SMALL_CHUNK_ITEMS;
    muster_options options = {.chunk_size = chunk};
    muster_result *result;
    double start = bench_now_us();
    int status = muster_map(state->pool.pool, "nothing", state->items, items, &options, &result);
    *value = (double)items / (bench_now_us() - start) * 1e3;
    muster_result_free(result);
    return status == 0 ? BENCH_OK : bench_muster_failed(run, "map", status);
}

static enum bench_status large_sample(struct bench_run *run, double *value)
{
    struct calls_state *state = run->state;
    double start = bench_now_us();
    for (int i = 0; i < LARGE_CALLS; i++) {
        muster_result *result;
        int status =
            muster_apply(state->pool.pool, "echo", MUSTER_ARGS(muster_bytes(state->large, LARGE)), NULL, &result);
        const muster_value *answer = status == 0 ? muster_result_value(result, 0) : NULL;
        bool whole = answer && answer->size == LARGE;
        muster_result_free(result);
        if (status != 0)
            return bench_muster_failed(run, "1 MiB", status);
        if (!whole)
            return bench_stop(run, BENCH_FAILED, "1 MiB: the result is not the argument");
    }
    *value = 2.0 * LARGE * LARGE_CALLS / (bench_now_us() - start) / 1e3;
    return BENCH_OK;
}

static void calls_close(struct bench_run *run)
{
    struct calls_state *state = run->state;
    if (!state)
        return;
    bench_pool_close(&state->pool);
    free(state->results);
    free(state->items);
    free(state->large);
    free(state);
}

const struct bench_kind muster_apply_kind = {apply_open, apply_sample, calls_close};
const struct bench_kind muster_tasks_kind = {calls_open, tasks_sample, calls_close};
const struct bench_kind muster_map_kind = {calls_open, map_sample, calls_close};
const struct bench_kind muster_large_kind = {calls_open, large_sample, calls_close};
