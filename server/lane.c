/*
 * Lanes: what waits to run, by function, labels and body. In a lane each client has one queue for each priority; the
 * queues that can be served stand in a heap by priority, turn and arrival.
 *
 * Turns are start-time fair queueing with every task of weight one. The task at the front of a queue has the turn
 * max(turn handed out last at its priority, its client's previous turn) + 1. So a client that has a million tasks
 * queued holds turns far ahead of now only one at a time, and another that comes with a single task is served next but
 * one.
 */
#include "server/state.h"

#include <assert.h>
#include <stdio.h>

/* --- functions ---------------------------------------------------------------------------------------------------- */

static void function_free(struct coordinator *coordinator, struct function *function)
{
    HASH_DEL(coordinator->functions, function);
    memory_free(function->name);
    memory_free(function);
}

/* Forgets the statistics of a function that nobody uses when too many are kept. Insertion order: the oldest goes. */
static void functions_trim(struct coordinator *coordinator)
{
    if (HASH_COUNT(coordinator->functions) <= IDLE_FUNCTIONS_LIMIT)
        return;
    struct function *function, *next;
    HASH_ITER (hh, coordinator->functions, function, next) {
        if (function->lanes == 0) {
            function_free(coordinator, function);
            return;
        }
    }
}

static struct function *function_use(struct coordinator *coordinator, struct bytes name)
{
    struct function *function;
    HASH_FIND(hh, coordinator->functions, name.data, name.length, function);
    if (function) {
        function->lanes++;
        return function;
    }
    function = memory_zero(sizeof *function);
    if (!function)
        return NULL;
    function->name = bytes_dup_string(name);
    if (!function->name)
        goto fail;
    hash_oom = false;
    HASH_ADD_KEYPTR(hh, coordinator->functions, function->name, name.length, function);
    if (hash_oom)
        goto fail;
    function->lanes = 1;
    return function;
fail:
    memory_free(function->name);
    memory_free(function);
    return NULL;
}

static void function_release(struct coordinator *coordinator, struct function *function)
{
    assert(function->lanes > 0);
    if (--function->lanes == 0 && function->runs.count == 0)
        function_free(coordinator, function);
    else
        functions_trim(coordinator);
}

/* --- lanes -------------------------------------------------------------------------------------------------------- */

bool lane_queue_before(const void *a, const void *b)
{
    const struct lane_queue *x = a, *y = b;
    if (x->level->priority != y->level->priority)
        return x->level->priority > y->level->priority;
    if (x->turn != y->turn)
        return x->turn < y->turn;
    return x->first->arrival < y->first->arrival;
}

static void lane_free(struct coordinator *coordinator, struct lane *lane)
{
    assert(lane->queued == 0 && lane->queue_count == 0);
    while (lane->offers) {
        struct offer *offer = lane->offers;
        struct offer **link = &offer->class->first_offer;
        while (*link != offer)
            link = &(*link)->next_in_class;
        *link = offer->next_in_class;
        offer->class->offer_count--;
        heap_remove(&offer->class->offers, offer);
        lane->offers = offer->next_in_lane;
        memory_free(offer);
    }
    introductions_forget_lane(coordinator, lane);
    if (lane->function)
        function_release(coordinator, lane->function);
    coordinator->definition_bytes -= lane->cost;
    heap_free(&lane->queues);
    memory_free(lane->labels);
    memory_free(lane->key);
    memory_free(lane);
}

/* Takes `key` over. NULL when memory ran out. */
static struct lane *lane_create(struct coordinator *coordinator, const struct message_define *define,
                                size_t label_count, char *key, size_t key_length)
{
    struct lane *lane = memory_zero(sizeof *lane);
    if (!lane) {
        memory_free(key);
        return NULL;
    }
    lane->key = key;
    lane->key_length = key_length;
    lane->cost = definition_cost(define);
    coordinator->definition_bytes += lane->cost;
    heap_init(&lane->queues, lane_queue_before, offsetof(struct lane_queue, position));
    lane->labels = memory_alloc((label_count + 1) * sizeof *lane->labels);
    lane->function = function_use(coordinator, define->name);
    if (!lane->labels || !lane->function)
        goto fail;
    const char *text = key + strlen(key) + 2;
    for (; lane->label_count < label_count; text += strlen(text) + 1)
        lane->labels[lane->label_count++] = text;
    if (define->body.length > 0) {
        lane->body = (struct bytes){key + key_length - define->body.length, define->body.length};
        lane->definition = ++coordinator->definitions;
    }
    for (struct class *class = coordinator->classes; class; class = class->hh.next)
        if (class_offer_lane(coordinator, class, lane) != 0)
            goto fail;
    hash_oom = false;
    HASH_ADD_KEYPTR(hh, coordinator->lanes, lane->key, lane->key_length, lane);
    if (hash_oom)
        goto fail;
    return lane;
fail:
    lane_free(coordinator, lane);
    return NULL;
}

/* What tells lanes apart. No label is empty, so what stands behind an empty one is a body. */
static char *lane_key(const struct message_define *define, const struct bytes *sorted_labels, size_t label_count,
                      size_t *length)
{
    size_t names_length;
    char *names = names_join(&define->name, 1, sorted_labels, label_count, &names_length);
    *length = names_length;
    if (!names || define->body.length == 0)
        return names;
    *length += 1 + define->body.length;
    char *key = memory_alloc(*length);
    if (key) {
        memcpy(key, names, names_length);
        key[names_length] = 0;
        memcpy(key + names_length + 1, define->body.data, define->body.length);
    }
    memory_free(names);
    return key;
}

int lane_use(struct coordinator *coordinator, const struct message_define *define, const struct bytes *sorted_labels,
             size_t label_count, struct lane **lane)
{
    size_t length;
    char *key = lane_key(define, sorted_labels, label_count, &length);
    if (!key)
        return MUSTER_ENOMEM;
    HASH_FIND(hh, coordinator->lanes, key, length, *lane);
    if (*lane) {
        memory_free(key);
    } else if (!tasks_have_room(coordinator, definition_cost(define))) {
        memory_free(key);
        return MUSTER_ELIMIT;
    } else if (!(*lane = lane_create(coordinator, define, label_count, key, length))) {
        return MUSTER_ENOMEM;
    }
    (*lane)->users++;
    return 0;
}

void lane_release(struct coordinator *coordinator, struct lane *lane)
{
    assert(lane->users > 0);
    if (--lane->users > 0)
        return;
    HASH_DEL(coordinator->lanes, lane);
    lane_free(coordinator, lane);
}

void lane_describe(const struct lane *lane, char *out, size_t size)
{
    int length = snprintf(out, size, "\"%s\"", lane->function->name);
    for (size_t i = 0; i < lane->label_count && length >= 0 && (size_t)length < size; i++)
        length +=
            snprintf(out + length, size - (size_t)length, "%s%s", i ? ", " : " with the labels ", lane->labels[i]);
}

/* --- lanes that nobody serves ------------------------------------------------------------------------------------- */

static void unserved_unlink(struct coordinator *coordinator, struct lane *lane)
{
    if (lane->previous_unserved)
        lane->previous_unserved->next_unserved = lane->next_unserved;
    else
        coordinator->unserved_first = lane->next_unserved;
    if (lane->next_unserved)
        lane->next_unserved->previous_unserved = lane->previous_unserved;
    else
        coordinator->unserved_last = lane->previous_unserved;
    lane->previous_unserved = lane->next_unserved = NULL;
    lane->unserved = false;
}

void lane_watch(struct coordinator *coordinator, struct lane *lane)
{
    bool unserved = lane->queued > 0 && !lane->offers;
    if (unserved == lane->unserved)
        return;
    if (!unserved) {
        unserved_unlink(coordinator, lane);
        return;
    }
    lane->unserved = true;
    lane->unserved_ns = coordinator->now_ns;
    lane->previous_unserved = coordinator->unserved_last;
    if (coordinator->unserved_last)
        coordinator->unserved_last->next_unserved = lane;
    else
        coordinator->unserved_first = lane;
    coordinator->unserved_last = lane;
}

static uint64_t unserved_until(const struct coordinator *coordinator, const struct lane *lane)
{
    uint64_t since = lane->unserved_ns;
    if (since < coordinator->workers_since_ns)
        since = coordinator->workers_since_ns;
    return since + coordinator->config.function_grace_ns;
}

uint64_t lanes_deadline(const struct coordinator *coordinator)
{
    if (!coordinator->unserved_first || coordinator->connected_workers == 0)
        return NEVER_NS;
    return unserved_until(coordinator, coordinator->unserved_first);
}

static void lane_fail_all(struct coordinator *coordinator, struct lane *lane, int status, const char *text)
{
    struct client_record *client, *next_client;
    HASH_ITER (hh, coordinator->clients, client, next_client) {
        struct lane_queue *next;
        for (struct lane_queue *queue = client->queues; queue; queue = next) {
            next = queue->next_of_client;
            if (queue->lane != lane)
                continue;
            while (queue->first) {
                bool last = !queue->first->next;
                task_fail(coordinator, queue->first,
                          &(struct failure){.status = status, .message = bytes_string(text), .exit_status = -1});
                if (last)
                    break; /* the queue may be gone with its last task */
            }
        }
    }
}

/* "a", "b" and what else is offered, as far as there is room. */
static void describe_offered(const struct coordinator *coordinator, char *out, size_t size)
{
    size_t length = 0;
    out[0] = 0;
    for (const struct class *class = coordinator->classes; class; class = class->hh.next) {
        for (size_t i = 0; i < class->function_count + class->label_count; i++) {
            bool label = i >= class->function_count;
            const char *name = label ? class->labels[i - class->function_count] : class->functions[i];
            const char *between = i == class->function_count ? " with the labels " : length ? ", " : "";
            if (length + strlen(name) + strlen(between) + 8 > size) {
                snprintf(out + length, size - length, ", ...");
                return;
            }
            length += (size_t)snprintf(out + length, size - length, "%s%s", between, name);
        }
    }
    if (length == 0)
        snprintf(out, size, "nothing");
}

void lanes_tick(struct coordinator *coordinator)
{
    if (coordinator->connected_workers == 0)
        return;
    struct lane *lane;
    while ((lane = coordinator->unserved_first) && unserved_until(coordinator, lane) <= coordinator->now_ns) {
        char wanted[512], offered[512], text[1200];
        lane_describe(lane, wanted, sizeof wanted);
        describe_offered(coordinator, offered, sizeof offered);
        snprintf(text, sizeof text,
                 "no worker offers %s; the %zu connected offer %s; start one that does, or mend the name", wanted,
                 coordinator->connected_workers, offered);
        lane->users++; /* it may lose its last task's queue */
        lane_fail_all(coordinator, lane, MUSTER_ENOFUNCTION, text);
        assert(lane->queued == 0 && !lane->unserved);
        lane_release(coordinator, lane);
    }
}

/* The first worker is there: from now on it counts that nobody serves a lane. */
void lanes_workers_began(struct coordinator *coordinator)
{
    coordinator->workers_since_ns = coordinator->now_ns;
}

const char *lanes_hopeless(const struct coordinator *coordinator)
{
    if (coordinator->worker_sessions > 0 || !coordinator->supervisors)
        return NULL;
    const char *reason = NULL;
    for (struct supervisor_record *supervisor = coordinator->supervisors; supervisor;
         supervisor = supervisor->hh.next) {
        if (!supervisor->gave_up)
            return NULL;
        reason = supervisor->reason ? supervisor->reason : "";
    }
    return reason;
}

void lanes_give_up(struct coordinator *coordinator)
{
    const char *reason = lanes_hopeless(coordinator);
    if (!reason || coordinator->queued == 0)
        return;
    char text[768];
    snprintf(text, sizeof text, "no worker process could be kept running: %.600s", reason);
    struct lane *lane, *next;
    HASH_ITER (hh, coordinator->lanes, lane, next) {
        lane->users++;
        lane_fail_all(coordinator, lane, MUSTER_EWORKERS, text);
        next = lane->hh.next;
        lane_release(coordinator, lane);
    }
}

uint32_t lane_estimate(const struct lane *lane)
{
    const struct runs *runs = lane->definition ? &lane->runs : &lane->function->runs;
    uint64_t mean = runs->count ? runs->mean_ns : HOLD_NS;
    return mean < ESTIMATE_MIN_NS ? ESTIMATE_MIN_NS : mean > UINT32_MAX ? UINT32_MAX : (uint32_t)mean;
}

void lanes_free(struct coordinator *coordinator)
{
    assert(!coordinator->lanes);
    struct function *function, *next;
    HASH_ITER (hh, coordinator->functions, function, next) {
        function_free(coordinator, function);
    }
}
