/*
 * Counters, as muster.h gives them.
 */
#include "bindings/c/object.h"
#include "bindings/c/pool.h"

struct muster_counter {
    struct object_handle handle; /* first */
};

static int counter_open(muster_counter **counter, muster_pool *pool, const char *name,
                        const struct message_object_open *open, double timeout)
{
    if (!counter)
        return error_set(MUSTER_EINVAL, "there is nowhere to put the counter: the first argument is NULL");
    *counter = NULL;
    muster_counter *made = memory_zero(sizeof *made);
    if (!made)
        return error_memory();
    int status = object_open(&made->handle, pool, "counter", name, open, timeout);
    if (status != 0) {
        memory_free(made);
        return status;
    }
    *counter = made;
    return 0;
}

int muster_counter_open(muster_counter **counter, muster_pool *pool, const char *name, int64_t value,
                        const muster_counter_options *options)
{
    static const muster_counter_options none;
    struct message_object_open open = {.kind = OBJECT_COUNTER, .first = (uint64_t)value};
    if (!options)
        options = &none;
    int status = object_open_flags(&open, "counter", name, options->existing, options->persistent);
    return status ? status : counter_open(counter, pool, name, &open, options->connect_timeout);
}

int muster_counter_open_id(muster_counter **counter, muster_pool *pool, uint64_t id)
{
    struct message_object_open open = {.kind = OBJECT_COUNTER, .object = id};
    if (id == 0)
        return error_set(MUSTER_EINVAL, "0 is not the id of a counter");
    return counter_open(counter, pool, NULL, &open, 0);
}

uint64_t muster_counter_id(const muster_counter *counter)
{
    return counter ? counter->handle.shared->id : 0;
}

void muster_counter_free(muster_counter *counter)
{
    if (!counter)
        return;
    object_close(&counter->handle);
    memory_free(counter);
}

/* Sends a request about the counter and waits. *value (may be NULL) is set also if the answer is EAGAIN. */
static int request(muster_counter *counter, const char *what, struct message *message, uint64_t deadline_ns,
                   int64_t *value)
{
    int status = object_check((struct object_handle *)counter, what);
    struct object_call *call = status == 0 ? object_call_new() : NULL;
    if (!call)
        return status ? status : MUSTER_ENOMEM;
    struct object_home *home = counter->handle.home;
    pthread_mutex_lock(home->mutex);
    status = sharing_counter(home->sharing, counter->handle.shared, &call->call, message);
    status = object_call_end(home, &call, status, deadline_ns);
    if (call && value && (status == 0 || status == MUSTER_EAGAIN))
        *value = (int64_t)call->call.number;
    object_call_free(home, call);
    pthread_mutex_unlock(home->mutex);
    return status;
}

int muster_counter_add(muster_counter *counter, int64_t amount, int64_t *value)
{
    struct message message = {.type = MESSAGE_COUNTER_ADD};
    message.counter_add.amount = (uint64_t)amount;
    return request(counter, "muster_counter_add", &message, wait_deadline(ANSWER_TIMEOUT_S), value);
}

int muster_counter_get(muster_counter *counter, int64_t *value)
{
    if (!value)
        return error_set(MUSTER_EINVAL, "there is nowhere to put the value: the second argument is NULL");
    return muster_counter_add(counter, 0, value);
}

int muster_counter_set(muster_counter *counter, int64_t value)
{
    struct message message = {.type = MESSAGE_COUNTER_SET};
    message.counter_set.value = (uint64_t)value;
    return request(counter, "muster_counter_set", &message, wait_deadline(ANSWER_TIMEOUT_S), NULL);
}

int muster_counter_swap(muster_counter *counter, int64_t expected, int64_t value, int64_t *found)
{
    struct message message = {.type = MESSAGE_COUNTER_SET};
    message.counter_set.flags = COUNTER_IF_EQUAL;
    message.counter_set.value = (uint64_t)value;
    message.counter_set.expected = (uint64_t)expected;
    int status = request(counter, "muster_counter_swap", &message, wait_deadline(ANSWER_TIMEOUT_S), found);
    if (status == 0 && found)
        *found = expected;
    return status;
}

int muster_counter_wait(muster_counter *counter, int64_t known, double timeout, int64_t *value)
{
    uint64_t deadline_ns;
    bool no_wait;
    int status = object_deadline(timeout, &deadline_ns, &no_wait);
    if (status != 0)
        return status;
    struct message message = {.type = MESSAGE_COUNTER_WAIT};
    message.counter_wait.flags = no_wait ? OBJECT_NO_WAIT : 0;
    message.counter_wait.value = (uint64_t)known;
    return request(counter, "muster_counter_wait", &message, deadline_ns, value);
}
