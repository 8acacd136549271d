/*
 * Cancelling: a task that has not started never starts; one that runs is asked to stop (muster_cancelled()), and
 * killed if it does not listen within the grace time. The outcome is MUSTER_ECANCELED in every case, and arrives once.
 */
#include <muster.h>
#include <stdio.h>
#include <time.h>

static void pause_ms(long milliseconds)
{
    struct timespec time = {0, milliseconds * 1000000};
    nanosleep(&time, NULL);
}

/* Listens: cleans up and leaves when it is asked to. */
static int polite(muster_task *task)
{
    muster_progress(task, 0, 0, "started");
    while (!muster_cancelled(task))
        pause_ms(10);
    return MUSTER_ECANCELED;
}

/* Does not listen: is killed, and its worker replaced. */
static int rude(muster_task *task)
{
    muster_progress(task, 0, 0, "started");
    for (;;)
        pause_ms(10);
    return 0;
}

static void progress(muster_result *result, size_t item, double done, double total, const char *text, void *arg)
{
    (void)result, (void)item, (void)done, (void)total;
    printf("%s has %s: cancelling it\n", (const char *)arg, text);
    muster_cancel(result);
}

static void failed(muster_result *result, void *arg)
{
    printf("%s: %s\n", (const char *)arg, muster_strerror(muster_result_error(result, 0)->status));
}

static int submit(muster_pool *pool, const char *function, const char *name, muster_result **result)
{
    muster_options options = {.grace = 0.3, .on_error = failed, .on_progress = progress, .arg = (void *)name};
    return muster_apply_async(pool, function, MUSTER_NO_ARGS, &options, result);
}

int main(int argc, char **argv)
{
    static const muster_function functions[] = {{"polite", polite}, {"rude", rude}, {0}};
    muster_init(argc, argv, functions);
    muster_pool *pool;
    muster_result *results[3] = {0};
    if (muster_pool_open(&pool, "local:2", NULL) != 0 || submit(pool, "polite", "the polite one", &results[0]) != 0 ||
        submit(pool, "rude", "the rude one", &results[1]) != 0 ||
        submit(pool, "polite", "the one that waits", &results[2]) != 0) {
        fprintf(stderr, "%s\n", muster_last_error());
        return 1;
    }
    muster_cancel(results[2]); /* both workers are busy: this one never starts */
    int cancelled = 0;
    for (int i = 0; i < 3; i++) {
        cancelled += muster_get(results[i], 10, NULL) == MUSTER_ECANCELED;
        muster_result_free(results[i]);
    }
    muster_pool_close(pool);
    muster_pool_join(pool, MUSTER_FOREVER);
    muster_pool_free(pool);
    return cancelled == 3 ? 0 : 1;
}
