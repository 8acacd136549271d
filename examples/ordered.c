/*
 * Ordered iteration: muster_imap() gives results in the order of the input, each as soon as it and those before it are
 * there. The input is made lazily: here it has no end, and the program simply stops reading.
 */
#include <inttypes.h>
#include <muster.h>
#include <stdio.h>

static int collatz(muster_task *task)
{
    int64_t n, steps = 0;
    int status = muster_arg_int(task, 0, &n);
    if (status != 0)
        return status;
    for (; n > 1; steps++)
        n = n % 2 ? 3 * n + 1 : n / 2;
    return muster_return_int(task, steps);
}

/* All the numbers from 1 on. */
static int count_up(muster_value *item, void *arg)
{
    int64_t *n = arg;
    *item = muster_int(++*n);
    return 1;
}

int main(int argc, char **argv)
{
    static const muster_function functions[] = {{"collatz", collatz}, {0}};
    muster_init(argc, argv, functions);
    muster_pool *pool;
    muster_iterator *iterator;
    int64_t last = 0;
    muster_options options = {.window = 100}; /* at most 100 numbers ahead of what was printed */
    if (muster_pool_open(&pool, "local:", NULL) != 0 ||
        muster_imap(pool, "collatz", count_up, &last, &options, &iterator) != 0) {
        fprintf(stderr, "%s\n", muster_last_error());
        return 1;
    }
    muster_item item;
    int status;
    while ((status = muster_next(iterator, MUSTER_FOREVER, &item)) == 1 && item.value && item.index < 20)
        printf("%" PRIu64 " takes %" PRId64 " steps\n", item.index + 1, item.value->integer);
    muster_iterator_free(iterator); /* cancels what is under way */
    muster_pool_free(pool);
    return status == 1 ? 0 : 1;
}
