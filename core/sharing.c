/*
 * A peer's end of shared objects.
 *
 * An answer may arrive while the request is still being sent (an embedded coordinator answers in the same call), so a
 * call is in the table before its request goes out, and the caller looks at `done` afterwards. Nothing is sent from
 * inside sharing_message() to such a coordinator: it gives items for good, so that there is nothing to say.
 *
 * Items are taken in the order of their numbers, always from the front of what was given in advance; a get takes from
 * there too. So "taken up to this number" says all.
 */
#include "core/sharing.h"

#include <stdio.h>
#include <utlist.h>

#include "core/errors.h"
#include "core/unpack.h"

#define LOST_TEXT                                                                                                  \
    "the session in which the shared object was opened is gone (the coordinator has restarted, or had given this " \
    "process up): open it again"

struct sharing {
    const struct sharing_events *events;
    void *arg;
    sharing_send *send;
    void *send_arg;
    struct shared *objects;     /* hash table by id: those that are not dead */
    struct sharing_call *calls; /* hash table by call */
    uint64_t next_call;
    int ended;
    const char *ended_text;
};

int sharing_create(struct sharing **sharing, const struct sharing_events *events, void *arg, sharing_send *send,
                   void *send_arg)
{
    *sharing = memory_zero(sizeof **sharing);
    if (!*sharing)
        return error_memory();
    **sharing = (struct sharing){.events = events, .arg = arg, .send = send, .send_arg = send_arg, .next_call = 1};
    return 0;
}

static struct shared_hold **hold_find(struct shared *shared, uint64_t owner)
{
    struct shared_hold **at = &shared->holds;
    while (*at && (*at)->owner != owner)
        at = &(*at)->next;
    return at;
}

static void hold_drop(struct shared_hold **at)
{
    struct shared_hold *hold = *at;
    if (--hold->depth > 0)
        return;
    *at = hold->next;
    memory_free(hold);
}

static void holds_free(struct shared *shared)
{
    while (shared->holds) {
        shared->holds->depth = 1;
        hold_drop(&shared->holds);
    }
}

/* --- parcels ------------------------------------------------------------------------------------------------------ */

static void parcels_append(struct parcels *parcels, struct parcel *parcel)
{
    parcel->next = NULL;
    *(parcels->last ? &parcels->last->next : &parcels->first) = parcel;
    parcels->last = parcel;
    parcels->count++;
}

static struct parcel *parcels_take(struct parcels *parcels)
{
    struct parcel *parcel = parcels->first;
    if (!parcel)
        return NULL;
    parcels->first = parcel->next;
    if (!parcels->first)
        parcels->last = NULL;
    parcels->count--;
    return parcel;
}

static void parcels_free(struct parcels *parcels)
{
    for (struct parcel *parcel; (parcel = parcels_take(parcels));)
        memory_free(parcel);
}

/* --- calls -------------------------------------------------------------------------------------------------------- */

static void call_forget(struct sharing *sharing, struct sharing_call *call)
{
    HASH_DEL(sharing->calls, call);
    if (call->type == MESSAGE_QUEUE_GET && call->shared)
        DL_DELETE(call->shared->gets, call);
}

/* Who has waited for a condition holds the lock again, unless everything is lost. */
static void hold_again(struct sharing_call *call, int status)
{
    struct shared_hold *hold = call->hold;
    call->hold = NULL;
    if (status == MUSTER_ELOST || status == MUSTER_ENOOBJECT || status == MUSTER_ECLOSED) {
        memory_free(hold);
        return;
    }
    hold->next = call->shared->holds;
    call->shared->holds = hold;
}

static void call_done(struct sharing *sharing, struct sharing_call *call, int status, const char *text)
{
    call_forget(sharing, call);
    if (call->hold)
        hold_again(call, status);
    if (call->abandoned) {
        memory_free(call);
        return;
    }
    call->status = status;
    call->text = text;
    call->done = true;
    sharing->events->done(sharing->arg, call);
}

/* Numbers the call, keeps it, and sends its request. */
static int call_send(struct sharing *sharing, struct shared *shared, struct sharing_call *call, struct message *message,
                     uint64_t *number)
{
    if (sharing->ended)
        return error_set(sharing->ended, "%s", sharing->ended_text);
    if (shared && shared->dead)
        return error_set(shared->dead, "%s", shared->dead_text);
    call->call = *number = sharing->next_call++;
    call->type = message->type;
    call->shared = shared;
    if (!HASH_ADD_U64(sharing->calls, call, call))
        return error_memory();
    if (call->type == MESSAGE_QUEUE_GET)
        DL_APPEND(shared->gets, call);
    int status = sharing->send(sharing->send_arg, message);
    if (status != 0 && !call->done)
        call_forget(sharing, call);
    return call->done ? 0 : status;
}

void sharing_withdraw(struct sharing *sharing, struct sharing_call *call)
{
    struct message message = {.type = MESSAGE_OBJECT_WITHDRAW};
    message.object_withdraw.call = call->call;
    if (!call->done)
        sharing->send(sharing->send_arg, &message); /* without a session there is no call to withdraw */
}

void sharing_abandon(struct sharing *sharing, struct sharing_call *call)
{
    call->abandoned = true;
    /* What an open or an acquisition gives is given back when it comes. */
    if (call->done || (call->type != MESSAGE_OBJECT_OPEN && call->type != MESSAGE_LOCK_ACQUIRE)) {
        if (!call->done)
            call_forget(sharing, call);
        memory_free(call->hold);
        parcels_free(&call->parcels);
        memory_free(call);
    }
}

/* --- objects ------------------------------------------------------------------------------------------------------ */

static struct shared *shared_find(struct sharing *sharing, uint64_t id)
{
    struct shared *shared;
    HASH_FIND_U64(sharing->objects, id, shared);
    return shared;
}

/* It is in no table any more, and lives on for its handles. */
static void shared_die(struct sharing *sharing, struct shared *shared, int status, const char *text)
{
    HASH_DEL(sharing->objects, shared);
    shared->dead = status;
    shared->dead_text = text;
    parcels_free(&shared->ahead);
    holds_free(shared);
    sharing->events->room(sharing->arg, shared);
}

static void all_die(struct sharing *sharing, int status, const char *text)
{
    struct sharing_call *call, *next_call;
    HASH_ITER (hh, sharing->calls, call, next_call)
        call_done(sharing, call, status, text);
    struct shared *shared, *next;
    HASH_ITER (hh, sharing->objects, shared, next)
        shared_die(sharing, shared, status, text);
}

void sharing_renew(struct sharing *sharing)
{
    all_die(sharing, MUSTER_ELOST, LOST_TEXT);
}

void sharing_end(struct sharing *sharing, int status, const char *text)
{
    if (sharing->ended)
        return;
    sharing->ended = status;
    sharing->ended_text = text;
    all_die(sharing, status, text);
}

void sharing_free(struct sharing *sharing)
{
    if (!sharing)
        return;
    sharing_end(sharing, MUSTER_ECLOSED, "the pool was freed");
    memory_free(sharing);
}

static void close_send(struct sharing *sharing, uint64_t id)
{
    struct message message = {.type = MESSAGE_OBJECT_CLOSE};
    message.object_close.object = id;
    sharing->send(sharing->send_arg, &message); /* without a session there is nothing to close */
}

void sharing_close(struct sharing *sharing, struct shared *shared)
{
    if (!shared->dead)
        close_send(sharing, shared->id);
    if (--shared->handles > 0)
        return;
    struct sharing_call *call, *next; /* of other threads: whoever closes under them ends their wait */
    HASH_ITER (hh, sharing->calls, call, next)
        if (call->shared == shared)
            call_done(sharing, call, MUSTER_ECLOSED, "the handle was closed");
    if (!shared->dead)
        HASH_DEL(sharing->objects, shared);
    parcels_free(&shared->ahead);
    holds_free(shared);
    memory_free(shared);
}

int sharing_open(struct sharing *sharing, struct sharing_call *call, const struct message_object_open *open)
{
    struct message message = {.type = MESSAGE_OBJECT_OPEN, .object_open = *open};
    call->kind = (enum object_kind)open->kind;
    return call_send(sharing, NULL, call, &message, &message.object_open.call);
}

int sharing_delete(struct sharing *sharing, struct sharing_call *call, struct bytes name)
{
    struct message message = {.type = MESSAGE_OBJECT_DELETE};
    message.object_delete.name = name;
    return call_send(sharing, NULL, call, &message, &message.object_delete.call);
}

/* --- queues ------------------------------------------------------------------------------------------------------- */

int sharing_get(struct sharing *sharing, struct shared *shared, struct sharing_call *call, size_t count, bool no_wait)
{
    struct message message = {.type = MESSAGE_QUEUE_GET};
    message.queue_get.object = shared->id;
    message.queue_get.flags = no_wait ? OBJECT_NO_WAIT : 0;
    message.queue_get.count = call->wanted = count;
    return call_send(sharing, shared, call, &message, &message.queue_get.call);
}

int sharing_put(struct sharing *sharing, struct shared *shared, struct sharing_call *call, bool no_wait,
                uint64_t encoding, struct bytes item)
{
    struct message message = {.type = MESSAGE_QUEUE_PUT};
    message.queue_put.object = shared->id;
    message.queue_put.flags = no_wait ? OBJECT_NO_WAIT : 0;
    message.queue_put.encoding = encoding;
    message.queue_put.item = item;
    return call_send(sharing, shared, call, &message, &message.queue_put.call);
}

int sharing_ask(struct sharing *sharing, struct shared *shared, struct sharing_call *call, enum queue_question what)
{
    struct message message = {.type = MESSAGE_QUEUE_ASK};
    message.queue_ask.object = shared->id;
    message.queue_ask.what = what;
    return call_send(sharing, shared, call, &message, &message.queue_ask.call);
}

int sharing_finished(struct sharing *sharing, struct shared *shared, struct sharing_call *call, uint64_t count)
{
    struct message message = {.type = MESSAGE_QUEUE_FINISHED};
    message.queue_finished.object = shared->id;
    message.queue_finished.count = count;
    return call_send(sharing, shared, call, &message, &message.queue_finished.call);
}

int sharing_put_ahead(struct sharing *sharing, struct shared *shared, uint64_t encoding, struct bytes item)
{
    if (sharing->ended)
        return error_set(sharing->ended, "%s", sharing->ended_text);
    if (shared->dead)
        return error_set(shared->dead, "%s", shared->dead_text);
    if (shared->waiting_items >= QUEUE_WINDOW_ITEMS || shared->waiting_bytes >= QUEUE_WINDOW_BYTES)
        return MUSTER_EAGAIN;
    struct message message = {.type = MESSAGE_QUEUE_PUT};
    message.queue_put.object = shared->id;
    message.queue_put.encoding = encoding;
    message.queue_put.item = item;
    shared->waiting_items++; /* before it is sent: the answer may come at once */
    shared->waiting_bytes += item.length;
    int status = sharing->send(sharing->send_arg, &message);
    if (status != 0) {
        shared->waiting_items--;
        shared->waiting_bytes -= item.length;
    }
    return status;
}

/* The items up to this one are taken. */
static void taken_send(struct sharing *sharing, struct shared *shared, uint64_t number)
{
    if (number == 0)
        return;
    struct message message = {.type = MESSAGE_QUEUE_TAKEN};
    message.queue_taken.object = shared->id;
    message.queue_taken.number = shared->taken = number;
    sharing->send(sharing->send_arg, &message); /* without a session the coordinator takes them back */
}

struct parcel *sharing_take(struct sharing *sharing, struct shared *shared)
{
    struct parcel *parcel = parcels_take(&shared->ahead);
    if (parcel)
        taken_send(sharing, shared, parcel->number);
    return parcel;
}

/* Gives what has arrived to the call that has waited longest. Its own items may come later, and are then in advance. */
static void gets_serve(struct sharing *sharing, struct shared *shared, uint64_t answered)
{
    while (shared->gets && shared->ahead.count > 0) {
        struct sharing_call *call = shared->gets;
        uint64_t number = 0;
        while (call->parcels.count < call->wanted && shared->ahead.count > 0) {
            struct parcel *parcel = parcels_take(&shared->ahead);
            number = parcel->number;
            parcels_append(&call->parcels, parcel);
        }
        taken_send(sharing, shared, number);
        if (call->call != answered)
            sharing_withdraw(sharing, call);
        call_done(sharing, call, 0, NULL);
    }
}

static int item_arrived(struct sharing *sharing, const struct message_queue_item *item)
{
    struct shared *shared = shared_find(sharing, item->object);
    if (!shared)
        return 0; /* closed meanwhile: the coordinator takes it back */
    struct parcel *parcel = memory_alloc(sizeof *parcel + item->item.length);
    if (!parcel)
        return error_memory(); /* the session ends with that, and the item goes back */
    *parcel = (struct parcel){.number = item->number, .encoding = item->encoding, .length = item->item.length};
    if (parcel->length > 0)
        memcpy(parcel->bytes, item->item.data, parcel->length);
    parcels_append(&shared->ahead, parcel);
    if (item->more == 0)
        gets_serve(sharing, shared, item->call);
    return 0;
}

static void recalled(struct sharing *sharing, uint64_t id)
{
    struct shared *shared = shared_find(sharing, id);
    if (!shared)
        return;
    struct message message = {.type = MESSAGE_QUEUE_RETURN};
    message.queue_return.object = id;
    message.queue_return.number = shared->taken;
    parcels_free(&shared->ahead);
    sharing->send(sharing->send_arg, &message); /* without a session they have gone back already */
}

static void puts_accepted(struct sharing *sharing, const struct message_queue_accepted *accepted)
{
    struct shared *shared = shared_find(sharing, accepted->object);
    if (!shared)
        return;
    shared->waiting_items -= accepted->items < shared->waiting_items ? accepted->items : shared->waiting_items;
    shared->waiting_bytes -= accepted->bytes < shared->waiting_bytes ? accepted->bytes : shared->waiting_bytes;
    sharing->events->room(sharing->arg, shared);
}

/* --- locks -------------------------------------------------------------------------------------------------------- */

int sharing_acquire(struct sharing *sharing, struct shared *shared, struct sharing_call *call, uint64_t owner,
                    enum lock_mode mode, bool no_wait)
{
    struct message message = {.type = MESSAGE_LOCK_ACQUIRE};
    message.lock_acquire.object = shared->id;
    message.lock_acquire.flags = no_wait ? OBJECT_NO_WAIT : 0;
    message.lock_acquire.owner = call->owner = owner;
    message.lock_acquire.mode = mode;
    return call_send(sharing, shared, call, &message, &message.lock_acquire.call);
}

static struct message release_message(const struct shared *shared, uint64_t flags, uint64_t owner, uint64_t count)
{
    struct message message = {.type = MESSAGE_LOCK_RELEASE};
    message.lock_release.object = shared->id;
    message.lock_release.flags = flags;
    message.lock_release.owner = owner;
    message.lock_release.count = count;
    return message;
}

int sharing_release(struct sharing *sharing, struct shared *shared, struct sharing_call *call, uint64_t flags,
                    uint64_t owner, uint64_t count)
{
    struct message message = release_message(shared, flags, owner, count);
    return call_send(sharing, shared, call, &message, &message.lock_release.call);
}

int sharing_ask_lock(struct sharing *sharing, struct shared *shared, struct sharing_call *call)
{
    struct message message = {.type = MESSAGE_LOCK_ASK};
    message.lock_ask.object = shared->id;
    return call_send(sharing, shared, call, &message, &message.lock_ask.call);
}

int sharing_release_own(struct sharing *sharing, struct shared *shared, uint64_t owner)
{
    if (shared->dead)
        return error_set(shared->dead, "%s", shared->dead_text);
    struct shared_hold **at = hold_find(shared, owner);
    if (!*at)
        return error_set(MUSTER_EINVAL, "the lock is not held, or by somebody else");
    hold_drop(at);
    struct message message = release_message(shared, 0, owner, 1);
    return sharing->send(sharing->send_arg, &message);
}

int sharing_wait(struct sharing *sharing, struct shared *shared, struct sharing_call *call, uint64_t owner,
                 uint64_t condition)
{
    struct shared_hold **at = hold_find(shared, owner), *hold = *at;
    if (shared->dead)
        return error_set(shared->dead, "%s", shared->dead_text);
    if (!hold)
        return error_set(MUSTER_EINVAL, "who waits for a condition must hold its lock alone");
    struct message message = {.type = MESSAGE_LOCK_WAIT};
    message.lock_wait.object = shared->id;
    message.lock_wait.owner = owner;
    message.lock_wait.condition = condition;
    *at = hold->next;
    call->hold = hold;
    int status = call_send(sharing, shared, call, &message, &message.lock_wait.call);
    if (status != 0 && call->hold) {
        call->shared = shared;
        hold_again(call, 0);
    }
    return status;
}

int sharing_notify(struct sharing *sharing, struct shared *shared, struct sharing_call *call, uint64_t owner,
                   uint64_t condition, uint64_t count)
{
    struct message message = {.type = MESSAGE_LOCK_NOTIFY};
    message.lock_notify.object = shared->id;
    message.lock_notify.owner = owner;
    message.lock_notify.condition = condition;
    message.lock_notify.count = count;
    return call_send(sharing, shared, call, &message, &message.lock_notify.call);
}

int sharing_event_wait(struct sharing *sharing, struct shared *shared, struct sharing_call *call, bool no_wait)
{
    struct message message = {.type = MESSAGE_EVENT_WAIT};
    message.event_wait.object = shared->id;
    message.event_wait.flags = no_wait ? OBJECT_NO_WAIT : 0;
    return call_send(sharing, shared, call, &message, &message.event_wait.call);
}

int sharing_event_set(struct sharing *sharing, struct shared *shared, struct sharing_call *call, bool set)
{
    struct message message = {.type = MESSAGE_EVENT_SET};
    message.event_set.object = shared->id;
    message.event_set.set = set;
    return call_send(sharing, shared, call, &message, &message.event_set.call);
}

int sharing_barrier_wait(struct sharing *sharing, struct shared *shared, struct sharing_call *call)
{
    struct message message = {.type = MESSAGE_BARRIER_WAIT};
    message.barrier_wait.object = shared->id;
    return call_send(sharing, shared, call, &message, &message.barrier_wait.call);
}

int sharing_barrier_reset(struct sharing *sharing, struct shared *shared, struct sharing_call *call, bool broken)
{
    struct message message = {.type = MESSAGE_BARRIER_RESET};
    message.barrier_reset.object = shared->id;
    message.barrier_reset.broken = broken;
    return call_send(sharing, shared, call, &message, &message.barrier_reset.call);
}

int sharing_barrier_ask(struct sharing *sharing, struct shared *shared, struct sharing_call *call)
{
    struct message message = {.type = MESSAGE_BARRIER_ASK};
    message.barrier_ask.object = shared->id;
    return call_send(sharing, shared, call, &message, &message.barrier_ask.call);
}

int sharing_counter(struct sharing *sharing, struct shared *shared, struct sharing_call *call, struct message *message)
{
    message->counter_add.object = shared->id; /* COUNTER_SET and COUNTER_WAIT begin in the same way */
    return call_send(sharing, shared, call, message, &message->counter_add.call);
}

/* The lock is ours; given back if nobody waits for it any more, or there is no memory to know it. */
static void lock_granted(struct sharing *sharing, struct sharing_call *call)
{
    struct shared *shared = call->shared;
    struct shared_hold **at = shared->kind == OBJECT_LOCK ? hold_find(shared, call->owner) : NULL;
    struct shared_hold *made = NULL;
    if (at && !*at && !call->abandoned)
        made = memory_zero(sizeof *made);
    if (call->abandoned || (at && !*at && !made)) {
        struct message message = release_message(shared, 0, call->owner, 1);
        sharing->send(sharing->send_arg, &message);
        call_done(sharing, call, MUSTER_ENOMEM, "there is no memory for a lock");
        return;
    }
    if (made) {
        made->owner = call->owner;
        *at = made;
    }
    if (at)
        (*at)->depth++;
    call_done(sharing, call, 0, NULL);
}

/* --- answers ------------------------------------------------------------------------------------------------------ */

static bool read_numbers(struct sharing_call *call, struct bytes data)
{
    size_t count;
    call->count = 0;
    if (data.length == 0)
        return true;
    if (!unpack_array(&data, &count) || count > sizeof call->numbers / sizeof *call->numbers)
        return false;
    for (size_t i = 0; i < count; i++)
        if (!unpack_uint(&data, &call->numbers[i]))
            return false;
    call->count = count;
    return true;
}

/* The object of a successful open: known already, or new. NULL: no memory. */
static struct shared *shared_use(struct sharing *sharing, const struct sharing_call *call)
{
    struct shared *shared = shared_find(sharing, call->number);
    if (!shared) {
        shared = memory_zero(sizeof *shared);
        if (!shared)
            return NULL;
        shared->id = call->number;
        shared->kind = call->kind;
        shared->maximum = call->count > 1 ? call->numbers[1] : 0;
        if (!HASH_ADD_U64(sharing->objects, id, shared)) {
            memory_free(shared);
            return NULL;
        }
    }
    shared->handles++;
    return shared;
}

static int open_answered(struct sharing *sharing, struct sharing_call *call)
{
    int status = 0;
    const char *text = NULL;
    if (call->abandoned || !(call->shared = shared_use(sharing, call))) {
        close_send(sharing, call->number);
        status = MUSTER_ENOMEM;
        text = "there is no memory for a shared object";
    }
    call_done(sharing, call, status, text);
    return 0;
}

static int answered(struct sharing *sharing, const struct message_object_answer *answer)
{
    struct sharing_call *call;
    HASH_FIND_U64(sharing->calls, answer->call, call);
    if (!call)
        return 0; /* answered otherwise, or abandoned */
    call->number = answer->number;
    if (answer->status != 0) {
        int length =
            answer->data.length < sizeof call->sentence ? (int)answer->data.length : (int)sizeof call->sentence - 1;
        snprintf(call->sentence, sizeof call->sentence, "%.*s", length,
                 length > 0 ? (const char *)answer->data.data : "");
        call_done(sharing, call, answer->status <= 1000 ? -(int)answer->status : MUSTER_EPROTOCOL, call->sentence);
        return 0;
    }
    if (!read_numbers(call, answer->data))
        return error_set(MUSTER_EPROTOCOL, "OBJECT_ANSWER has data that are not an array of numbers");
    if (call->type == MESSAGE_OBJECT_OPEN)
        return open_answered(sharing, call);
    if (call->type == MESSAGE_LOCK_ACQUIRE) {
        lock_granted(sharing, call);
        return 0;
    }
    call_done(sharing, call, 0, NULL);
    return 0;
}

static void deleted(struct sharing *sharing, uint64_t id)
{
    struct shared *shared = shared_find(sharing, id);
    if (!shared)
        return;
    shared_die(sharing, shared, MUSTER_ENOOBJECT, "the shared object was deleted");
}

int sharing_message(struct sharing *sharing, const struct message *message)
{
    switch (message->type) {
    case MESSAGE_OBJECT_ANSWER: return answered(sharing, &message->object_answer);
    case MESSAGE_QUEUE_ITEM: return item_arrived(sharing, &message->queue_item);
    case MESSAGE_QUEUE_ACCEPTED: puts_accepted(sharing, &message->queue_accepted); return 0;
    case MESSAGE_QUEUE_RECALL: recalled(sharing, message->queue_recall.object); return 0;
    case MESSAGE_OBJECT_DELETED: deleted(sharing, message->object_deleted.object); return 0;
    default: return error_set(MUSTER_EPROTOCOL, "a peer was sent %s", message_name(message->type));
    }
}
