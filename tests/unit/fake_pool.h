/*
 * A pool whose coordinator is the test: what is submitted is kept, and the test gives the outcomes when it likes.
 */
#ifndef TESTS_UNIT_FAKE_POOL_H
#define TESTS_UNIT_FAKE_POOL_H

#include "bindings/c/pool.h"
#include "core/pack.h"

#define FAKE_TASKS 4096

struct fake_task {
    uint64_t number, items, encoding, flags;
    size_t length;
    unsigned char args[256];
};

/* All of it guarded by the pool's mutex. */
struct fake {
    muster_pool *pool;
    struct fake_task tasks[FAKE_TASKS];
    size_t submitted, cancelled, requests, defined, last_body;
    uint64_t last_cancelled, last_request;
    bool finished, finished_now;
    atomic_bool stopped; /* by whatever thread frees the pool */
};

static struct fake *fake;

static int fake_send(void *arg, const struct message *message)
{
    (void)arg;
    if (message->type == MESSAGE_SUBMIT) {
        const struct message_submit *submit = &message->submit;
        struct fake_task *task = &fake->tasks[fake->submitted++ % FAKE_TASKS];
        *task = (struct fake_task){submit->number, submit->items,       submit->encoding,
                                   submit->flags,  submit->args.length, {0}};
        memcpy(task->args, submit->args.data, task->length < sizeof task->args ? task->length : sizeof task->args);
    } else if (message->type == MESSAGE_DEFINE) {
        fake->defined++;
        fake->last_body = message->define.body.length;
    } else if (message->type == MESSAGE_CANCEL) {
        fake->cancelled++;
        fake->last_cancelled = message->cancel.number;
    } else if (message->type == MESSAGE_STATUS) {
        fake->requests++;
        fake->last_request = message->status.request;
    }
    return 0;
}

static void fake_flush(void *self)
{
    (void)self;
}

static bool fake_flush_later(void *self, bool busy)
{
    (void)busy;
    fake_flush(self);
    return false;
}

static int fake_finish(void *self, bool now)
{
    (void)self;
    fake->finished = true;
    fake->finished_now = fake->finished_now || now;
    return 0;
}

static bool fake_over(void *self)
{
    (void)self;
    return fake->finished;
}

static void fake_stop(void *self)
{
    (void)self;
    fake->stopped = true;
}

static int fake_open(muster_pool *pool, const char *url, const muster_pool_options *options)
{
    (void)url;
    fake->pool = pool;
    pool->backend =
        (struct backend){fake_send, fake_flush, fake_flush_later, fake_finish, fake_over, fake_stop, fake, NEVER_NS};
    pool->workers = 2;
    pool->connected = true;
    pool_connected(pool, 1000000, false);
    int status = client_create(&pool->client, &pool_client_events, pool, fake_send, fake);
    if (status == 0)
        client_limits(pool->client, options->window_tasks, 0);
    return status;
}

static inline int fake_setup_with(void **state, const muster_pool_options *options)
{
    muster_pool *pool;
    fake = memory_zero(sizeof *fake);
    int status = pool_open(&pool, "fake:", options, fake_open);
    *state = pool;
    return status;
}

static inline int fake_setup(void **state)
{
    return fake_setup_with(state, &(muster_pool_options){0});
}

static inline int fake_teardown(void **state)
{
    muster_pool_free(*state);
    memory_free(fake);
    return 0;
}

static inline void fake_message(const struct message *message)
{
    pthread_mutex_lock(&fake->pool->mutex);
    client_message(fake->pool->client, message);
    pthread_mutex_unlock(&fake->pool->mutex);
}

/* The number of the i-th submitted task. */
static inline uint64_t fake_number(size_t i)
{
    pthread_mutex_lock(&fake->pool->mutex);
    uint64_t number = fake->tasks[i % FAKE_TASKS].number;
    pthread_mutex_unlock(&fake->pool->mutex);
    return number;
}

static inline size_t fake_submitted(void)
{
    pthread_mutex_lock(&fake->pool->mutex);
    size_t submitted = fake->submitted;
    pthread_mutex_unlock(&fake->pool->mutex);
    return submitted;
}

static inline void fake_done_bytes(size_t i, enum muster_encoding encoding, const void *data, size_t length)
{
    struct message message = {.type = MESSAGE_DONE};
    message.done.number = fake_number(i);
    message.done.encoding = encoding;
    message.done.value = (struct bytes){data, length};
    fake_message(&message);
}

static inline void fake_done_int(size_t i, int64_t value)
{
    unsigned char bytes[PACK_HEAD_BYTES];
    fake_done_bytes(i, MUSTER_MSGPACK, bytes, (size_t)(pack_sint(bytes, value) - bytes));
}

static inline void fake_fail(size_t i, int status, const char *kind, const char *text, uint64_t item)
{
    struct message message = {.type = MESSAGE_FAILED};
    message.failed = (struct message_failed){.number = fake_number(i),
                                             .status = (uint64_t)-status,
                                             .kind = bytes_string(kind),
                                             .message = bytes_string(text),
                                             .worker = bytes_string("here/0"),
                                             .host = bytes_string("here"),
                                             .pid = 42,
                                             .signal = 9,
                                             .exit_status = -1,
                                             .item = item};
    fake_message(&message);
}

#endif
