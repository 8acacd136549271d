/*
 * Tasks that use shared objects.
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "muster.h"

#define WAIT_S 30.0

static int open_queue(muster_task *task, size_t index, muster_queue **queue)
{
    const char *text;
    size_t size;
    char name[256];
    int status = muster_arg_string(task, index, &text, &size);
    if (status != 0)
        return status;
    snprintf(name, sizeof name, "%.*s", (int)size, text);
    return muster_queue_open(queue, NULL, name, NULL);
}

static int failed(muster_task *task, int status)
{
    return status < 0 ? muster_fail(task, "ObjectError", "%d: %s", status, muster_last_error()) : status;
}

/* queue_fill(name, first, count): puts so many numbers, and waits until the coordinator has them. */
static int queue_fill(muster_task *task)
{
    muster_queue *queue;
    int64_t first, count;
    int status = muster_arg_int(task, 1, &first);
    if (status == 0)
        status = muster_arg_int(task, 2, &count);
    if (status == 0)
        status = open_queue(task, 0, &queue);
    if (status != 0)
        return failed(task, status);
    for (int64_t i = 0; i < count && status == 0; i++)
        status = muster_queue_put(queue, muster_int(first + i), WAIT_S);
    if (status == 0)
        status = muster_queue_flush(queue, WAIT_S);
    muster_queue_free(queue);
    return failed(task, status);
}

/* queue_move(from, to): moves items until it finds nil; returns how many. */
static int queue_move(muster_task *task)
{
    muster_queue *from, *to;
    muster_parcel *item;
    int64_t count = 0;
    bool end = false;
    int status = open_queue(task, 0, &from);
    if (status != 0)
        return failed(task, status);
    status = open_queue(task, 1, &to);
    while (status == 0 && !end && (status = muster_queue_get(from, WAIT_S, &item)) == 0) {
        end = item->value.type == MUSTER_TYPE_NIL;
        if (!end)
            status = muster_queue_put(to, item->value, WAIT_S);
        count += !end;
        muster_parcel_free(item);
    }
    if (status == 0)
        status = muster_queue_flush(to, WAIT_S);
    muster_queue_free(from);
    muster_queue_free(to);
    return status == 0 ? muster_return_int(task, count) : failed(task, status);
}

/* queue_hoard(from, pids): takes two items, which makes it one that is given some in advance, tells its process number
 * and takes no more. */
static int queue_hoard(muster_task *task)
{
    muster_queue *from, *pids;
    muster_parcel *item;
    int status = open_queue(task, 0, &from);
    if (status == 0)
        status = open_queue(task, 1, &pids);
    for (int i = 0; i < 2 && status == 0; i++)
        if ((status = muster_queue_get(from, WAIT_S, &item)) == 0)
            muster_parcel_free(item);
    if (status == 0)
        status = muster_queue_flush(from, WAIT_S); /* the coordinator has heard of both */
    if (status == 0)
        status = muster_queue_put(pids, muster_int(getpid()), WAIT_S);
    while (status == 0)
        pause();
    return failed(task, status);
}

/* queue_wait(name): waits for an item for ever. */
static int queue_wait(muster_task *task)
{
    muster_queue *queue;
    muster_parcel *item;
    int status = open_queue(task, 0, &queue);
    if (status == 0) {
        status = muster_queue_get(queue, MUSTER_FOREVER, &item);
        if (status == 0)
            muster_parcel_free(item);
        muster_queue_free(queue);
    }
    return status;
}

/* lock_hold(lock, pids): acquires the lock, tells its process number, and keeps it. */
static int lock_hold(muster_task *task)
{
    muster_queue *pids;
    muster_lock *lock = NULL;
    const char *text;
    size_t size;
    char name[256];
    int status = muster_arg_string(task, 0, &text, &size);
    if (status == 0) {
        snprintf(name, sizeof name, "%.*s", (int)size, text);
        status = muster_lock_open(&lock, NULL, name, NULL);
    }
    if (status == 0)
        status = open_queue(task, 1, &pids);
    if (status == 0)
        status = muster_lock_acquire(lock, WAIT_S, NULL);
    if (status == 0)
        status = muster_queue_put(pids, muster_int(getpid()), WAIT_S);
    while (status == 0)
        pause();
    return failed(task, status);
}

/* lock_count(lock, file, times): adds one to the number in the file so often, under the lock. */
static int lock_count(muster_task *task)
{
    muster_lock *lock;
    const char *name, *path;
    size_t name_size, path_size;
    int64_t times, number;
    char file_name[512], lock_name[256];
    int status = muster_arg_string(task, 0, &name, &name_size);
    if (status == 0)
        status = muster_arg_string(task, 1, &path, &path_size);
    if (status == 0)
        status = muster_arg_int(task, 2, &times);
    if (status != 0)
        return status;
    snprintf(lock_name, sizeof lock_name, "%.*s", (int)name_size, name);
    snprintf(file_name, sizeof file_name, "%.*s", (int)path_size, path);
    status = muster_lock_open(&lock, NULL, lock_name, NULL);
    if (status != 0)
        return failed(task, status);
    for (; times > 0 && (status = muster_lock_acquire(lock, WAIT_S, NULL)) == 0; times--) {
        FILE *file = fopen(file_name, "r+");
        if (!file || fscanf(file, "%" SCNd64, &number) != 1)
            status = muster_fail(task, "FileError", "%s cannot be read", file_name);
        else
            rewind(file);
        if (status == 0)
            fprintf(file, "%" PRId64 "\n", number + 1);
        if (file)
            fclose(file);
        int released = muster_lock_release(lock);
        if (status != 0 || (status = released) != 0)
            break;
    }
    muster_lock_free(lock);
    return status == MUSTER_ETASK ? status : failed(task, status);
}

static const muster_function functions[] = {{"queue_fill", queue_fill},
                                            {"queue_move", queue_move},
                                            {"queue_hoard", queue_hoard},
                                            {"queue_wait", queue_wait},
                                            {"lock_hold", lock_hold},
                                            {"lock_count", lock_count},
                                            {0}};

MUSTER_PLUGIN(functions);
