/*
 * map and starmap: many items in chunks, each chunk one task with so many items.
 *
 * A chunk's payload is a msgpack array of argument lists, its value an array with [0, value] or [status, kind, message,
 * traceback] for each. The automatic chunk size is what multiprocessing's users are used to, four chunks for each
 * worker, so that uneven items even out; and it is bounded in bytes, so that big items do not make a few huge tasks.
 */
#include "bindings/c/pool.h"
#include "core/pack.h"

#define CHUNKS_PER_WORKER 4
#define CHUNK_BYTES (256 * 1024) /* of arguments, beyond which the automatic choice does not go */

/* The items of a map or a starmap: one of the two. */
struct items {
    const muster_value *values;
    const muster_args *calls;
    size_t count;
};

/* Some of them, to be packed as one task. */
struct range {
    const struct items *items;
    size_t first, count;
};

static muster_args item_args(const struct items *items, size_t index)
{
    return items->calls ? items->calls[index] : (muster_args){&items->values[index], 1};
}

static void pack_range(unsigned char *at, const void *arg)
{
    const struct range *range = arg;
    at = pack_array(at, range->count);
    for (size_t i = 0; i < range->count; i++)
        at = args_pack(at, item_args(range->items, range->first + i));
}

static void store_range(struct segment_writer *out, const void *arg)
{
    const struct range *range = arg;
    array_head_store(out, range->count);
    for (size_t i = 0; i < range->count; i++)
        args_store(out, item_args(range->items, range->first + i));
}

static void pack_single(unsigned char *at, const void *arg)
{
    const struct range *range = arg;
    args_pack(at, item_args(range->items, range->first));
}

static void store_single(struct segment_writer *out, const void *arg)
{
    const struct range *range = arg;
    args_store(out, item_args(range->items, range->first));
}

/* Measures the items from range->first on, as many as one chunk takes: at most range->count, and at most CHUNK_BYTES
 * unless the caller chose the size. An opaque item is a whole payload and so a task of its own. */
static int range_measure(struct range *range, bool bounded, struct packing *packing)
{
    size_t total = 0, limit = range->count;
    *packing = (struct packing){.pack = pack_range, .store = store_range, .arg = range};
    for (range->count = 0; range->count < limit; range->count++) {
        size_t size;
        int status = args_measure(item_args(range->items, range->first + range->count), &packing->encoding, &size);
        if (status != 0)
            return status;
        muster_args args = item_args(range->items, range->first + range->count);
        bool opaque = args.count == 1 && args.values[0].type == MUSTER_TYPE_OPAQUE;
        if (range->count > 0 && (opaque || (bounded && total + size > CHUNK_BYTES)))
            break;
        total += size;
        if (opaque) {
            packing->pack = pack_single;
            packing->store = store_single;
            packing->size = total;
            range->count = 1;
            return 0;
        }
    }
    packing->encoding = MUSTER_MSGPACK;
    packing->items = range->count;
    packing->size = total + array_head_size(range->count);
    return 0;
}

static size_t automatic_chunk(muster_pool *pool, size_t count)
{
    pthread_mutex_lock(&pool->mutex);
    size_t workers = pool->workers > pool->worker_target ? pool->workers : pool->worker_target;
    pthread_mutex_unlock(&pool->mutex);
    size_t chunks = (workers ? workers : 1) * CHUNKS_PER_WORKER;
    return count / chunks + (count % chunks != 0);
}

/* Cuts the items into calls. Called twice: without `calls` it checks every item and counts. */
static int cut(muster_pool *pool, const struct items *items, size_t chunk, bool bounded, struct call *calls,
               size_t *count)
{
    struct packing packing;
    size_t first = 0;
    for (*count = 0; first < items->count; (*count)++) {
        struct range range = {items, first, chunk < items->count - first ? chunk : items->count - first};
        int status = range_measure(&range, bounded, &packing);
        if (status != 0)
            return status;
        if (packing.size > atomic_load(&pool->payload_limit))
            return error_set(MUSTER_ELIMIT, "items %zu to %zu are %zu bytes of arguments; the limit is %zu", first,
                             first + range.count - 1, packing.size, (size_t)pool->payload_limit);
        if (calls) {
            calls[*count].first = first;
            calls[*count].items = range.count;
        }
        first += range.count;
    }
    return 0;
}

/* Submitting stopped at call `from`: those before it are cancelled, those from it on will never have an outcome. */
static void give_up(muster_pool *pool, muster_result *result, size_t from)
{
    pthread_mutex_lock(&pool->mutex);
    result->on_success = result->on_error = NULL;
    result->on_progress = NULL;
    result->remaining -= result->call_count - from;
    bool over = result->remaining == 0;
    if (over)
        result_complete(result);
    else
        result_cancel(result);
    pthread_mutex_unlock(&pool->mutex);
    result_release(result);
}

static int submit_calls(muster_pool *pool, muster_result *result, const struct items *items,
                        const struct call_terms *terms, bool bounded)
{
    for (size_t i = 0; i < result->call_count; i++) {
        struct call *call = &result->calls[i];
        struct packing packing;
        struct range range = {items, call->first, call->items};
        int status = range_measure(&range, bounded, &packing);
        if (status == 0)
            status = call_submit(pool, call, terms, &packing);
        if (status == 0)
            continue;
        give_up(pool, result, i);
        return status;
    }
    return 0;
}

/* A map without items has succeeded already. */
static void complete_empty(muster_pool *pool, muster_result *result)
{
    pthread_mutex_lock(&pool->mutex);
    result_complete(result);
    pthread_mutex_unlock(&pool->mutex);
}

static int room_check(muster_pool *pool, size_t calls, const struct call_terms *terms)
{
    if (!terms->nonblocking)
        return 0;
    pthread_mutex_lock(&pool->mutex);
    size_t room = pool->client ? client_room(pool->client) : 0;
    int status = pool_ready(pool, false);
    pthread_mutex_unlock(&pool->mutex);
    if (status == 0 && calls > room)
        status = error_set(MUSTER_EAGAIN, "%zu chunks, and room for %zu in the window", calls, room);
    return status;
}

static int map(muster_pool *pool, const char *function, const struct items *items, const muster_options *options,
               muster_result **result, bool dropped)
{
    struct call_terms terms;
    size_t calls, chunk = options ? options->chunk_size : 0;
    bool bounded = chunk == 0;
    int status = terms_make(&terms, pool, function, options);
    if (bounded)
        chunk = automatic_chunk(pool, items->count);
    if (status == 0)
        status = cut(pool, items, chunk, bounded, NULL, &calls);
    if (status == 0)
        status = room_check(pool, calls, &terms);
    if (status != 0)
        return status;
    muster_result *made = result_create(pool, terms.call.function, calls, items->count, options);
    if (!made)
        return error_memory();
    cut(pool, items, chunk, bounded, made->calls, &calls);
    if (items->count == 0)
        complete_empty(pool, made);
    else if ((status = submit_calls(pool, made, items, &terms, bounded)) != 0)
        return status;
    if (dropped)
        result_release(made);
    else
        *result = made;
    return 0;
}

static int map_async(muster_pool *pool, const char *function, const struct items *items, const muster_options *options,
                     muster_result **result)
{
    if (result)
        *result = NULL;
    int status = pool_check(pool);
    if (status == 0 && items->count > 0 && !items->values && !items->calls)
        status = error_set(MUSTER_EINVAL, "%zu items, but they are NULL", items->count);
    return status ? status : map(pool, function, items, options, result, !result);
}

static int map_wait(muster_pool *pool, const char *function, const struct items *items, const muster_options *options,
                    muster_result **result)
{
    muster_result *made = NULL;
    if (result)
        *result = NULL;
    int status = pool_check(pool);
    if (status == 0)
        status = callbacks_refuse(pool, "muster_map");
    if (status == 0)
        status = map_async(pool, function, items, options, &made);
    if (status != 0)
        return status;
    result_wait(made, NEVER_NS);
    status = result_status(made);
    if (result)
        *result = made;
    else
        muster_result_free(made);
    return status;
}

int muster_map(muster_pool *pool, const char *function, const muster_value *values, size_t count,
               const muster_options *options, muster_result **result)
{
    return map_wait(pool, function, &(struct items){.values = values, .count = count}, options, result);
}

int muster_map_async(muster_pool *pool, const char *function, const muster_value *values, size_t count,
                     const muster_options *options, muster_result **result)
{
    return map_async(pool, function, &(struct items){.values = values, .count = count}, options, result);
}

int muster_starmap(muster_pool *pool, const char *function, const muster_args *calls, size_t count,
                   const muster_options *options, muster_result **result)
{
    return map_wait(pool, function, &(struct items){.calls = calls, .count = count}, options, result);
}

int muster_starmap_async(muster_pool *pool, const char *function, const muster_args *calls, size_t count,
                         const muster_options *options, muster_result **result)
{
    return map_async(pool, function, &(struct items){.calls = calls, .count = count}, options, result);
}
