/*
 * Five tasks on four workers: the fifth starts when one of the others is done, so all of it takes two tasks' time, not
 * five.
 */
#include <muster.h>
#include <stdio.h>
#include <time.h>

static double now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

/* Takes as long as it is told, and says where it ran. */
static int nap(muster_task *task)
{
    double seconds;
    int status = muster_arg_double(task, 0, &seconds);
    if (status != 0)
        return status;
    struct timespec time = {(time_t)seconds, (long)((seconds - (double)(time_t)seconds) * 1e9)};
    nanosleep(&time, NULL);
    return muster_return_string(task, muster_task_worker(task));
}

int main(int argc, char **argv)
{
    static const muster_function functions[] = {{"nap", nap}, {0}};
    muster_init(argc, argv, functions);
    muster_pool *pool;
    if (muster_pool_open(&pool, "local:4", NULL) != 0) {
        fprintf(stderr, "%s\n", muster_last_error());
        return 1;
    }

    muster_result *results[5] = {0};
    double start = now();
    int failures = 0;
    for (int i = 0; i < 5; i++)
        failures += muster_apply_async(pool, "nap", MUSTER_ARGS(muster_double(0.5)), NULL, &results[i]) != 0;
    for (int i = 0; i < 5; i++) {
        const muster_value *worker;
        if (results[i] && muster_get(results[i], MUSTER_FOREVER, &worker) == 0)
            printf("task %d ran on %.*s, done after %.1f s\n", i, (int)worker->size, (const char *)worker->data,
                   now() - start);
        else
            failures++;
        muster_result_free(results[i]);
    }
    muster_pool_free(pool);
    return failures ? 1 : 0;
}
