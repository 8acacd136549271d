/*
 * Queues. An item is in one of: a putter (it waits for room), the ready list, a session's leases (given to it and not
 * known to be taken). Its place is its sequence number; whatever comes back goes to its old place.
 *
 * What must hold after each message: nobody waits for an item while one is ready, and no put waits while there is room.
 * Items in advance, and sums of what was accepted, are for the flush.
 *
 * A peer by calls cannot die without this coordinator: it is given items for good, under the number 0.
 */
#include "server/objects/object.h"

#define ORPHANED "every process that had put items into the queue has died"

/* --- items -------------------------------------------------------------------------------------------------------- */

static struct item *item_new(struct registry *registry, const struct message_queue_put *put)
{
    struct item *item = memory_alloc(sizeof *item + put->item.length);
    if (!item)
        return NULL;
    *item = (struct item){.length = (uint32_t)put->item.length, .encoding = (uint8_t)put->encoding};
    if (item->length > 0)
        memcpy(item->bytes, put->item.data, item->length);
    registry->items++;
    registry->bytes += ITEM_COST_BYTES + item->length;
    return item;
}

static void item_free(struct registry *registry, struct item *item)
{
    registry->items--;
    registry->bytes -= ITEM_COST_BYTES + item->length;
    memory_free(item);
}

static void items_append(struct items *items, struct item *item)
{
    item->next = NULL;
    *(items->last ? &items->last->next : &items->first) = item;
    items->last = item;
    items->count++;
    items->bytes += item->length;
}

static struct item *items_take(struct items *items)
{
    struct item *item = items->first;
    items->first = item->next;
    if (!items->first)
        items->last = NULL;
    items->count--;
    items->bytes -= item->length;
    return item;
}

/* Puts items back into a list in the order of their sequence. They come mostly in that order themselves (not always:
 * one that was returned is older than those that its taker had before), and are older than most of the list, so this
 * ends soon. */
static void items_put_back(struct items *items, struct items *back)
{
    struct item **at = &items->first;
    uint64_t latest = 0;
    while (back->first) {
        struct item *item = items_take(back);
        if (item->sequence < latest)
            at = &items->first;
        while (*at && (*at)->sequence < item->sequence)
            at = &(*at)->next;
        latest = item->sequence;
        item->next = *at;
        if (!*at)
            items->last = item;
        *at = item;
        at = &item->next;
        items->count++;
        items->bytes += item->length;
    }
}

/* --- the lists of references -------------------------------------------------------------------------------------- */

static void leasing_update(struct queue *queue, struct reference *reference)
{
    struct queue_part *part = &reference->queue;
    bool leasing = part->leased.count > 0;
    if (leasing == part->leasing)
        return;
    part->leasing = leasing;
    if (leasing)
        DL_APPEND2(queue->leasing, reference, queue.lease_prev, queue.lease_next);
    else
        DL_DELETE2(queue->leasing, reference, queue.lease_prev, queue.lease_next);
}

static void hungry_set(struct queue *queue, struct reference *reference, bool hungry)
{
    struct queue_part *part = &reference->queue;
    if (hungry == part->hungry)
        return;
    part->hungry = hungry;
    if (hungry) {
        DL_APPEND2(queue->hungry, reference, queue.hungry_prev, queue.hungry_next);
        queue->hungry_count++;
    } else {
        DL_DELETE2(queue->hungry, reference, queue.hungry_prev, queue.hungry_next);
        queue->hungry_count--;
    }
}

/* A consumer that has asked often and has half of what it may have gets more with the next flush. */
static void hungry_update(struct registry *registry, struct reference *reference)
{
    struct queue *queue = &reference->object->queue;
    const struct queue_part *part = &reference->queue;
    bool hungry = part->allowance > 1 && !part->recalled && part->leased.count <= part->allowance / 2 &&
                  part->leased.bytes <= LEASE_BYTES / 2;
    hungry_set(queue, reference, hungry);
    if (hungry && queue->ready.count > 0)
        object_changed(registry, reference->object);
}

/* --- items out ---------------------------------------------------------------------------------------------------- */

/* Gives the first ready item to a session. False: it cannot be sent, and is ready still. */
static bool give(struct registry *registry, struct reference *reference, uint64_t call, size_t more)
{
    struct queue *queue = &reference->object->queue;
    struct queue_part *part = &reference->queue;
    struct peer *peer = reference->user->peer;
    struct item *item = queue->ready.first;
    if (reference->user->gone)
        return false;
    struct message message = {.type = MESSAGE_QUEUE_ITEM};
    message.queue_item = (struct message_queue_item){
        reference->id, call, peer->local ? 0 : part->given + 1, more, item->encoding, {item->bytes, item->length}, {}};
    int status = peer->send(peer, &message);
    if (peer->local && status != 0)
        return false;
    items_take(&queue->ready);
    if (peer->local) {
        queue->bytes -= item->length;
        queue->taken++;
        part->taken++;
        item_free(registry, item);
        return true;
    }
    item->number = ++part->given; /* a session that it cannot be sent to ends, and gives it back */
    items_append(&part->leased, item);
    queue->leased++;
    leasing_update(queue, reference);
    return true;
}

/* How many of the ready items, at most `most` and LEASE_BYTES but at least one. */
static size_t portion(const struct queue *queue, size_t most, size_t bytes)
{
    size_t count = 0;
    for (const struct item *item = queue->ready.first; item && count < most; item = item->next) {
        bytes += item->length;
        if (count > 0 && bytes > LEASE_BYTES)
            break;
        count++;
    }
    return count;
}

/* Answers a call with up to `amount` items; there is one. */
static void serve(struct registry *registry, struct reference *reference, uint64_t call, uint64_t amount)
{
    struct queue *queue = &reference->object->queue;
    size_t count = portion(queue, amount, 0);
    while (count > 0 && give(registry, reference, call, count - 1))
        count--;
    if (count > 0)
        object_refuse(reference->user, call, MUSTER_ENOMEM, "there is no memory for an item");
}

static void getter_remove(struct registry *registry, struct queue *queue, struct waiter *waiter)
{
    queue->getter_count--;
    waiter_remove(registry, waiter);
}

static struct waiter *first_getter(const struct queue *queue)
{
    return queue->getters ? queue->getters : queue->lookers;
}

static void serve_getters(struct registry *registry, struct queue *queue)
{
    struct waiter *waiter;
    while (queue->ready.count > 0 && (waiter = first_getter(queue))) {
        struct reference *reference = waiter->reference;
        uint64_t call = waiter->call, amount = waiter->amount;
        getter_remove(registry, queue, waiter);
        serve(registry, reference, call, amount);
    }
}

static void flush(struct registry *registry, struct object *object)
{
    struct queue *queue = &object->queue;
    while (queue->hungry && queue->ready.count > 0) {
        struct reference *reference = queue->hungry;
        struct queue_part *part = &reference->queue;
        size_t share = queue->ready.count / queue->hungry_count, room = part->allowance - part->leased.count;
        size_t count = portion(queue, share < 1 ? 1 : share < room ? share : room, part->leased.bytes);
        hungry_set(queue, reference, false);
        while (count > 0 && give(registry, reference, 0, count - 1))
            count--;
    }
}

/* --- items in ----------------------------------------------------------------------------------------------------- */

static size_t size_of(const struct queue *queue)
{
    return queue->ready.count + queue->leased;
}

static bool full(const struct registry *registry, const struct queue *queue)
{
    return size_of(queue) >= (queue->maximum ? queue->maximum : registry->config.queue_items);
}

/* The limit of memory never keeps the only item out, or nothing would ever be taken and memory never be free again.
 * What is leased counts: who never says that it has taken an item must not get another one for it. */
static bool has_room(const struct registry *registry, const struct queue *queue)
{
    return !full(registry, queue) && (size_of(queue) == 0 || registry->config.have_room(registry->config.arg, 0));
}

static void add(struct registry *registry, struct object *object, struct item *item)
{
    struct queue *queue = &object->queue;
    item->sequence = ++queue->sequence;
    queue->put++;
    queue->unfinished++;
    queue->bytes += item->length;
    items_append(&queue->ready, item);
    serve_getters(registry, queue);
    if (queue->hungry)
        object_changed(registry, object);
}

/* An item put without a call is in the queue: tells of it when there is much to tell. */
static void accepted(struct registry *registry, struct reference *reference, size_t length)
{
    struct queue_part *part = &reference->queue;
    (void)registry;
    part->accepted++;
    part->accepted_bytes += length;
    if (part->accepted - part->told < QUEUE_WINDOW_ITEMS / 4 &&
        part->accepted_bytes - part->told_bytes < QUEUE_WINDOW_BYTES / 4)
        return;
    struct message message = {.type = MESSAGE_QUEUE_ACCEPTED};
    message.queue_accepted = (struct message_queue_accepted){
        reference->id, part->accepted - part->told, part->accepted_bytes - part->told_bytes, {}};
    part->told = part->accepted;
    part->told_bytes = part->accepted_bytes;
    object_send(reference->user, &message);
}

static void starved_set(struct registry *registry, struct object *object, bool starved)
{
    struct queue *queue = &object->queue;
    if (starved == queue->starved)
        return;
    queue->starved = starved;
    if (starved)
        DL_APPEND2(registry->starved, object, queue.starved_prev, queue.starved_next);
    else
        DL_DELETE2(registry->starved, object, queue.starved_prev, queue.starved_next);
}

/* The first put that waits gets its room. */
static void putter_accept(struct registry *registry, struct object *object, struct waiter *waiter)
{
    struct reference *reference = waiter->reference;
    struct item *item = waiter->item;
    uint64_t call = waiter->call;
    size_t length = item->length;
    object->queue.putter_count--;
    waiter_remove(registry, waiter);
    add(registry, object, item);
    if (call != 0)
        object_answer(reference->user, call, 0, 0, (struct bytes){0});
    else
        accepted(registry, reference, length);
}

static void answer_flushes(struct registry *registry, struct queue *queue)
{
    struct waiter *waiter, *next;
    DL_FOREACH_SAFE (queue->flushes, waiter, next) {
        struct user *user = waiter->reference->user;
        uint64_t call = waiter->call;
        if (waiter->amount > waiter->reference->queue.accepted)
            continue;
        waiter_remove(registry, waiter);
        object_answer(user, call, 0, 0, (struct bytes){0});
    }
}

static void feed(struct registry *registry, struct object *object)
{
    struct queue *queue = &object->queue;
    if (!queue->putters)
        return;
    while (queue->putters && has_room(registry, queue))
        putter_accept(registry, object, queue->putters);
    answer_flushes(registry, queue);
    starved_set(registry, object, queue->putters && !full(registry, queue));
}

void queues_feed(struct registry *registry)
{
    struct object *object = registry->starved, *next;
    for (; object; object = next) {
        next = object->queue.starved_next;
        feed(registry, object);
    }
}

/* --- when there is nothing ready ---------------------------------------------------------------------------------- */

/* Calls back what one session has in advance, one session after the other, until there is something. */
static void recall(struct queue *queue)
{
    struct reference *reference = queue->leasing;
    if (queue->recalling > 0)
        return;
    if (reference && reference == first_getter(queue)->reference)
        reference = reference->queue.lease_next; /* what it has itself is on its way to it */
    if (!reference)
        return;
    struct message message = {.type = MESSAGE_QUEUE_RECALL};
    message.queue_recall.object = reference->id;
    reference->queue.recalled = true;
    reference->queue.recalled_number = reference->queue.given;
    queue->recalling++;
    hungry_set(queue, reference, false);
    object_send(reference->user, &message);
}

/* Nobody else has anything in advance: who does not wait is told, and who cannot hope. True if anybody was. */
static bool tell_getters(struct registry *registry, struct queue *queue)
{
    bool told = queue->lookers != NULL;
    while (queue->lookers) {
        struct waiter *waiter = queue->lookers;
        struct user *user = waiter->reference->user;
        uint64_t call = waiter->call;
        getter_remove(registry, queue, waiter);
        object_refuse(user, call, MUSTER_EAGAIN, "the queue is empty");
    }
    if (!queue->orphan_news || queue->leased > 0)
        return told;
    queue->orphan_news = false;
    struct waiter *waiter, *next;
    DL_FOREACH_SAFE (queue->getters, waiter, next) {
        struct queue_part *part = &waiter->reference->queue;
        struct user *user = waiter->reference->user;
        uint64_t call = waiter->call;
        if (part->orphanings == queue->orphanings)
            continue;
        part->orphanings = queue->orphanings;
        getter_remove(registry, queue, waiter);
        object_refuse(user, call, MUSTER_ELOST, ORPHANED);
        told = true;
    }
    return told;
}

/* After items have gone, or come back, or somebody has begun or ceased to wait: brings everything in order. */
static void look(struct registry *registry, struct object *object)
{
    struct queue *queue = &object->queue;
    serve_getters(registry, queue);
    feed(registry, object);
    do {
        if (first_getter(queue))
            recall(queue);
    } while (first_getter(queue) && queue->recalling == 0 && tell_getters(registry, queue));
}

static void answer_joins(struct registry *registry, struct queue *queue)
{
    if (queue->unfinished > 0 || !queue->joins)
        return;
    bool abandoned = queue->abandoned > 0;
    queue->abandoned = 0;
    waiters_answer(registry, &queue->joins, abandoned ? MUSTER_ELOST : 0,
                   abandoned ? "a process has died with items that it had taken and not finished" : NULL);
}

/* --- messages ----------------------------------------------------------------------------------------------------- */

static void become_producer(struct reference *reference)
{
    struct queue *queue = &reference->object->queue;
    queue->orphaned = queue->orphan_news = false;
    if (reference->queue.producer)
        return;
    reference->queue.producer = true;
    queue->producers++;
}

/* What is wrong with a put, or NULL. Counts it in its window. */
static const char *put_problem(struct registry *registry, struct queue_part *part, const struct message_queue_put *put)
{
    if (put->encoding > 0xf)
        return "QUEUE_PUT has an unknown encoding";
    if (put->item.length > UINT32_MAX ||
        (registry->config.item_bytes && put->item.length > registry->config.item_bytes))
        return "QUEUE_PUT has an item that is too long";
    if (put->call != 0)
        return NULL;
    if (part->put - part->accepted >= QUEUE_WINDOW_ITEMS ||
        part->put_bytes - part->accepted_bytes >= QUEUE_WINDOW_BYTES)
        return "a session has put more into a queue than its window allows";
    part->put++;
    part->put_bytes += put->item.length;
    return NULL;
}

static int take_put(struct registry *registry, struct reference *reference, const struct message_queue_put *put,
                    const char **why)
{
    struct object *object = reference->object;
    struct queue *queue = &object->queue;
    if ((*why = put_problem(registry, &reference->queue, put)))
        return MUSTER_EPROTOCOL;
    bool room = !queue->putters && has_room(registry, queue);
    if (!room && put->call != 0 && (put->flags & OBJECT_NO_WAIT)) {
        object_refuse(reference->user, put->call, MUSTER_EAGAIN, "the queue is full");
        return 0;
    }
    become_producer(reference);
    *why = "there is no memory for an item";
    struct item *item = item_new(registry, put);
    if (!item) {
        object_refuse(reference->user, put->call, MUSTER_ENOMEM, *why);
        return put->call ? 0 : MUSTER_ENOMEM;
    }
    if (room) {
        add(registry, object, item);
        if (put->call != 0)
            object_answer(reference->user, put->call, 0, 0, (struct bytes){0});
        else
            accepted(registry, reference, put->item.length);
        return 0;
    }
    struct waiter *waiter = waiter_add(registry, &queue->putters, reference, put->call);
    if (!waiter) {
        item_free(registry, item);
        return put->call ? 0 : MUSTER_ENOMEM;
    }
    waiter->item = item;
    queue->putter_count++;
    starved_set(registry, object, !full(registry, queue));
    return 0;
}

static int take_get(struct registry *registry, struct reference *reference, const struct message_queue_get *get,
                    const char **why)
{
    struct object *object = reference->object;
    struct queue *queue = &object->queue;
    struct queue_part *part = &reference->queue;
    *why = "QUEUE_GET has no call, or asks for no items";
    if (get->call == 0 || get->count == 0)
        return MUSTER_EPROTOCOL;
    uint64_t amount = get->count < LEASE_ITEMS ? get->count : LEASE_ITEMS;
    if (queue->ready.count > 0) {
        serve(registry, reference, get->call, amount);
        if (!reference->user->peer->local)
            part->allowance = 2 * part->allowance < LEASE_ITEMS ? 2 * part->allowance + 2 : LEASE_ITEMS;
        hungry_update(registry, reference);
        feed(registry, object);
        return 0;
    }
    struct waiter **list = get->flags & OBJECT_NO_WAIT ? &queue->lookers : &queue->getters;
    struct waiter *waiter = waiter_add(registry, list, reference, get->call);
    if (!waiter)
        return 0;
    waiter->amount = amount;
    queue->getter_count++;
    queue->orphan_news |= queue->orphaned && part->orphanings != queue->orphanings;
    look(registry, object);
    return 0;
}

/* Forgets the leases up to this number: they are taken. */
static int taken(struct registry *registry, struct reference *reference, uint64_t number, const char **why)
{
    struct queue *queue = &reference->object->queue;
    struct queue_part *part = &reference->queue;
    *why = "a session has taken an item that it was not given";
    if (number > part->given)
        return MUSTER_EPROTOCOL;
    while (part->leased.first && part->leased.first->number <= number) {
        struct item *item = items_take(&part->leased);
        queue->leased--;
        queue->bytes -= item->length;
        queue->taken++;
        part->taken++;
        item_free(registry, item);
    }
    leasing_update(queue, reference);
    hungry_update(registry, reference);
    return 0;
}

/* What a session has in advance goes back to its place, up to this number. */
static void give_back(struct queue *queue, struct reference *reference, uint64_t number)
{
    struct queue_part *part = &reference->queue;
    struct items back = {0};
    while (part->leased.first && part->leased.first->number <= number)
        items_append(&back, items_take(&part->leased));
    queue->returned += back.count;
    queue->leased -= back.count;
    items_put_back(&queue->ready, &back);
    leasing_update(queue, reference);
}

static int take_return(struct registry *registry, struct reference *reference, uint64_t number, const char **why)
{
    struct queue *queue = &reference->object->queue;
    struct queue_part *part = &reference->queue;
    int status = taken(registry, reference, number, why);
    if (status != 0)
        return status;
    *why = "QUEUE_RETURN without a QUEUE_RECALL";
    if (!part->recalled)
        return MUSTER_EPROTOCOL;
    give_back(queue, reference, part->recalled_number);
    queue->recalling--;
    part->recalled = false;
    part->allowance = 0;
    hungry_update(registry, reference);
    look(registry, reference->object);
    if (queue->ready.count > 0)
        object_changed(registry, reference->object);
    return 0;
}

static void take_finished(struct registry *registry, struct reference *reference,
                          const struct message_queue_finished *finished)
{
    struct queue *queue = &reference->object->queue;
    if (finished->count > queue->unfinished) {
        object_refuse(reference->user, finished->call, MUSTER_EINVAL, "more items are reported finished than were put");
        return;
    }
    queue->unfinished -= finished->count;
    queue->finished += finished->count;
    reference->queue.finished += finished->count;
    object_answer(reference->user, finished->call, 0, 0, (struct bytes){0});
    answer_joins(registry, queue);
}

static void tell_numbers(const struct reference *reference, uint64_t call)
{
    const struct queue *queue = &reference->object->queue;
    const uint64_t numbers[QUEUE_STATS_COUNT] = {
        size_of(queue), queue->leased, queue->getter_count, queue->putter_count, queue->maximum, queue->producers,
        queue->put,     queue->taken,  queue->returned,     queue->unfinished,   queue->bytes};
    object_tell(reference->user, call, numbers[0], numbers, QUEUE_STATS_COUNT);
}

static int take_ask(struct registry *registry, struct reference *reference, const struct message_queue_ask *ask,
                    const char **why)
{
    struct queue *queue = &reference->object->queue;
    struct waiter *waiter = NULL;
    *why = "QUEUE_ASK has no call, or asks nothing known";
    if (ask->call == 0)
        return MUSTER_EPROTOCOL;
    switch (ask->what) {
    case QUEUE_STATS: tell_numbers(reference, ask->call); return 0;
    case QUEUE_FLUSH:
        waiter = waiter_add(registry, &queue->flushes, reference, ask->call);
        if (waiter)
            waiter->amount = reference->queue.put;
        answer_flushes(registry, queue);
        return 0;
    case QUEUE_JOIN:
        waiter_add(registry, &queue->joins, reference, ask->call);
        answer_joins(registry, queue);
        return 0;
    default: return MUSTER_EPROTOCOL;
    }
}

static int queue_take(struct registry *registry, struct reference *reference, const struct message *message,
                      const char **why)
{
    int status;
    switch (message->type) {
    case MESSAGE_QUEUE_PUT: return take_put(registry, reference, &message->queue_put, why);
    case MESSAGE_QUEUE_GET: return take_get(registry, reference, &message->queue_get, why);
    case MESSAGE_QUEUE_TAKEN:
        status = taken(registry, reference, message->queue_taken.number, why);
        if (status == 0 && (reference->object->queue.putters || reference->object->queue.getter_count > 0))
            look(registry, reference->object);
        return status;
    case MESSAGE_QUEUE_RETURN: return take_return(registry, reference, message->queue_return.number, why);
    case MESSAGE_QUEUE_FINISHED: take_finished(registry, reference, &message->queue_finished); return 0;
    case MESSAGE_QUEUE_ASK: return take_ask(registry, reference, &message->queue_ask, why);
    default: *why = "that message is not for a queue"; return MUSTER_EPROTOCOL;
    }
}

/* --- ends --------------------------------------------------------------------------------------------------------- */

static void queue_withdraw(struct registry *registry, struct waiter *waiter)
{
    struct object *object = waiter->reference->object;
    struct queue *queue = &object->queue;
    struct user *user = waiter->reference->user;
    uint64_t call = waiter->call;
    if (waiter->list == &queue->putters && call == 0) {
        putter_accept(registry, object, waiter); /* its put has returned long ago: it is not lost for want of room */
        return;
    }
    if (waiter->list == &queue->putters) {
        item_free(registry, waiter->item);
        queue->putter_count--;
    } else if (waiter->list == &queue->getters || waiter->list == &queue->lookers) {
        queue->getter_count--;
    }
    waiter_remove(registry, waiter);
    object_refuse(user, call, MUSTER_ETIMEDOUT, "the time is over");
    look(registry, object);
}

/* What a dead process had taken and not finished is not waited for. */
static void abandon_unfinished(struct registry *registry, struct queue *queue, const struct queue_part *part)
{
    uint64_t lost = part->taken > part->finished ? part->taken - part->finished : 0;
    if (lost > queue->unfinished)
        lost = queue->unfinished;
    queue->unfinished -= lost;
    queue->abandoned += lost;
    answer_joins(registry, queue);
}

static void queue_leave(struct registry *registry, struct reference *reference, bool died)
{
    struct object *object = reference->object;
    struct queue *queue = &object->queue;
    struct queue_part *part = &reference->queue;
    give_back(queue, reference, UINT64_MAX);
    hungry_set(queue, reference, false);
    if (part->recalled)
        queue->recalling--;
    if (part->producer && --queue->producers == 0 && died) {
        queue->orphaned = queue->orphan_news = true;
        queue->orphanings++;
    }
    if (died)
        abandon_unfinished(registry, queue, part);
    look(registry, object);
    if (queue->ready.count > 0)
        object_changed(registry, object);
}

static void free_items(struct registry *registry, struct items *items)
{
    while (items->first)
        item_free(registry, items_take(items));
}

static void queue_empty(struct registry *registry, struct object *object)
{
    static const char deleted[] = "the queue was deleted";
    struct queue *queue = &object->queue;
    starved_set(registry, object, false);
    for (struct waiter *waiter = queue->putters; waiter; waiter = waiter->next)
        item_free(registry, waiter->item);
    queue->getter_count = queue->putter_count = 0;
    waiters_answer(registry, &queue->putters, MUSTER_ENOOBJECT, deleted);
    waiters_answer(registry, &queue->getters, MUSTER_ENOOBJECT, deleted);
    waiters_answer(registry, &queue->lookers, MUSTER_ENOOBJECT, deleted);
    waiters_answer(registry, &queue->flushes, MUSTER_ENOOBJECT, deleted);
    waiters_answer(registry, &queue->joins, MUSTER_ENOOBJECT, deleted);
    free_items(registry, &queue->ready);
    for (struct reference *reference = object->references; reference; reference = reference->next) {
        free_items(registry, &reference->queue.leased);
        leasing_update(queue, reference);
        hungry_set(queue, reference, false);
        reference->queue.recalled = false;
    }
    queue->leased = queue->bytes = queue->recalling = 0;
}

/* --- the kind ----------------------------------------------------------------------------------------------------- */

static const char *queue_create(struct registry *registry, struct object *object,
                                const struct message_object_open *open)
{
    if (open->first > registry->config.queue_items)
        return "the maximum of a queue is more than the coordinator lets one hold (--queue-items)";
    object->queue.maximum = open->first;
    return NULL;
}

static size_t queue_describe(const struct object *object, uint64_t *numbers)
{
    numbers[0] = object->queue.maximum;
    return 1;
}

static void queue_status(const struct object *object, struct json *json)
{
    const struct queue *queue = &object->queue;
    json_write_uint(json, "items", size_of(queue));
    json_write_uint(json, "leased", queue->leased);
    json_write_uint(json, "maximum", queue->maximum);
    json_write_uint(json, "bytes", queue->bytes);
    json_write_uint(json, "waiting_to_get", queue->getter_count);
    json_write_uint(json, "waiting_to_put", queue->putter_count);
    json_write_uint(json, "put", queue->put);
    json_write_uint(json, "taken", queue->taken);
    json_write_uint(json, "returned", queue->returned);
}

static size_t count_waiters(const struct waiter *list)
{
    size_t count = 0;
    for (; list; list = list->next)
        count++;
    return count;
}

static const char *check_items(const struct items *items, struct registry_counts *sums)
{
    size_t count = 0, bytes = 0;
    const struct item *previous = NULL;
    for (const struct item *item = items->first; item; previous = item, item = item->next) {
        count++;
        bytes += item->length;
    }
    if (count != items->count || bytes != items->bytes || items->last != previous)
        return "a list of items is miscounted";
    sums->items += count;
    sums->bytes += bytes + count * ITEM_COST_BYTES;
    return NULL;
}

static const char *check_part(const struct reference *reference, struct registry_counts *sums)
{
    const struct queue_part *part = &reference->queue;
    if (part->leasing != (part->leased.count > 0))
        return "a session is among those with leased items, or is not, against the rules";
    if (part->accepted > part->put || part->told > part->accepted || part->put - part->accepted > QUEUE_WINDOW_ITEMS)
        return "more puts are accepted than were made, or more made than may be";
    for (const struct item *item = part->leased.first; item; item = item->next)
        if (item->number > part->given || (item->next && item->next->number <= item->number))
            return "a leased item has a wrong number";
    return check_items(&part->leased, sums);
}

static const char *queue_check(const struct object *object, struct registry_counts *sums)
{
    const struct queue *queue = &object->queue;
    size_t leased = 0, bytes = queue->ready.bytes, recalling = 0;
    const char *wrong = check_items(&queue->ready, sums);
    for (const struct item *item = queue->ready.first; item && item->next; item = item->next)
        if (item->sequence >= item->next->sequence)
            return "the items of a queue are out of order";
    for (const struct reference *reference = object->references; reference && !wrong; reference = reference->next) {
        wrong = check_part(reference, sums);
        leased += reference->queue.leased.count;
        bytes += reference->queue.leased.bytes;
        recalling += reference->queue.recalled;
    }
    if (wrong)
        return wrong;
    if (leased != queue->leased || bytes != queue->bytes || recalling != queue->recalling)
        return "a queue has miscounted its leases, bytes or recalls";
    size_t getters = count_waiters(queue->getters) + count_waiters(queue->lookers),
           putters = count_waiters(queue->putters);
    if (getters != queue->getter_count || putters != queue->putter_count)
        return "a queue has miscounted those who wait";
    if (getters > 0 && queue->ready.count > 0)
        return "somebody waits for an item while one is ready";
    if (putters > 0 && queue->ready.count == 0 && leased == 0)
        return "a put waits for room in an empty queue";
    for (const struct waiter *waiter = queue->putters; waiter; waiter = waiter->next) {
        sums->items++;
        sums->bytes += ITEM_COST_BYTES + waiter->item->length;
    }
    sums->waiters += getters + putters + count_waiters(queue->flushes) + count_waiters(queue->joins);
    return NULL;
}

const struct object_class queue_class = {.name = "queue",
                                         .create = queue_create,
                                         .describe = queue_describe,
                                         .take = queue_take,
                                         .withdraw = queue_withdraw,
                                         .leave = queue_leave,
                                         .empty = queue_empty,
                                         .flush = flush,
                                         .status = queue_status,
                                         .check = queue_check};
