/*
 * Callbacks: on_success and on_error are called once for each call, on_progress when a task reports. They run in one
 * thread of the pool, one at a time, in the order of completion, so they need no lock among themselves.
 */
#include <inttypes.h>
#include <muster.h>
#include <stdio.h>

/* Adds up 1..n, with reports on the way; refuses negative numbers. */
static int sum(muster_task *task)
{
    int64_t n, total = 0;
    int status = muster_arg_int(task, 0, &n);
    if (status != 0)
        return status;
    if (n < 0)
        return muster_fail(task, "ValueError", "%" PRId64 " is negative", n);
    for (int64_t i = 1; i <= n; i++) {
        total += i;
        if (i % (1 << 24) == 0)
            muster_progress(task, (double)i, (double)n, NULL);
    }
    return muster_return_int(task, total);
}

static void success(muster_result *result, void *arg)
{
    int *outcomes = arg;
    ++*outcomes;
    printf("the sum is %" PRId64 "\n", muster_result_value(result, 0)->integer);
}

static void error(muster_result *result, void *arg)
{
    int *outcomes = arg;
    const muster_error *why = muster_result_error(result, 0);
    ++*outcomes;
    printf("failed: %s: %s\n", why->kind, why->message);
}

static void progress(muster_result *result, size_t item, double done, double total, const char *text, void *arg)
{
    (void)result, (void)item, (void)text, (void)arg;
    printf("  %.0f %%\n", 100 * done / total);
}

int main(int argc, char **argv)
{
    static const muster_function functions[] = {{"sum", sum}, {0}};
    muster_init(argc, argv, functions);
    muster_pool *pool;
    if (muster_pool_open(&pool, "local:2", NULL) != 0) {
        fprintf(stderr, "%s\n", muster_last_error());
        return 1;
    }
    static const int64_t numbers[] = {10, -1, 1000, INT64_C(400000000)};
    int outcomes = 0, calls = 0;
    muster_options options = {.on_success = success, .on_error = error, .on_progress = progress, .arg = &outcomes};
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) /* no handles: the callbacks are all we want */
        calls += muster_apply_async(pool, "sum", MUSTER_ARGS(muster_int(numbers[i])), &options, NULL) == 0;
    muster_pool_close(pool);
    muster_pool_join(pool, MUSTER_FOREVER); /* all outcomes are there, all callbacks have run */
    printf("%d of %d calls have their outcome\n", outcomes, calls);
    muster_pool_free(pool);
    return outcomes == calls && calls == 4 ? 0 : 1;
}
