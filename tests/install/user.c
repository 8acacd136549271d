/* The smallest user of an installed muster: a pool whose workers are this program, and one call. */
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
    muster_result *result = NULL;
    int status = muster_pool_open(&pool, "local:1", NULL);
    if (status == 0) {
        status = muster_apply(pool, "square", MUSTER_ARGS(muster_int(7)), NULL, &result);
        if (status == 0)
            printf("%lld\n", (long long)muster_result_value(result, 0)->integer);
        muster_result_free(result);
        muster_pool_free(pool);
    }
    if (status != 0)
        fprintf(stderr, "%s\n", muster_last_error());
    return status != 0;
}
