/*
 * What bindings for other languages build on: the parts of single calls (call.c) and of maps (map.c), put together
 * another way.
 */
#include "bindings/c/binding.h"

#include "bindings/c/pool.h"

static void pack_call(unsigned char *at, const void *arg)
{
    args_pack(at, *(const muster_args *)arg);
}

static void store_call(struct segment_writer *out, const void *arg)
{
    args_store(out, *(const muster_args *)arg);
}

int binding_create(muster_pool *pool, size_t count, const muster_options *options, muster_result **result)
{
    struct call_terms terms;
    *result = NULL;
    int status = pool_check(pool);
    if (status == 0)
        status = terms_make(&terms, pool, NULL, options);
    if (status != 0)
        return status;
    muster_result *made = result_create(pool, terms.call.function, count, count, options);
    if (!made)
        return error_memory();
    for (size_t i = 0; i < count; i++) {
        made->calls[i].first = i;
        made->calls[i].items = 1;
    }
    if (count == 0) {
        pthread_mutex_lock(&pool->mutex);
        result_complete(made);
        pthread_mutex_unlock(&pool->mutex);
    }
    *result = made;
    return 0;
}

static int room_check(muster_pool *pool, size_t calls)
{
    pthread_mutex_lock(&pool->mutex);
    size_t room = pool->client ? client_room(pool->client) : 0;
    int status = pool_ready(pool, false);
    pthread_mutex_unlock(&pool->mutex);
    if (status == 0 && calls > room)
        status = error_set(MUSTER_EAGAIN, "%zu calls, and room for %zu in the window", calls, room);
    return status;
}

int binding_submit(muster_result *result, size_t first, size_t count, const muster_args *calls,
                   const muster_options *options, unsigned flags, size_t *submitted)
{
    struct call_terms terms;
    muster_pool *pool = result->pool;
    *submitted = 0;
    int status = pool_check(pool);
    if (status == 0)
        status = terms_make(&terms, pool, NULL, options);
    terms.nonblocking = flags & MUSTER_NONBLOCK;
    if (status == 0 && terms.nonblocking && count > 1)
        status = room_check(pool, count);
    for (size_t i = 0; status == 0 && i < count; i++) {
        struct packing packing = {.pack = pack_call, .store = store_call, .arg = &calls[i]};
        status = args_measure(calls[i], &packing.encoding, &packing.size);
        if (status == 0)
            status = call_submit(pool, &result->calls[first + i], &terms, &packing);
        if (status == 0)
            ++*submitted;
    }
    return status;
}

bool binding_abandon(muster_result *result, size_t first)
{
    muster_pool *pool = result->pool;
    if (pool_forked(pool))
        return false;
    pthread_mutex_lock(&pool->mutex);
    bool told = muster_ready(result);
    if (!told) {
        result->on_success = result->on_error = NULL;
        result->on_progress = NULL;
        result->remaining -= result->call_count - first;
        if (result->remaining == 0)
            result_complete(result);
        else
            result_cancel(result);
    }
    pthread_mutex_unlock(&pool->mutex);
    return told;
}

int binding_watch(muster_result *result, muster_callback *callback, void *arg)
{
    muster_pool *pool = result->pool;
    int status = pool_check(pool);
    if (status != 0)
        return status;
    pthread_mutex_lock(&pool->mutex);
    bool ready = muster_ready(result);
    if (!ready)
        status = callbacks_start(pool);
    if (!ready && status == 0) {
        result->on_success = result->on_error = callback;
        result->arg = arg;
        status = 1;
    }
    pthread_mutex_unlock(&pool->mutex);
    return status;
}

struct bytes binding_payload(const muster_result *result, size_t index)
{
    if (!muster_ready(result) || index >= result->call_count || !muster_result_value(result, index))
        return (struct bytes){NULL, 0};
    const struct call *call = &result->calls[index];
    if (call->mapped)
        return (struct bytes){call->mapped->data, call->mapped->length};
    const slot *value = &result->slots[index];
    if (!call->block || !value->data)
        return (struct bytes){NULL, 0};
    const char *start = call->block, *end = (const char *)value->data + value->size;
    return (struct bytes){start, (size_t)(end - start)};
}
