/*
 * A pool as a home of shared objects.
 */
#include "bindings/c/pool.h"

#define ITEM_OVERHEAD 128 /* room for the other fields beside an item in a message */

static int check(void *self, const char *what, bool waits)
{
    muster_pool *pool = self;
    int status = pool_check(pool);
    return status == 0 && waits ? callbacks_refuse(pool, what) : status;
}

static int ready(void *self)
{
    muster_pool *pool = self;
    int status = pool_ready(pool, true);
    return status == 0 && !pool->connected ? MUSTER_ECONNECT : status;
}

static size_t longest(void *self)
{
    muster_pool *pool = self;
    size_t limit = atomic_load(&pool->payload_limit);
    return limit > ITEM_OVERHEAD ? limit - ITEM_OVERHEAD : 0;
}

static void flush(void *self)
{
    muster_pool *pool = self;
    pool->backend.flush(pool->backend.self);
}

static void flush_later(void *self)
{
    muster_pool *pool = self;
    if (pool->backend.flush_later(pool->backend.self, false))
        pool->unflushed = true;
}

static void retain(void *self)
{
    pool_retain(self);
}

static void release(void *self)
{
    pool_release(self);
}

int pool_home_open(muster_pool *pool, client_send *send, void *arg)
{
    pool->home = (struct object_home){.mutex = &pool->mutex,
                                      .check = check,
                                      .ready = ready,
                                      .longest = longest,
                                      .flush = flush,
                                      .flush_later = flush_later,
                                      .retain = retain,
                                      .release = release,
                                      .self = pool};
    return sharing_create(&pool->home.sharing, &object_home_events, &pool->home, send, arg);
}

void pool_home_renew(muster_pool *pool)
{
    sharing_renew(pool->home.sharing);
    object_home_wake(&pool->home);
}

void pool_home_end(muster_pool *pool, int status, const char *text)
{
    if (!pool->home.sharing)
        return;
    sharing_end(pool->home.sharing, status, text);
    object_home_wake(&pool->home);
}
