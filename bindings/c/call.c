/*
 * Single calls, and the way of every task into the client: options checked once, arguments packed outside the mutex.
 *
 * Arguments of SEGMENT_THRESHOLD bytes and more are packed straight into a shared-memory segment when coordinator and
 * client can share one; the task then carries the segment's name. The client removes the segment when the outcome is
 * there.
 */
#include <math.h>

#include "bindings/c/pool.h"

#define PRIORITY_LIMIT 1000
#define STACK_ARGS 1024 /* arguments up to this are packed on the stack */

/* --- options ------------------------------------------------------------------------------------------------------ */

static uint64_t milliseconds(double seconds)
{
    return seconds > 0 ? (uint64_t)ceil(seconds * 1000) : 0;
}

static int options_check(const muster_options *options)
{
    if (options->priority < -PRIORITY_LIMIT || options->priority > PRIORITY_LIMIT)
        return error_set(MUSTER_EINVAL, "priority %d is not in -%d..%d", options->priority, PRIORITY_LIMIT,
                         PRIORITY_LIMIT);
    if (!(options->time_limit >= 0 && options->time_limit < 1e12) || !(options->grace >= 0 && options->grace < 1e12))
        return error_set(MUSTER_EINVAL, "a time limit of %g s and a grace of %g s: neither may be negative",
                         options->time_limit, options->grace);
    if (options->flags & ~MUSTER_NONBLOCK)
        return error_set(MUSTER_EINVAL, "flags %#x: MUSTER_NONBLOCK is the only one", options->flags);
    return 0;
}

static int name_check(const char *function)
{
    if (!function || !*function)
        return error_set(MUSTER_EINVAL, "the name of the function is %s", function ? "empty" : "NULL");
    return 0;
}

static int definition_check(const muster_definition *definition, const muster_pool *pool, const char *function,
                            const muster_options *options)
{
    if (definition->pool != pool)
        return error_set(MUSTER_EINVAL, "the definition of \"%s\" is another pool's", definition->function);
    if (function || options->labels)
        return error_set(MUSTER_EINVAL, "a call of a definition has a %s of its own beside that of \"%s\": give NULL",
                         function ? "function" : "list of labels", definition->function);
    return 0;
}

int terms_make(struct call_terms *terms, muster_pool *pool, const char *function, const muster_options *options)
{
    static const muster_options none;
    options = options ? options : &none;
    int status = options_check(options);
    if (status != 0)
        return status;
    const muster_definition *definition = options->definition;
    status = definition ? definition_check(definition, pool, function, options) : name_check(function);
    if (status != 0)
        return status;
    uint64_t flags =
        (options->retry_lost_only ? TASK_RETRY_LOST_ONLY : 0u) | (options->on_progress ? TASK_PROGRESS_WANTED : 0u);
    *terms = (struct call_terms){.call.labels = options->labels && options->labels[0] ? options->labels : NULL,
                                 .call.priority = options->priority,
                                 .call.retries = options->retries,
                                 .call.flags = flags,
                                 .call.time_limit_ms = milliseconds(options->time_limit),
                                 .call.grace_ms = milliseconds(options->grace > 0 ? options->grace : 1),
                                 .nonblocking = options->flags & MUSTER_NONBLOCK};
    terms->call.definition = definition ? definition->definition : NULL;
    terms->call.function = definition ? definition->function : pool_intern(pool, function);
    if (!terms->call.function)
        return error_memory();
    if (options->on_success || options->on_error || options->on_progress) {
        pthread_mutex_lock(&pool->mutex);
        status = callbacks_start(pool);
        pthread_mutex_unlock(&pool->mutex);
    }
    return status;
}

/* --- packing ------------------------------------------------------------------------------------------------------ */

/* Where a call's arguments are while it is submitted: on the stack, on the heap, or in a segment. */
struct packed {
    struct bytes bytes; /* the payload, or the name of the segment */
    uint64_t encoding;
    size_t shared_bytes;
    unsigned char *block;
    unsigned char stack[STACK_ARGS];
};

/* False if there is no room for a segment: the arguments then travel inline. */
static bool pack_shared(struct call *call, muster_pool *pool, const struct packing *packing, struct packed *packed)
{
    if (!pool->share || packing->size < SEGMENT_THRESHOLD)
        return false;
    call->arguments = argument_segment_write(pool, packing);
    if (!call->arguments)
        return false;
    packed->bytes = bytes_string(call->arguments->segment.name);
    packed->encoding = (uint64_t)packing->encoding | ENCODING_SEGMENT;
    packed->shared_bytes = packing->size;
    return true;
}

static int pack(struct call *call, muster_pool *pool, const struct packing *packing, struct packed *packed)
{
    packed->block = NULL;
    packed->shared_bytes = 0;
    if (packing->size > pool->payload_limit)
        return error_set(MUSTER_ELIMIT, "arguments of %zu bytes; the limit is %zu (--payload-limit)", packing->size,
                         pool->payload_limit);
    if (pack_shared(call, pool, packing, packed))
        return 0;
    unsigned char *at = packed->stack;
    if (packing->size > sizeof packed->stack) {
        at = packed->block = memory_alloc(packing->size);
        if (!at)
            return error_memory();
    }
    packing->pack(at, packing->arg);
    packed->bytes = (struct bytes){at, packing->size};
    packed->encoding = packing->encoding;
    return 0;
}

/* --- submitting --------------------------------------------------------------------------------------------------- */

/* Mutex held on entry and return. Once the client has the call, its result may be complete at any moment. */
static int submit_locked(muster_pool *pool, struct call *call, const struct client_call *request,
                         const struct call_terms *terms)
{
    for (;;) {
        int status = pool_ready(pool, terms->from_iterator);
        if (status == 0)
            status = client_submit(pool->client, request, &call->number);
        if (status == 0) {
            pool->stats.submitted++;
            pool_submitted(pool);
        }
        if (status != MUSTER_EAGAIN)
            return status;
        if (terms->stalled)
            *terms->stalled = true;
        if (terms->nonblocking)
            return error_set(MUSTER_EAGAIN, "%s: %zu calls with %zu bytes are outstanding, which fills the window",
                             request->function, client_outstanding(pool->client),
                             client_outstanding_bytes(pool->client));
        pool_flush(pool);
        bool woken = waitlist_sleep(&pool->room, &pool->mutex, NEVER_NS);
        pthread_mutex_lock(&pool->mutex);
        if (!woken)
            return error_set(MUSTER_ETIMEDOUT, "%s: the wait for room in the window was interrupted",
                             request->function);
    }
}

int call_submit(muster_pool *pool, struct call *call, const struct call_terms *terms, const struct packing *packing)
{
    struct packed packed;
    int status = pack(call, pool, packing, &packed);
    if (status != 0)
        return status;
    struct client_call request = terms->call;
    request.items = packing->items;
    request.encoding = packed.encoding;
    request.args = packed.bytes;
    request.shared_bytes = packed.shared_bytes;
    request.tag = call;
    call->plain = packing->items == 0;
    call->once = request.retries == 0;
    pthread_mutex_lock(&pool->mutex);
    call->opening = pool->openings;
    status = submit_locked(pool, call, &request, terms);
    pthread_mutex_unlock(&pool->mutex);
    memory_free(packed.block);
    return status;
}

/* What happened to a result whose only call was or was not submitted; *result is set accordingly. */
int call_submit_only(muster_pool *pool, muster_result **result, const struct call_terms *terms,
                     const struct packing *packing, bool dropped)
{
    muster_result *made = *result;
    int status = call_submit(pool, &made->calls[0], terms, packing);
    if (status != 0)
        result_discard(made);
    else if (dropped)
        result_release(made);
    if (status != 0 || dropped)
        *result = NULL;
    return status;
}

static void pack_args(unsigned char *at, const void *arg)
{
    args_pack(at, *(const muster_args *)arg);
}

static void store_args(struct segment_writer *out, const void *arg)
{
    args_store(out, *(const muster_args *)arg);
}

static int apply(muster_pool *pool, const char *function, muster_args args, const muster_options *options,
                 muster_result **result, bool dropped)
{
    struct call_terms terms;
    struct packing packing = {.pack = pack_args, .store = store_args, .arg = &args};
    int status = args_measure(args, &packing.encoding, &packing.size);
    if (status == 0)
        status = terms_make(&terms, pool, function, options);
    if (status != 0)
        return status;
    *result = result_create(pool, terms.call.function, 1, 1, options);
    if (!*result)
        return error_memory();
    (*result)->calls[0].items = 1;
    return call_submit_only(pool, result, &terms, &packing, dropped);
}

int muster_apply_async(muster_pool *pool, const char *function, muster_args args, const muster_options *options,
                       muster_result **result)
{
    muster_result *dropped = NULL;
    if (result)
        *result = NULL;
    int status = pool_check(pool);
    return status ? status : apply(pool, function, args, options, result ? result : &dropped, !result);
}

int muster_apply(muster_pool *pool, const char *function, muster_args args, const muster_options *options,
                 muster_result **result)
{
    muster_result *made = NULL;
    if (result)
        *result = NULL;
    int status = pool_check(pool);
    if (status == 0)
        status = callbacks_refuse(pool, "muster_apply");
    if (status == 0)
        status = apply(pool, function, args, options, &made, false);
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
