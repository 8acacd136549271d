/* How soon a pool is of use: from muster_pool_open() to the first result. A fresh pool for each sample. */
#include "bench/muster_pools.h"
#include <stdlib.h>

static enum bench_status open_sample(struct bench_run *run, double *value)
{
    struct bench_pool pool = {0};
    muster_result *result = NULL;
    char plugin[4096], url[] = "local:2";
    const char *plugins[] = {plugin, NULL};
    muster_pool_options options = {.plugins = plugins};
    if (!bench_own_program(plugin, sizeof plugin, "bench_tasks.so"))
        return bench_stop(run, BENCH_MISSING, "bench_tasks.so is not built beside muster-bench (target bench)");
    double start = bench_now_us();
    int status = muster_pool_open(&pool.pool, url, &options);
    if (status != 0)
        return bench_muster_failed(run, url, status);
    status = muster_apply(pool.pool, "nothing", MUSTER_ARGS(bench_argument()), NULL, &result);
    *value = (bench_now_us() - start) / 1e3;
    enum bench_status outcome = status == 0 ? BENCH_OK : bench_muster_failed(run, "apply", status);
    muster_result_free(result);
    bench_pool_close(&pool);
    return outcome;
}

static enum bench_status open_once(struct bench_run *run)
{
    double ignored;
    return open_sample(run, &ignored);
}

static void open_close(struct bench_run *run)
{
    (void)run;
}

const struct bench_kind muster_open_kind = {open_once, open_sample, open_close};
