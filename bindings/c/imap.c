/*
 * Lazy iteration. The generator is read only inside muster_imap*() and muster_next(), in the consumer's thread, and
 * only as far ahead as the window; so ten million items need the memory of one window, and a consumer that stops
 * reading stops everything.
 *
 * Every chunk is a result of its own, so outcomes, errors and callbacks come the same way as everywhere. A result is in
 * one of two lists: `pending` in the order of submission, and, only when the order does not matter, `done` in the order
 * of completion. The window has room for a chunk or the chunk waits: chunks are never made smaller because the consumer
 * takes one item at a time.
 */
#include <stdio.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "bindings/c/pool.h"
#include "core/pack.h"

#define CHUNK_BYTES (1024 * 1024) /* a chunk that has gathered so much is sent, whatever its number of items */
#define WINDOW_PER_WORKER 2

struct results {
    muster_result *first, *last;
};

/* A chunk that waits for room in the pool's window. Its result is pending already. */
struct unsent {
    struct unsent *next;
    muster_result *result;
    struct buffer payload;
    enum muster_encoding encoding;
    bool plain;
};

/* Down to current_slot everything belongs to the thread whose turn it is; the rest is guarded by the pool's mutex. */
struct muster_iterator {
    muster_pool *pool;
    muster_options options; /* callbacks; its labels point into label_block */
    struct call_terms terms;
    char *label_block;
    muster_generator *next;
    void *arg;
    bool ordered;
    size_t chunk_size, window; /* items */
    uint64_t taken;            /* from the generator */
    size_t ahead;              /* of these, not delivered yet */
    struct buffer gathered;    /* argument lists of the chunk that is being made */
    size_t gathered_items;
    struct unsent *unsent, *last_unsent;
    bool ended;     /* the generator has */
    int end_status; /* by this error */
    char *end_detail;
    muster_result *current; /* being delivered */
    size_t current_slot;    /* the next of it */

    atomic_int references; /* the caller's, and one for each thread inside muster_next() */
    struct results pending, done;
    bool stalled; /* unsent chunks wait for room */
    bool in_turn; /* a thread is inside muster_next() */
    bool freed;
    struct waitlist waiters, turns;
    int fd;
    muster_iterator *sibling; /* the next iterator of the pool */
};

/* --- lists of results --------------------------------------------------------------------------------------------- */

static void results_append(struct results *list, muster_result *result)
{
    result->next = NULL;
    result->previous = list->last;
    if (list->last)
        list->last->next = result;
    else
        list->first = result;
    list->last = result;
}

static void results_remove(struct results *list, muster_result *result)
{
    if (result->previous)
        result->previous->next = result->next;
    else
        list->first = result->next;
    if (result->next)
        result->next->previous = result->previous;
    else
        list->last = result->previous;
    result->next = result->previous = NULL;
}

/* --- readiness. Mutex held ---------------------------------------------------------------------------------------- */

static struct results *deliverables(muster_iterator *iterator)
{
    return iterator->ordered ? &iterator->pending : &iterator->done;
}

static bool deliverable(muster_iterator *iterator)
{
    const muster_result *first = deliverables(iterator)->first;
    return first && muster_ready(first);
}

/* Nothing is left to wait for. */
static bool exhausted(const muster_iterator *iterator)
{
    return iterator->ended && !iterator->pending.first && !iterator->done.first;
}

static void wake(muster_iterator *iterator)
{
    uint64_t one = 1;
    waitlist_wake(&iterator->waiters);
    if (iterator->fd >= 0 && write(iterator->fd, &one, sizeof one) < 0)
        return; /* the counter is full: it is readable all the same */
}

void iterator_result_ready(muster_iterator *iterator, muster_result *result)
{
    if (!iterator->ordered) {
        results_remove(&iterator->pending, result);
        results_append(&iterator->done, result);
    }
    if (deliverable(iterator))
        wake(iterator);
}

void iterators_room(muster_pool *pool)
{
    for (muster_iterator *iterator = pool->iterators; iterator; iterator = iterator->sibling) {
        if (!iterator->stalled)
            continue;
        iterator->stalled = false;
        wake(iterator);
    }
}

/* The descriptor is readable exactly if muster_next() would not wait. */
static void refresh_fd(muster_iterator *iterator)
{
    uint64_t count;
    if (iterator->fd < 0)
        return;
    if (read(iterator->fd, &count, sizeof count) < 0)
        count = 0; /* it was not readable */
    if (iterator->current || deliverable(iterator) || exhausted(iterator) || (iterator->unsent && !iterator->stalled))
        wake(iterator);
}

/* --- chunks ------------------------------------------------------------------------------------------------------- */

static void end_with(muster_iterator *iterator, int status)
{
    if (!iterator->ended && status != 0) {
        iterator->end_status = status;
        iterator->end_detail = bytes_dup_string(bytes_string(muster_last_error()));
    }
    iterator->ended = true;
}

/* A result for the items that were taken last, already in its place among the pending ones. */
static muster_result *chunk_create(muster_iterator *iterator, size_t items)
{
    muster_result *result = result_create(iterator->pool, iterator->terms.call.function, 1, items, &iterator->options);
    if (!result) {
        iterator->ahead -= items;
        end_with(iterator, error_memory());
        return NULL;
    }
    result->base = iterator->taken - items;
    result->calls[0].items = items;
    result->iterator = iterator;
    pthread_mutex_lock(&iterator->pool->mutex);
    results_append(&iterator->pending, result);
    pthread_mutex_unlock(&iterator->pool->mutex);
    return result;
}

/* Gives all items of a chunk that cannot be sent the latest error. */
static void chunk_fail(muster_iterator *iterator, muster_result *result, int status)
{
    pthread_mutex_lock(&iterator->pool->mutex);
    result_fail(&result->calls[0], status, muster_last_error());
    pthread_mutex_unlock(&iterator->pool->mutex);
}

static void pack_payload(unsigned char *at, const void *arg)
{
    const struct unsent *chunk = arg;
    if (!chunk->plain)
        at = pack_array(at, chunk->result->count);
    pack_content(at, bytes_of(&chunk->payload));
}

static void store_payload(struct segment_writer *out, const void *arg)
{
    const struct unsent *chunk = arg;
    if (!chunk->plain)
        array_head_store(out, chunk->result->count);
    segment_write(out, bytes_of(&chunk->payload));
}

/* False if it has to wait for room. A chunk that fails for another reason ends the reading. */
static bool chunk_send(muster_iterator *iterator, const struct unsent *chunk)
{
    size_t items = chunk->plain ? 0 : chunk->result->count;
    struct packing packing = {.encoding = chunk->encoding,
                              .items = items,
                              .size = (chunk->plain ? 0 : array_head_size(items)) + chunk->payload.length,
                              .pack = pack_payload,
                              .store = store_payload,
                              .arg = chunk};
    int status = call_submit(iterator->pool, &chunk->result->calls[0], &iterator->terms, &packing);
    if (status == MUSTER_EAGAIN)
        return false;
    if (status != 0) {
        end_with(iterator, status);
        chunk_fail(iterator, chunk->result, status);
    }
    return true;
}

static void chunk_keep(muster_iterator *iterator, const struct unsent *chunk)
{
    struct unsent *kept = memory_alloc(sizeof *kept);
    if (!kept) {
        chunk_fail(iterator, chunk->result, error_memory());
        return;
    }
    *kept = *chunk;
    kept->next = NULL;
    iterator->gathered = (struct buffer){0}; /* the chunk has it now */
    if (iterator->last_unsent)
        iterator->last_unsent->next = kept;
    else
        iterator->unsent = kept;
    iterator->last_unsent = kept;
}

/* The chunk that has gathered is complete: sends it, or keeps it until there is room. */
static void chunk_seal(muster_iterator *iterator, bool plain, enum muster_encoding encoding)
{
    if (iterator->gathered_items == 0)
        return;
    struct unsent chunk = {.payload = iterator->gathered, .plain = plain, .encoding = encoding};
    chunk.result = chunk_create(iterator, iterator->gathered_items);
    if (chunk.result && (iterator->unsent || !chunk_send(iterator, &chunk)))
        chunk_keep(iterator, &chunk);
    iterator->gathered_items = 0;
    iterator->gathered.length = 0;
}

static void send_unsent(muster_iterator *iterator)
{
    while (iterator->unsent && chunk_send(iterator, iterator->unsent)) {
        struct unsent *sent = iterator->unsent;
        iterator->unsent = sent->next;
        if (!iterator->unsent)
            iterator->last_unsent = NULL;
        buffer_free(&sent->payload);
        memory_free(sent);
    }
}

/* --- reading the generator ---------------------------------------------------------------------------------------- */

/* An item that cannot be sent fails by itself, after the chunk before it: it does not end the iteration. */
static void item_refuse(muster_iterator *iterator, int status)
{
    char detail[512];
    snprintf(detail, sizeof detail, "%s", muster_last_error());
    iterator->taken--;
    chunk_seal(iterator, false, MUSTER_MSGPACK);
    iterator->taken++;
    muster_result *result = chunk_create(iterator, 1);
    if (!result)
        return;
    error_set(status, "%s", detail);
    chunk_fail(iterator, result, status);
}

static int item_measure(const muster_iterator *iterator, muster_args args, enum muster_encoding *encoding, size_t *size)
{
    size_t limit = atomic_load(&iterator->pool->payload_limit);
    int status = args_measure(args, encoding, size);
    if (status == 0 && *size + PACK_HEAD_BYTES > limit)
        status = error_set(MUSTER_ELIMIT, "an item of %zu bytes; the limit is %zu", *size, limit);
    return status;
}

static void item_gather(muster_iterator *iterator, const muster_value *value)
{
    muster_args args = {value, 1};
    enum muster_encoding encoding;
    size_t size;
    int status = item_measure(iterator, args, &encoding, &size);
    bool plain = value->type == MUSTER_TYPE_OPAQUE || iterator->chunk_size == 1;
    if (status == 0 && buffer_reserve(&iterator->gathered, size) != 0)
        status = error_memory();
    if (status != 0) {
        item_refuse(iterator, status);
        return;
    }
    if (plain || iterator->gathered.length + size > CHUNK_BYTES) {
        iterator->taken--;
        chunk_seal(iterator, false, MUSTER_MSGPACK);
        iterator->taken++;
        if (buffer_reserve(&iterator->gathered, size) != 0) {
            item_refuse(iterator, error_memory());
            return;
        }
    }
    args_pack(iterator->gathered.data + iterator->gathered.length, args);
    iterator->gathered.length += size;
    iterator->gathered_items++;
    if (plain)
        chunk_seal(iterator, true, encoding);
}

static void item_take(muster_iterator *iterator)
{
    muster_value value = {0};
    int status = iterator->next(&value, iterator->arg);
    if (status < 0)
        error_set(status, "the generator stopped with: %s", muster_strerror(status));
    if (status <= 0) {
        end_with(iterator, status);
        return;
    }
    iterator->taken++;
    iterator->ahead++;
    item_gather(iterator, &value);
}

/* Reads ahead as far as the window has room for whole chunks. */
static void fill(muster_iterator *iterator)
{
    send_unsent(iterator);
    while (!iterator->unsent && !iterator->ended && iterator->window - iterator->ahead >= iterator->chunk_size) {
        for (size_t i = 0; i < iterator->chunk_size && !iterator->ended; i++)
            item_take(iterator);
        chunk_seal(iterator, false, MUSTER_MSGPACK);
    }
}

/* --- delivering --------------------------------------------------------------------------------------------------- */

/* The result whose items are delivered goes when its last item was, at the next call. */
static void drop_current(muster_iterator *iterator)
{
    if (iterator->current && iterator->current_slot == iterator->current->count) {
        result_release(iterator->current);
        iterator->current = NULL;
    }
}

static void deliver(muster_iterator *iterator, muster_item *item)
{
    size_t at = iterator->current_slot++;
    iterator->ahead--;
    *item = (muster_item){.index = iterator->current->base + at,
                          .value = muster_result_value(iterator->current, at),
                          .error = muster_result_error(iterator->current, at)};
}

/* Mutex held. 1: iterator->current is set; 0: the end; EAGAIN: neither yet. */
static int take_ready(muster_iterator *iterator)
{
    if (iterator->freed)
        return error_set(MUSTER_ECLOSED, "the iterator was freed");
    if (iterator->current)
        return 1;
    if (deliverable(iterator)) {
        iterator->current = deliverables(iterator)->first;
        iterator->current_slot = 0;
        results_remove(deliverables(iterator), iterator->current);
        return 1;
    }
    if (!exhausted(iterator))
        return MUSTER_EAGAIN;
    if (iterator->end_status == 0)
        return 0;
    return error_set(iterator->end_status, "%s",
                     iterator->end_detail ? iterator->end_detail : muster_strerror(iterator->end_status));
}

static int next_item(muster_iterator *iterator, uint64_t deadline_ns)
{
    muster_pool *pool = iterator->pool;
    for (;;) {
        fill(iterator);
        pthread_mutex_lock(&pool->mutex);
        int status = take_ready(iterator);
        if (status != MUSTER_EAGAIN || (iterator->unsent && !iterator->stalled)) {
            pthread_mutex_unlock(&pool->mutex);
            if (status != MUSTER_EAGAIN)
                return status;
            continue;
        }
        if (callbacks_inside(pool)) {
            pthread_mutex_unlock(&pool->mutex);
            return callbacks_refuse(pool, "waiting for the next item");
        }
        if (!waitlist_sleep(&iterator->waiters, &pool->mutex, deadline_ns) && clock_now_ns() >= deadline_ns) {
            pthread_mutex_lock(&pool->mutex);
            status = take_ready(iterator);
            pthread_mutex_unlock(&pool->mutex);
            return status != MUSTER_EAGAIN
                       ? status
                       : error_set(MUSTER_ETIMEDOUT, "%s: no item was ready in time", iterator->terms.call.function);
        }
    }
}

/* --- turns, and the end ------------------------------------------------------------------------------------------- */

/* One thread at a time is inside muster_next() of an iterator. Mutex not held. */
static int enter(muster_iterator *iterator, uint64_t deadline_ns)
{
    pthread_mutex_t *mutex = &iterator->pool->mutex;
    pthread_mutex_lock(mutex);
    while (iterator->in_turn) {
        bool late = !waitlist_sleep(&iterator->turns, mutex, deadline_ns);
        pthread_mutex_lock(mutex);
        if (late && iterator->in_turn) {
            pthread_mutex_unlock(mutex);
            return error_set(MUSTER_ETIMEDOUT, "another thread was taking an item from this iterator all the time");
        }
    }
    iterator->in_turn = true;
    pthread_mutex_unlock(mutex);
    return 0;
}

static void leave(muster_iterator *iterator)
{
    pthread_mutex_lock(&iterator->pool->mutex);
    iterator->in_turn = false;
    refresh_fd(iterator);
    waitlist_wake(&iterator->turns);
    pthread_mutex_unlock(&iterator->pool->mutex);
}

/* Chunks that were never sent get their outcome here, those under way are cancelled. Mutex held. */
static void cancel_everything(muster_iterator *iterator)
{
    for (muster_result *result = iterator->pending.first; result; result = result->next)
        result->iterator = NULL;
    for (struct unsent *chunk = iterator->unsent; chunk; chunk = chunk->next)
        result_fail(&chunk->result->calls[0], MUSTER_ECANCELED, "the iterator was freed before this item was sent");
    for (muster_result *result = iterator->pending.first; result; result = result->next)
        result_cancel(result);
}

static void drop_results(struct results *list)
{
    while (list->first) {
        muster_result *result = list->first;
        results_remove(list, result);
        result_release(result);
    }
}

static void iterator_destroy(muster_iterator *iterator)
{
    muster_pool *pool = iterator->pool;
    drop_results(&iterator->pending);
    drop_results(&iterator->done);
    if (iterator->current)
        result_release(iterator->current);
    while (iterator->unsent) {
        struct unsent *chunk = iterator->unsent;
        iterator->unsent = chunk->next;
        buffer_free(&chunk->payload);
        memory_free(chunk);
    }
    buffer_free(&iterator->gathered);
    if (iterator->fd >= 0)
        close(iterator->fd);
    memory_free(iterator->end_detail);
    memory_free(iterator->label_block);
    memory_free(iterator);
    pool_release(pool);
}

static void iterator_release(muster_iterator *iterator)
{
    if (atomic_fetch_sub_explicit(&iterator->references, 1, memory_order_acq_rel) != 1)
        return;
    muster_pool *pool = iterator->pool;
    pthread_mutex_lock(&pool->mutex);
    muster_iterator **link = &pool->iterators;
    while (*link != iterator)
        link = &(*link)->sibling;
    *link = iterator->sibling;
    cancel_everything(iterator);
    if (iterator->terms.call.definition && pool->client)
        client_undefine(iterator->terms.call.definition);
    pthread_mutex_unlock(&pool->mutex);
    iterator_destroy(iterator);
}

/* --- the public functions ----------------------------------------------------------------------------------------- */

/* The caller's labels may be gone when the last chunk is made. */
static int copy_labels(muster_iterator *iterator)
{
    const char *const *labels = iterator->options.labels;
    size_t count = 0, bytes = 0;
    for (; labels && labels[count]; count++)
        bytes += strlen(labels[count]) + 1;
    if (count == 0)
        return 0;
    iterator->label_block = memory_alloc((count + 1) * sizeof(char *) + bytes);
    if (!iterator->label_block)
        return error_memory();
    const char **copy = (const char **)(void *)iterator->label_block;
    char *text = iterator->label_block + (count + 1) * sizeof(char *);
    for (size_t i = 0; i < count; i++) {
        copy[i] = text;
        text = stpcpy(text, labels[i]) + 1;
    }
    copy[count] = NULL;
    iterator->options.labels = iterator->terms.call.labels = copy;
    return 0;
}

static void choose_window(muster_iterator *iterator)
{
    muster_pool *pool = iterator->pool;
    size_t chunk = iterator->options.chunk_size, window = iterator->options.window;
    pthread_mutex_lock(&pool->mutex);
    size_t workers = pool->workers > pool->worker_target ? pool->workers : pool->worker_target;
    pthread_mutex_unlock(&pool->mutex);
    iterator->chunk_size = chunk ? chunk : 1;
    iterator->window = window ? window : WINDOW_PER_WORKER * (workers ? workers : 1) * iterator->chunk_size;
    if (iterator->chunk_size > iterator->window)
        iterator->chunk_size = iterator->window;
}

static int iterator_create(muster_iterator **out, muster_pool *pool, const char *function,
                           const muster_options *options)
{
    muster_iterator *iterator = memory_zero(sizeof *iterator);
    if (!iterator)
        return error_memory();
    iterator->pool = pool;
    iterator->fd = -1;
    atomic_init(&iterator->references, 1);
    if (options)
        iterator->options = *options;
    int status = terms_make(&iterator->terms, pool, function, options);
    if (status == 0)
        status = copy_labels(iterator);
    pthread_mutex_lock(&pool->mutex);
    if (status == 0)
        status = pool_ready(pool, false);
    if (status == 0) {
        iterator->sibling = pool->iterators;
        pool->iterators = iterator;
        if (iterator->terms.call.definition) /* the caller's handle may be gone when the last chunk is made */
            client_keep_definition(iterator->terms.call.definition);
        pool_retain(pool);
    }
    pthread_mutex_unlock(&pool->mutex);
    if (status != 0) {
        memory_free(iterator->label_block);
        memory_free(iterator);
        return status;
    }
    iterator->terms.from_iterator = iterator->terms.nonblocking = true;
    iterator->terms.stalled = &iterator->stalled;
    choose_window(iterator);
    *out = iterator;
    return 0;
}

static int iterate(muster_pool *pool, const char *function, muster_generator *next, void *arg,
                   const muster_options *options, bool ordered, muster_iterator **iterator)
{
    int status = pool_check(pool);
    if (status == 0 && (!next || !iterator))
        status = error_set(MUSTER_EINVAL, "an iteration needs a generator and a place for the iterator");
    if (status == 0)
        status = iterator_create(iterator, pool, function, options);
    if (status != 0)
        return status;
    (*iterator)->next = next;
    (*iterator)->arg = arg;
    (*iterator)->ordered = ordered;
    fill(*iterator);
    return 0;
}

int muster_imap(muster_pool *pool, const char *function, muster_generator *next, void *arg,
                const muster_options *options, muster_iterator **iterator)
{
    return iterate(pool, function, next, arg, options, true, iterator);
}

int muster_imap_unordered(muster_pool *pool, const char *function, muster_generator *next, void *arg,
                          const muster_options *options, muster_iterator **iterator)
{
    return iterate(pool, function, next, arg, options, false, iterator);
}

int muster_next(muster_iterator *iterator, double timeout, muster_item *item)
{
    if (!iterator || !item)
        return error_set(MUSTER_EINVAL, "the %s is NULL", iterator ? "item" : "iterator");
    int status = pool_check(iterator->pool);
    if (status != 0)
        return status;
    uint64_t deadline_ns = wait_deadline(timeout);
    atomic_fetch_add(&iterator->references, 1);
    status = enter(iterator, deadline_ns);
    if (status == 0) {
        drop_current(iterator);
        status = next_item(iterator, deadline_ns);
        if (status == 1)
            deliver(iterator, item);
        leave(iterator);
    }
    iterator_release(iterator);
    return status;
}

int muster_iterator_fd(muster_iterator *iterator)
{
    if (!iterator)
        return error_set(MUSTER_EINVAL, "the iterator is NULL");
    int status = pool_check(iterator->pool);
    if (status != 0)
        return status;
    pthread_mutex_lock(&iterator->pool->mutex);
    if (iterator->fd < 0) {
        iterator->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
        status = iterator->fd < 0 ? error_errno("a descriptor for the iterator") : 0;
        refresh_fd(iterator);
    }
    int fd = iterator->fd;
    pthread_mutex_unlock(&iterator->pool->mutex);
    return status ? status : fd;
}

void muster_iterator_free(muster_iterator *iterator)
{
    if (!iterator || pool_forked(iterator->pool))
        return;
    pthread_mutex_lock(&iterator->pool->mutex);
    iterator->freed = true;
    wake(iterator);
    pthread_mutex_unlock(&iterator->pool->mutex);
    iterator_release(iterator);
}
