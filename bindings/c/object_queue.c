/*
 * Queues, as muster.h gives them.
 */
#include "bindings/c/object.h"
#include "bindings/c/pool.h"
#include "bindings/c/value.h"

#define PIPELINE 256 /* puts into a queue with a maximum that are under way together */

struct muster_queue {
    struct object_handle handle; /* first */
};

/* --- opening ------------------------------------------------------------------------------------------------------ */

static int queue_open(muster_queue **queue, muster_pool *pool, const char *name, const struct message_object_open *open,
                      double timeout)
{
    if (!queue)
        return error_set(MUSTER_EINVAL, "there is nowhere to put the queue: the first argument is NULL");
    *queue = NULL;
    muster_queue *made = memory_zero(sizeof *made);
    if (!made)
        return error_memory();
    int status = object_open(&made->handle, pool, "queue", name, open, timeout);
    if (status != 0) {
        memory_free(made);
        return status;
    }
    *queue = made;
    return 0;
}

int muster_queue_open(muster_queue **queue, muster_pool *pool, const char *name, const muster_queue_options *options)
{
    static const muster_queue_options none;
    if (!options)
        options = &none;
    struct message_object_open open = {.kind = OBJECT_QUEUE, .first = options->maximum};
    int status = object_open_flags(&open, "queue", name, options->existing, options->persistent);
    return status ? status : queue_open(queue, pool, name, &open, options->connect_timeout);
}

int muster_queue_open_id(muster_queue **queue, muster_pool *pool, uint64_t id)
{
    struct message_object_open open = {.kind = OBJECT_QUEUE, .object = id};
    if (id == 0)
        return error_set(MUSTER_EINVAL, "0 is not the id of a queue");
    return queue_open(queue, pool, NULL, &open, 0);
}

void muster_queue_free(muster_queue *queue)
{
    if (!queue)
        return;
    object_close(&queue->handle);
    memory_free(queue);
}

uint64_t muster_queue_id(const muster_queue *queue)
{
    return queue ? queue->handle.shared->id : 0;
}

size_t muster_queue_maximum(const muster_queue *queue)
{
    return queue ? (size_t)queue->handle.shared->maximum : 0;
}

/* --- putting ------------------------------------------------------------------------------------------------------ */

/* Into a queue without a maximum. Mutex held. */
static int put_ahead(muster_queue *queue, const struct object_bytes *item, uint64_t deadline_ns, bool no_wait)
{
    struct object_home *home = queue->handle.home;
    int status;
    while ((status = sharing_put_ahead(home->sharing, queue->handle.shared, item->encoding, item->bytes)) ==
           MUSTER_EAGAIN) {
        if (no_wait)
            return error_set(MUSTER_EAGAIN, "the coordinator has no room for more items now");
        home->flush(home->self);
        if ((status = object_wait_changed(home, deadline_ns)) != 0)
            return status;
    }
    if (status == 0)
        home->flush_later(home->self);
    return status;
}

static struct object_call *put_begin(muster_queue *queue, const struct object_bytes *item, bool no_wait, int *status)
{
    struct object_home *home = queue->handle.home;
    struct object_call *call = object_call_new();
    *status = call ? sharing_put(home->sharing, queue->handle.shared, &call->call, no_wait, item->encoding, item->bytes)
                   : MUSTER_ENOMEM;
    if (*status == 0)
        return call;
    memory_free(call);
    return NULL;
}

int muster_queue_put(muster_queue *queue, muster_value item, double timeout)
{
    uint64_t deadline_ns;
    bool no_wait;
    struct object_bytes packed;
    int status = object_check((struct object_handle *)queue, "muster_queue_put");
    if (status == 0)
        status = object_deadline(timeout, &deadline_ns, &no_wait);
    if (status == 0)
        status = object_pack(queue->handle.home, &item, &packed);
    if (status != 0)
        return status;
    struct object_home *home = queue->handle.home;
    pthread_mutex_lock(home->mutex);
    if (queue->handle.shared->maximum == 0) {
        status = put_ahead(queue, &packed, deadline_ns, no_wait);
    } else {
        struct object_call *call = put_begin(queue, &packed, no_wait, &status);
        if (call) {
            home->flush(home->self);
            status = object_call_wait(home, &call, deadline_ns);
            object_call_free(home, call);
        }
    }
    pthread_mutex_unlock(home->mutex);
    object_pack_free(&packed);
    return status;
}

/* A stretch of items into a queue with a maximum: sent together, then waited for one after the other. Those that are
 * in are the first ones. Mutex held. Gives how many are in. */
static size_t put_stretch(muster_queue *queue, const muster_value *items, size_t count, uint64_t deadline_ns,
                          bool no_wait, int *status)
{
    struct object_home *home = queue->handle.home;
    struct object_call *calls[PIPELINE];
    struct object_bytes packed;
    size_t sent = 0, done = 0;
    for (*status = 0; *status == 0 && sent < count; sent += *status == 0) {
        *status = object_pack(home, &items[sent], &packed);
        if (*status != 0)
            break;
        calls[sent] = put_begin(queue, &packed, no_wait, status);
        object_pack_free(&packed);
    }
    home->flush(home->self);
    int failed = 0;
    bool silent = false; /* the coordinator does not answer: each wait more would be in vain */
    for (size_t i = 0; i < sent; i++) {
        /* When one has failed, those behind it are withdrawn, so that what is in has no gaps. */
        for (size_t later = sent; failed && later > i; later--)
            sharing_withdraw(home->sharing, &calls[later - 1]->call);
        if (failed)
            home->flush(home->self);
        int answer = silent && !calls[i]->call.done ? failed : object_call_wait(home, &calls[i], deadline_ns);
        silent |= !calls[i];
        done += answer == 0;
        if (answer != 0 && !failed)
            failed = answer;
        object_call_free(home, calls[i]);
    }
    if (failed)
        *status = failed;
    return done;
}

int muster_queue_put_many(muster_queue *queue, const muster_value *items, size_t count, double timeout, size_t *put)
{
    uint64_t deadline_ns;
    bool no_wait;
    size_t done = 0;
    int status = object_check((struct object_handle *)queue, "muster_queue_put_many");
    if (status == 0)
        status = object_deadline(timeout, &deadline_ns, &no_wait);
    if (status == 0 && !items && count > 0)
        status = error_set(MUSTER_EINVAL, "there are no items: the second argument is NULL");
    if (put)
        *put = 0;
    if (status != 0)
        return status;
    struct object_home *home = queue->handle.home;
    pthread_mutex_lock(home->mutex);
    while (status == 0 && done < count) {
        size_t stretch = count - done < PIPELINE ? count - done : PIPELINE;
        if (queue->handle.shared->maximum != 0) {
            done += put_stretch(queue, items + done, stretch, deadline_ns, no_wait, &status);
            continue;
        }
        struct object_bytes packed;
        status = object_pack(home, &items[done], &packed);
        if (status == 0) {
            status = put_ahead(queue, &packed, deadline_ns, no_wait);
            object_pack_free(&packed);
        }
        done += status == 0;
    }
    pthread_mutex_unlock(home->mutex);
    if (put)
        *put = done;
    return status;
}

/* --- getting ------------------------------------------------------------------------------------------------------ */

static muster_parcel *parcel_open(struct parcel *parcel)
{
    struct bytes payload = {parcel->bytes, parcel->length};
    enum muster_encoding encoding = (enum muster_encoding)parcel->encoding;
    if (!value_decode(payload, encoding, &parcel->item.value))
        parcel->item.value = muster_opaque(encoding, parcel->bytes, parcel->length); /* as it came */
    return &parcel->item;
}

void muster_parcel_free(muster_parcel *parcel)
{
    memory_free(parcel);
}

/* At least one item, at most `most`. Mutex held. A count, or a status. */
static int get_items(muster_queue *queue, size_t most, uint64_t deadline_ns, bool no_wait, muster_parcel **items)
{
    struct object_home *home = queue->handle.home;
    struct shared *shared = queue->handle.shared;
    struct parcel *parcel;
    int count = 0;
    while ((size_t)count < most && (parcel = sharing_take(home->sharing, shared)))
        items[count++] = parcel_open(parcel);
    if (count > 0) {
        home->flush_later(home->self);
        return count;
    }
    struct object_call *call = object_call_new();
    int status = call ? sharing_get(home->sharing, shared, &call->call, most, no_wait) : MUSTER_ENOMEM;
    if (status != 0) {
        memory_free(call);
        return status;
    }
    home->flush(home->self);
    status = object_call_wait(home, &call, deadline_ns);
    while (call && status == 0 && (parcel = call->call.parcels.first)) {
        call->call.parcels.first = parcel->next;
        items[count++] = parcel_open(parcel);
    }
    if (call)
        call->call.parcels = (struct parcels){0};
    object_call_free(home, call);
    return status ? status : count;
}

int muster_queue_get_many(muster_queue *queue, size_t most, double timeout, muster_parcel **items)
{
    uint64_t deadline_ns;
    bool no_wait;
    int status = object_check((struct object_handle *)queue, "muster_queue_get");
    if (status == 0)
        status = object_deadline(timeout, &deadline_ns, &no_wait);
    if (status == 0 && (!items || most == 0))
        status = error_set(MUSTER_EINVAL, "there is no room for an item");
    if (status != 0)
        return status;
    struct object_home *home = queue->handle.home;
    pthread_mutex_lock(home->mutex);
    status = get_items(queue, most < INT32_MAX ? most : INT32_MAX, deadline_ns, no_wait, items);
    pthread_mutex_unlock(home->mutex);
    return status;
}

int muster_queue_get(muster_queue *queue, double timeout, muster_parcel **item)
{
    int status = muster_queue_get_many(queue, 1, timeout, item);
    return status < 0 ? status : 0;
}

/* --- questions ---------------------------------------------------------------------------------------------------- */

/* Asks and waits. With `numbers`, those of the answer are put there. */
static int ask(muster_queue *queue, const char *what, enum queue_question question, double timeout, uint64_t *numbers)
{
    uint64_t deadline_ns;
    bool no_wait;
    int status = object_check((struct object_handle *)queue, what);
    if (status == 0)
        status = object_deadline(timeout, &deadline_ns, &no_wait);
    struct object_call *call = status == 0 ? object_call_new() : NULL;
    if (!call)
        return status ? status : MUSTER_ENOMEM;
    struct object_home *home = queue->handle.home;
    pthread_mutex_lock(home->mutex);
    status = sharing_ask(home->sharing, queue->handle.shared, &call->call, question);
    if (status == 0 && no_wait)
        sharing_withdraw(home->sharing, &call->call);
    status = object_call_end(home, &call, status, deadline_ns);
    if (status == 0 && numbers)
        memcpy(numbers, call->call.numbers, QUEUE_STATS_COUNT * sizeof *numbers);
    object_call_free(home, call);
    pthread_mutex_unlock(home->mutex);
    return status;
}

int muster_queue_stats(muster_queue *queue, muster_queue_statistics *statistics)
{
    uint64_t numbers[QUEUE_STATS_COUNT];
    if (!statistics)
        return error_set(MUSTER_EINVAL, "there is nowhere to put the statistics: the second argument is NULL");
    int status = ask(queue, "muster_queue_stats", QUEUE_STATS, ANSWER_TIMEOUT_S, numbers);
    if (status == 0)
        *statistics = (muster_queue_statistics){numbers[0], numbers[1], numbers[2], numbers[3], numbers[4], numbers[5],
                                                numbers[6], numbers[7], numbers[8], numbers[9], numbers[10]};
    return status;
}

int muster_queue_flush(muster_queue *queue, double timeout)
{
    return ask(queue, "muster_queue_flush", QUEUE_FLUSH, timeout, NULL);
}

int muster_queue_join(muster_queue *queue, double timeout)
{
    return ask(queue, "muster_queue_join", QUEUE_JOIN, timeout, NULL);
}

int muster_queue_finished(muster_queue *queue, size_t count)
{
    int status = object_check((struct object_handle *)queue, "muster_queue_finished");
    struct object_call *call = status == 0 ? object_call_new() : NULL;
    if (!call)
        return status ? status : MUSTER_ENOMEM;
    struct object_home *home = queue->handle.home;
    pthread_mutex_lock(home->mutex);
    status = sharing_finished(home->sharing, queue->handle.shared, &call->call, count);
    status = object_call_end(home, &call, status, wait_deadline(ANSWER_TIMEOUT_S));
    object_call_free(home, call);
    pthread_mutex_unlock(home->mutex);
    return status;
}
