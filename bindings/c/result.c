/*
 * Result handles: outcomes come in as messages, values and errors go out as views.
 *
 * A scalar result is decoded when it arrives and needs no memory beyond the handle. Anything longer is kept as the one
 * block (or shared-memory segment) that it came in, and the values are views into it: the ten thousand results of a
 * chunk are not copied one by one.
 */
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "bindings/c/pool.h"
#include "core/unpack.h"

/* --- handles ------------------------------------------------------------------------------------------------------ */

muster_result *result_create(muster_pool *pool, const char *function, size_t calls, size_t count,
                             const muster_options *options)
{
    if (calls > SIZE_MAX / 4 / sizeof(struct call) || count > SIZE_MAX / 4 / sizeof(slot))
        return NULL;
    size_t head = (sizeof(muster_result) + 15) / 16 * 16;
    muster_result *result = memory_zero(head + count * sizeof(slot) + calls * sizeof(struct call));
    if (!result)
        return NULL;
    atomic_init(&result->references, 2);
    result->fd = -1;
    result->pool = pool;
    result->function = function;
    result->count = count;
    result->call_count = result->remaining = calls;
    result->slots = (slot *)((char *)result + head);
    result->calls = (struct call *)(result->slots + count);
    for (size_t i = 0; i < calls; i++)
        result->calls[i].result = result;
    if (options) {
        result->on_success = options->on_success;
        result->on_error = options->on_error;
        result->on_progress = options->on_progress;
        result->arg = options->arg;
    }
    pool_retain(pool);
    return result;
}

static void call_free(struct call *call)
{
    argument_segment_release(call->result->pool, call->arguments, false);
    memory_free(call->block);
    if (call->mapped) {
        segment_unmap(call->mapped);
        memory_free(call->mapped);
    }
}

static void result_destroy(muster_result *result)
{
    for (size_t i = 0; i < result->call_count; i++)
        call_free(&result->calls[i]);
    while (result->failures) {
        struct failure *failure = result->failures;
        result->failures = failure->next;
        memory_free(failure);
    }
    if (result->fd >= 0)
        close(result->fd);
    muster_pool *pool = result->pool;
    memory_free(result);
    pool_release(pool);
}

void result_release(muster_result *result)
{
    if (atomic_fetch_sub_explicit(&result->references, 1, memory_order_acq_rel) == 1)
        result_destroy(result);
}

void result_discard(muster_result *result)
{
    result_destroy(result);
}

/* --- failures ----------------------------------------------------------------------------------------------------- */

/* Used when there is no memory even for the failure. */
static struct failure memory_failure = {.error = {.status = MUSTER_ENOMEM,
                                                  .kind = "",
                                                  .message = "memory ran out when the outcome arrived",
                                                  .traceback = "",
                                                  .function = "",
                                                  .worker = "",
                                                  .host = "",
                                                  .exit_status = -1}};

static const char *put_text(char **at, struct bytes text)
{
    char *start = *at;
    if (text.length > 0)
        memcpy(start, text.data, text.length);
    start[text.length] = '\0';
    *at = start + text.length + 1;
    return start;
}

static void put_value(muster_error *error, char *at, const struct message_failed *failed)
{
    if (failed->value.length == 0)
        return;
    error->value = memcpy(at, failed->value.data, failed->value.length);
    error->value_size = failed->value.length;
    error->encoding = failed->encoding <= MUSTER_PICKLE ? (enum muster_encoding)failed->encoding : MUSTER_RAW;
}

static struct failure *failure_create(muster_result *result, const struct message_failed *failed)
{
    size_t length = failed->kind.length + failed->message.length + failed->traceback.length + failed->worker.length +
                    failed->host.length + 5 + failed->value.length;
    struct failure *failure = memory_zero(sizeof *failure + length);
    if (!failure)
        return &memory_failure;
    char *at = failure->text;
    failure->error = (muster_error){.status = -(int)failed->status,
                                    .kind = put_text(&at, failed->kind),
                                    .message = put_text(&at, failed->message),
                                    .traceback = put_text(&at, failed->traceback),
                                    .worker = put_text(&at, failed->worker),
                                    .host = put_text(&at, failed->host),
                                    .function = result->function,
                                    .pid = (int64_t)failed->pid,
                                    .signal = (int)failed->signal,
                                    .exit_status = (int)failed->exit_status,
                                    .item = (size_t)result->base + (size_t)failed->item};
    put_value(&failure->error, at, failed);
    if (failure->error.status >= 0 || failure->error.status < MUSTER_EINTERNAL)
        failure->error.status = MUSTER_EPROTOCOL;
    failure->next = result->failures;
    result->failures = failure;
    return failure;
}

static void slot_fail(muster_result *result, size_t index, struct failure *failure)
{
    result->slots[index] = (slot){.type = (enum muster_type)SLOT_FAILED, .data = failure};
    if (!result->first_failure || index < result->first_failed) {
        result->first_failure = failure;
        result->first_failed = index;
        result->status = failure->error.status;
    }
}

/* `failed->item` counts from the call's first item. */
static void call_fail(struct call *call, const struct message_failed *failed)
{
    struct message_failed at = *failed;
    at.item = call->first + (failed->item < call->items ? failed->item : 0);
    struct failure *failure = failure_create(call->result, &at);
    for (size_t i = 0; i < call->items; i++)
        slot_fail(call->result, call->first + i, failure);
}

static void call_fail_with(struct call *call, int status, const char *reason)
{
    struct message_failed failed = {.status = (uint64_t)-status, .message = bytes_string(reason), .exit_status = -1};
    call_fail(call, &failed);
}

/* --- values ------------------------------------------------------------------------------------------------------- */

/* Maps the segment that the value names. The name goes at once: the mapping keeps the memory, whatever dies next. */
static int map_value(struct call *call, struct bytes name, struct bytes *payload)
{
    struct segment *segment = memory_zero(sizeof *segment);
    if (!segment)
        return MUSTER_ENOMEM;
    int status = segment_open(segment, name);
    segment_unlink(name);
    if (status != 0) {
        memory_free(segment);
        return status;
    }
    call->mapped = segment;
    *payload = (struct bytes){segment->data, segment->length};
    return 0;
}

static int copy_value(struct call *call, struct bytes value, struct bytes *payload)
{
    call->block = memory_alloc(value.length);
    if (!call->block)
        return MUSTER_ENOMEM;
    if (value.length > 0)
        memcpy(call->block, value.data, value.length);
    *payload = (struct bytes){call->block, value.length};
    return 0;
}

/* [0, bytes, encoding]: an item that is a whole payload. */
static bool opaque_read(struct bytes *payload, muster_value *value)
{
    struct bytes data;
    uint64_t encoding;
    if (!unpack_data(payload, &data) || !unpack_uint(payload, &encoding) || encoding > MUSTER_PICKLE)
        return false;
    *value = muster_opaque((enum muster_encoding)encoding, data.data, data.length);
    return true;
}

/* One item of a chunk's value: [0, value], [0, bytes, encoding], [status, kind, message, traceback], or the last with
 * encoding and bytes of a value behind it. */
static bool item_read(muster_result *result, size_t index, struct bytes *payload)
{
    size_t fields;
    int64_t status;
    if (!unpack_array(payload, &fields) || !unpack_sint(payload, &status))
        return false;
    if (status == 0 && fields == 3)
        return opaque_read(payload, &result->slots[index]);
    if (status == 0)
        return fields == 2 && value_read(payload, &result->slots[index]);
    struct message_failed failed = {
        .status = status < 0 ? -(uint64_t)status : (uint64_t)status, .exit_status = -1, .item = index};
    if ((fields != 4 && fields != 6) || !unpack_text(payload, &failed.kind) || !unpack_text(payload, &failed.message) ||
        !unpack_text(payload, &failed.traceback))
        return false;
    if (fields == 6 && (!unpack_uint(payload, &failed.encoding) || !unpack_data(payload, &failed.value)))
        return false;
    slot_fail(result, index, failure_create(result, &failed));
    return true;
}

static bool chunk_read(struct call *call, struct bytes payload)
{
    size_t count;
    if (!unpack_array(&payload, &count) || count != call->items)
        return false;
    for (size_t i = 0; i < count; i++)
        if (!item_read(call->result, call->first + i, &payload))
            return false;
    return payload.length == 0;
}

static bool scalar(const muster_value *value)
{
    return value->type <= MUSTER_TYPE_DOUBLE;
}

static void call_take(struct call *call, const struct message_done *done)
{
    enum muster_encoding encoding = (enum muster_encoding)(done->encoding & ~(uint64_t)ENCODING_SEGMENT);
    bool shared = done->encoding & ENCODING_SEGMENT;
    slot *first = &call->result->slots[call->first];
    struct bytes payload;
    if (call->plain && !shared && encoding == MUSTER_MSGPACK && value_decode(done->value, encoding, first) &&
        scalar(first))
        return;
    int status = shared ? map_value(call, done->value, &payload) : copy_value(call, done->value, &payload);
    if (status != 0)
        call_fail_with(call, status, "the result arrived but could not be stored");
    else if (call->plain ? !value_decode(payload, encoding, first) : !chunk_read(call, payload))
        call_fail_with(call, MUSTER_EENCODING, "the worker returned bytes that are not well-formed msgpack");
}

/* --- outcomes ----------------------------------------------------------------------------------------------------- */

static void count_outcome(muster_stats *stats, const struct message *message)
{
    if (message->type == MESSAGE_DONE)
        stats->succeeded++;
    else if (message->failed.status == -MUSTER_ECANCELED || message->failed.status == -MUSTER_ECLOSED)
        stats->cancelled++;
    else if (message->failed.status == -MUSTER_ETIMEDOUT)
        stats->timed_out++;
    else if (message->failed.status == -MUSTER_ELOST)
        stats->lost++;
    else
        stats->failed++;
}

/* A task that may have been given to two workers, by a retry or because it was submitted again to another coordinator,
 * can still be running at the one that was thought to be gone. */
static bool ran_once(const struct call *call)
{
    return call->once && call->opening == call->result->pool->openings;
}

void result_outcome(struct call *call, const struct message *message)
{
    muster_result *result = call->result;
    count_outcome(&result->pool->stats, message);
    call->done = true;
    if (message->type == MESSAGE_DONE)
        call_take(call, &message->done);
    else
        call_fail(call, &message->failed);
    argument_segment_release(result->pool, call->arguments, message->type == MESSAGE_DONE && ran_once(call));
    call->arguments = NULL;
    if (--result->remaining == 0)
        result_complete(result);
}

void result_fail(struct call *call, int status, const char *reason)
{
    call->done = true;
    call_fail_with(call, status, reason);
    if (--call->result->remaining == 0)
        result_complete(call->result);
}

static void signal_fd(int fd)
{
    uint64_t one = 1;
    if (fd >= 0 && write(fd, &one, sizeof one) < 0)
        return; /* the counter is full: it is readable all the same */
}

void result_complete(muster_result *result)
{
    atomic_store_explicit(&result->ready, true, memory_order_release);
    signal_fd(result->fd);
    waitlist_wake(&result->waiters);
    callbacks_result(result->pool, result);
    if (result->iterator)
        iterator_result_ready(result->iterator, result);
    result_release(result);
}

/* --- the public functions ----------------------------------------------------------------------------------------- */

static int result_check(const muster_result *result)
{
    return result ? pool_check(result->pool) : error_set(MUSTER_EINVAL, "the result is NULL");
}

bool muster_ready(const muster_result *result)
{
    return result && atomic_load_explicit(&result->ready, memory_order_acquire);
}

bool muster_successful(const muster_result *result)
{
    return muster_ready(result) && result->status == 0;
}

int result_wait(muster_result *result, uint64_t deadline_ns)
{
    while (!muster_ready(result)) {
        pthread_mutex_lock(&result->pool->mutex);
        pool_flush(result->pool);
        if (muster_ready(result)) {
            pthread_mutex_unlock(&result->pool->mutex);
            break;
        }
        if (!waitlist_sleep(&result->waiters, &result->pool->mutex, deadline_ns) && !muster_ready(result))
            return error_set(MUSTER_ETIMEDOUT, "%s: the result was not ready in time", result->function);
    }
    return 0;
}

int muster_wait(muster_result *result, double timeout)
{
    if (muster_ready(result))
        return 0;
    int status = result_check(result);
    if (status == 0 && timeout == 0)
        return error_set(MUSTER_ETIMEDOUT, "%s: the result is not ready", result->function);
    if (status == 0)
        status = callbacks_refuse(result->pool, "waiting for a result");
    return status ? status : result_wait(result, wait_deadline(timeout));
}

int result_status(const muster_result *result)
{
    if (result->status == 0)
        return 0;
    const muster_error *error = &result->first_failure->error;
    const char *message = *error->message ? error->message : muster_strerror(error->status);
    const char *colon = *error->kind ? ": " : "";
    if (result->count > 1)
        return error_set(error->status, "%s, item %zu: %s%s%s", result->function, error->item, error->kind, colon,
                         message);
    return error_set(error->status, "%s: %s%s%s", result->function, error->kind, colon, message);
}

int muster_get(muster_result *result, double timeout, const muster_value **value)
{
    if (value)
        *value = NULL;
    int status = muster_wait(result, timeout);
    if (status == 0)
        status = result_status(result);
    if (status == 0 && value && result->count == 1)
        *value = &result->slots[0];
    return status;
}

void result_cancel(muster_result *result)
{
    muster_pool *pool = result->pool;
    if (pool->freed)
        return;
    for (size_t i = 0; i < result->call_count; i++)
        if (!result->calls[i].done && result->calls[i].number)
            client_cancel(pool->client, result->calls[i].number);
    pool->backend.flush(pool->backend.self);
}

int muster_cancel(muster_result *result)
{
    if (muster_ready(result))
        return 0;
    int status = result_check(result);
    if (status != 0)
        return status;
    pthread_mutex_lock(&result->pool->mutex);
    result_cancel(result);
    pthread_mutex_unlock(&result->pool->mutex);
    return 0;
}

int muster_result_fd(muster_result *result)
{
    int status = result_check(result);
    if (status != 0)
        return status;
    pthread_mutex_lock(&result->pool->mutex);
    if (result->fd < 0) {
        result->fd = eventfd(muster_ready(result) ? 1 : 0, EFD_CLOEXEC | EFD_NONBLOCK);
        status = result->fd < 0 ? error_errno("a descriptor for the result") : 0;
    }
    int fd = result->fd;
    pthread_mutex_unlock(&result->pool->mutex);
    return status ? status : fd;
}

size_t muster_result_count(const muster_result *result)
{
    return result ? result->count : 0;
}

const muster_value *muster_result_value(const muster_result *result, size_t index)
{
    if (!muster_ready(result) || index >= result->count)
        return NULL;
    const slot *at = &result->slots[index];
    return (int)at->type == SLOT_FAILED ? NULL : at;
}

const muster_error *muster_result_error(const muster_result *result, size_t index)
{
    if (!muster_ready(result))
        return NULL;
    if (index == SIZE_MAX)
        return result->first_failure ? &result->first_failure->error : NULL;
    if (index >= result->count || (int)result->slots[index].type != SLOT_FAILED)
        return NULL;
    return &((const struct failure *)result->slots[index].data)->error;
}

void muster_result_free(muster_result *result)
{
    if (!result || pool_forked(result->pool))
        return;
    result_release(result);
}
