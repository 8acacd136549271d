/* Opening and closing what the muster lines measure. */
#include "bench/muster_pools.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

enum bench_status bench_muster_failed(struct bench_run *run, const char *what, int status)
{
    const char *detail = muster_last_error();
    return bench_stop(run, BENCH_FAILED, "%s: %s", what, detail[0] ? detail : muster_strerror(status));
}

muster_value bench_argument(void)
{
    static const char bytes[MUSTER_ARGUMENT] = "0123456789abcde";
    return muster_bytes(bytes, sizeof bytes);
}

double bench_resident_bytes(pid_t pid)
{
    char path[64];
    long total = 0, resident = -1;
    snprintf(path, sizeof path, "/proc/%d/statm", (int)pid);
    FILE *file = fopen(path, "re");
    if (file) {
        if (fscanf(file, "%ld %ld", &total, &resident) != 2)
            resident = -1;
        fclose(file);
    }
    return (double)resident * (double)sysconf(_SC_PAGESIZE);
}

double bench_cpu_seconds(pid_t pid)
{
    char path[64], text[1024];
    unsigned long user = 0, system = 0;
    snprintf(path, sizeof path, "/proc/%d/stat", (int)pid);
    FILE *file = fopen(path, "re");
    if (!file)
        return -1;
    text[fread(text, 1, sizeof text - 1, file)] = 0;
    fclose(file);
    /* The name in brackets may hold anything; 11 fields follow it before the times. */
    const char *after = strrchr(text, ')');
    if (!after || sscanf(after + 1, " %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu", &user, &system) != 2)
        return -1;
    return (double)(user + system) / (double)sysconf(_SC_CLK_TCK);
}

static enum bench_status find_plugin(struct bench_run *run, char *path, size_t size)
{
    /* A module is no program; it only has to be readable, and is executable by habit of the linker. */
    return bench_own_program(path, size, "bench_tasks.so")
               ? BENCH_OK
               : bench_stop(run, BENCH_MISSING, "bench_tasks.so is not built beside muster-bench (target bench)");
}

/* A thousand peers need two descriptors each in musterd and in the program that plays them. */
static void raise_descriptor_limit(void)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
        limit.rlim_cur = limit.rlim_max;
        setrlimit(RLIMIT_NOFILE, &limit);
    }
}

enum bench_status bench_musterd_start(struct bench_run *run, struct bench_pool *pool, const char *scheme, int workers)
{
    char daemon[4096], worker[4096], plugin[4096], count[16];
    enum bench_status status = find_plugin(run, plugin, sizeof plugin);
    if (status != BENCH_OK)
        return status;
    if (!bench_own_program(daemon, sizeof daemon, "musterd") ||
        !bench_own_program(worker, sizeof worker, "muster-worker"))
        return bench_stop(run, BENCH_MISSING, "musterd and muster-worker are not built beside muster-bench");
    if (strcmp(scheme, "tcp") == 0)
        snprintf(pool->url, sizeof pool->url, "tcp://127.0.0.1:%d", bench_free_port());
    else
        snprintf(pool->url, sizeof pool->url, "ipc://%s/musterd", run->directory);
    raise_descriptor_limit();
    char *daemon_argv[] = {daemon, "--listen", pool->url, NULL};
    if (helper_start(&pool->daemon, daemon_argv, 0, NULL) != 0)
        return bench_stop(run, BENCH_FAILED, "%s does not start", daemon);
    snprintf(count, sizeof count, "%d", workers);
    char *worker_argv[] = {worker, "-n", count, pool->url, "--load", plugin, NULL};
    if (workers > 0 && helper_start(&pool->supervisor, worker_argv, 0, NULL) != 0)
        return bench_stop(run, BENCH_FAILED, "%s does not start", worker);
    return BENCH_OK;
}

static enum bench_status wait_workers(struct bench_run *run, struct bench_pool *pool, int workers)
{
    const struct timespec step = {.tv_nsec = 5 * 1000 * 1000};
    double deadline = bench_now_us() + MUSTER_PATIENCE * 1e6;
    while (muster_pool_workers(pool->pool) < workers) {
        if (bench_now_us() > deadline)
            return bench_stop(run, BENCH_FAILED, "%d of %d workers came", muster_pool_workers(pool->pool), workers);
        nanosleep(&step, NULL);
    }
    return BENCH_OK;
}

enum bench_status bench_pool_open(struct bench_run *run, struct bench_pool *pool, const char *where, int workers,
                                  size_t window)
{
    char plugin[4096];
    const char *plugins[] = {plugin, NULL};
    muster_pool_options options = {.window_tasks = window, .connect_timeout = MUSTER_PATIENCE};
    enum bench_status status = find_plugin(run, plugin, sizeof plugin);
    if (status != BENCH_OK)
        return status;
    if (strcmp(where, "local") == 0) {
        snprintf(pool->url, sizeof pool->url, "local:%d", workers);
        options.plugins = plugins;
    } else if ((status = bench_musterd_start(run, pool, where, workers)) != BENCH_OK) {
        return status;
    }
    int error = muster_pool_open(&pool->pool, pool->url, &options);
    if (error != 0) {
        pool->pool = NULL;
        return bench_muster_failed(run, pool->url, error);
    }
    return wait_workers(run, pool, workers);
}

void bench_pool_close(struct bench_pool *pool)
{
    if (pool->pool)
        muster_pool_free(pool->pool);
    pool->pool = NULL;
    helper_end(&pool->supervisor);
    helper_end(&pool->daemon);
}
