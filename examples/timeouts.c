/*
 * Two kinds of time-out. The caller's patience: muster_get() with a time-out gives up waiting, the task goes on. The
 * task's limit: options.time_limit ends the task itself, politely first (muster_cancelled() becomes true, blocking
 * calls are interrupted), then by SIGKILL, and the worker is replaced.
 */
#include <muster.h>
#include <stdio.h>
#include <time.h>

static int nap(muster_task *task)
{
    double seconds;
    int status = muster_arg_double(task, 0, &seconds);
    if (status != 0)
        return status;
    struct timespec time = {(time_t)seconds, (long)((seconds - (double)(time_t)seconds) * 1e9)};
    while (nanosleep(&time, &time) != 0)
        continue; /* rude: goes on sleeping when it is asked to stop */
    return muster_return_string(task, "slept well");
}

static void show(const char *what, int status)
{
    printf("%-22s %s (%s)\n", what, status ? muster_last_error() : "ok", muster_strerror(status));
}

int main(int argc, char **argv)
{
    static const muster_function functions[] = {{"nap", nap}, {0}};
    muster_init(argc, argv, functions);
    muster_pool *pool;
    muster_result *result;
    if (muster_pool_open(&pool, "local:2", NULL) != 0 ||
        muster_apply_async(pool, "nap", MUSTER_ARGS(muster_double(0.5)), NULL, &result) != 0) {
        fprintf(stderr, "%s\n", muster_last_error());
        return 1;
    }

    int impatient = muster_get(result, 0.1, NULL);
    show("after 0.1 s:", impatient);
    int patient = muster_get(result, MUSTER_FOREVER, NULL);
    show("with patience:", patient);
    muster_result_free(result);

    muster_options options = {.time_limit = 0.3, .grace = 0.2};
    int limited = muster_apply(pool, "nap", MUSTER_ARGS(muster_double(60)), &options, NULL);
    show("limit of 0.3 s:", limited);
    int after = muster_apply(pool, "nap", MUSTER_ARGS(muster_double(0)), NULL, NULL);
    show("the pool afterwards:", after);

    muster_pool_free(pool);
    return impatient == MUSTER_ETIMEDOUT && patient == 0 && limited == MUSTER_ETIMEDOUT && after == 0 ? 0 : 1;
}
