/*
 * Definitions: a handle keeps what the client logic (bindings/c/client.c) has of a function with a body, so that a call
 * names it by a pointer and nothing of the body is looked at again.
 */
#include "bindings/c/pool.h"
#include "core/pack.h"

#define MESSAGE_OVERHEAD 128 /* room for the other fields beside the body in a message */

static int define_locked(muster_pool *pool, struct muster_definition *made, struct bytes body,
                         const char *const *labels)
{
    int status = pool_ready(pool, false);
    if (status == 0)
        status = client_define(pool->client, made->function, labels, body, &made->definition);
    return status;
}

/* Bytes of the message that defines it. */
static size_t message_size(const char *function, size_t size, const char *const *labels)
{
    size_t total = MESSAGE_OVERHEAD + strlen(function);
    for (; labels && *labels; labels++)
        total += PACK_HEAD_BYTES + strlen(*labels);
    return size < SIZE_MAX - total ? total + size : SIZE_MAX;
}

static int define_check(const muster_pool *pool, const char *function, const void *body, size_t size,
                        const char *const *labels, muster_definition **definition)
{
    size_t limit = atomic_load(&pool->payload_limit);
    if (!definition)
        return error_set(MUSTER_EINVAL, "there is nowhere to put the definition: the last argument is NULL");
    if (!function || !*function)
        return error_set(MUSTER_EINVAL, "the name of the function is %s", function ? "empty" : "NULL");
    if (!body && size > 0)
        return error_set(MUSTER_EINVAL, "%s: a body of %zu bytes at NULL", function, size);
    if (message_size(function, size, labels) > limit)
        return error_set(MUSTER_ELIMIT,
                         "%s: a body of %zu bytes; with its name and labels the limit is %zu "
                         "(--payload-limit)",
                         function, size, limit);
    return 0;
}

int muster_define(muster_pool *pool, const char *function, const void *body, size_t size, const char *const *labels,
                  muster_definition **definition)
{
    if (definition)
        *definition = NULL;
    int status = pool_check(pool);
    if (status == 0)
        status = define_check(pool, function, body, size, labels, definition);
    if (status != 0)
        return status;
    struct muster_definition *made = memory_zero(sizeof *made);
    if (!made)
        return error_memory();
    made->pool = pool;
    made->function = pool_intern(pool, function);
    if (made->function) {
        pthread_mutex_lock(&pool->mutex);
        status = define_locked(pool, made, (struct bytes){body, size}, labels);
        pthread_mutex_unlock(&pool->mutex);
    } else {
        status = error_memory();
    }
    if (status != 0) {
        memory_free(made);
        return status;
    }
    pool_retain(pool);
    *definition = made;
    return 0;
}

void muster_definition_free(muster_definition *definition)
{
    if (!definition || pool_forked(definition->pool))
        return;
    muster_pool *pool = definition->pool;
    pthread_mutex_lock(&pool->mutex);
    if (pool->client)
        client_undefine(definition->definition);
    pthread_mutex_unlock(&pool->mutex);
    memory_free(definition);
    pool_release(pool);
}
