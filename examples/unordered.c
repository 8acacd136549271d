/*
 * Unordered iteration: muster_imap_unordered() gives each result as soon as it is there. A slow item holds up nobody:
 * the first one is the slowest here, and comes last.
 */
#include <inttypes.h>
#include <muster.h>
#include <stdio.h>
#include <time.h>

static int nap(muster_task *task)
{
    int64_t milliseconds;
    int status = muster_arg_int(task, 0, &milliseconds);
    if (status != 0)
        return status;
    struct timespec time = {milliseconds / 1000, milliseconds % 1000 * 1000000};
    nanosleep(&time, NULL);
    return muster_return_int(task, milliseconds);
}

static int next_nap(muster_value *item, void *arg)
{
    static const int naps[] = {900, 50, 100, 150, 200, 250};
    size_t *at = arg;
    if (*at == sizeof naps / sizeof *naps)
        return 0;
    *item = muster_int(naps[(*at)++]);
    return 1;
}

int main(int argc, char **argv)
{
    static const muster_function functions[] = {{"nap", nap}, {0}};
    muster_init(argc, argv, functions);
    muster_pool *pool;
    muster_iterator *iterator;
    size_t at = 0;
    if (muster_pool_open(&pool, "local:2", NULL) != 0 ||
        muster_imap_unordered(pool, "nap", next_nap, &at, NULL, &iterator) != 0) {
        fprintf(stderr, "%s\n", muster_last_error());
        return 1;
    }
    muster_item item;
    int status;
    while ((status = muster_next(iterator, MUSTER_FOREVER, &item)) == 1)
        if (item.value)
            printf("item %" PRIu64 " slept %" PRId64 " ms\n", item.index, item.value->integer);
    muster_iterator_free(iterator);
    muster_pool_free(pool);
    return status ? 1 : 0;
}
