/*
 * A pool in one file: the program is its own worker. muster_init() returns in the process that you started; in the
 * workers, which are this program started again, it serves and never returns.
 *
 *     cc pool.c $(pkg-config --cflags --libs muster) -o pool && ./pool
 */
#include <inttypes.h>
#include <muster.h>
#include <stdio.h>

static int square(muster_task *task)
{
    int64_t x;
    int status = muster_arg_int(task, 0, &x);
    return status ? status : muster_return_int(task, x * x);
}

int main(int argc, char **argv)
{
    static const muster_function functions[] = {{"square", square}, {0}};
    muster_init(argc, argv, functions);

    muster_pool *pool;
    if (muster_pool_open(&pool, "local:", NULL) != 0) {
        fprintf(stderr, "%s\n", muster_last_error());
        return 1;
    }

    /* One call, and wait for it. */
    muster_result *result;
    int status = muster_apply(pool, "square", MUSTER_ARGS(muster_int(12)), NULL, &result);
    if (status == 0)
        printf("12 squared is %" PRId64 "\n", muster_result_value(result, 0)->integer);
    muster_result_free(result);

    /* Many calls; the results come in the order of the items. */
    muster_value items[10];
    for (int i = 0; i < 10; i++)
        items[i] = muster_int(i);
    if (status == 0)
        status = muster_map(pool, "square", items, 10, NULL, &result);
    if (status == 0) {
        for (size_t i = 0; i < muster_result_count(result); i++)
            printf("%" PRId64 " ", muster_result_value(result, i)->integer);
        putchar('\n');
        muster_result_free(result);
    }

    if (status != 0)
        fprintf(stderr, "%s\n", muster_last_error());
    muster_pool_free(pool);
    return status ? 1 : 0;
}
