/*
 * Clients with shared objects: they open queues, put, get, change their minds, and crash; and the ledger of items,
 * which compares what was put with what was taken. The promises of docs/objects.md, seen from outside:
 *
 *   items arrive     an item whose producer lives on, or whose put was confirmed, is taken by somebody in the end
 *   items once       it is taken once
 *   items in order   a consumer takes the items of one producer in the order in which they were put
 *   time-outs        an item whose put has ended with a time-out is not in the queue
 *   calls end        every call is answered: nobody who waits is forgotten
 *   nothing is left  in the end no object, reference, waiter or item is left but the empty persistent queues
 *
 * Excuses: a restart of the coordinator loses what is in the queues; a producer whose session ended may lose what was
 * not confirmed; an item may come twice if the session of who took it once ended before the coordinator had heard of
 * it; and what was called back, or left behind by an ended session, may come after younger items.
 */
#include "tests/sim/sim.h"

#include <stdlib.h>

static const char *const names[QUEUES] = {"jobs", "five", "fleeting"};
static const size_t maxima[QUEUES] = {0, 5, 0};

struct pending {
    struct sharing_call call; /* first */
    struct process *process;
    enum { DO_OPEN, DO_GET, DO_PUT, DO_FLUSH } what;
    unsigned queue;
    struct item *item;     /* of a put */
    unsigned items_before; /* of a flush */
    uint64_t withdraw_ns;  /* NEVER_NS: waits for ever */
    bool final;            /* a get that was asked when nothing could come any more */
    struct pending *next;
};

struct actor {
    struct shared *queues[QUEUES];
    struct shared *gone[QUEUES]; /* of the session that has ended: to be freed */
    unsigned opening;            /* bits */
    unsigned getting;            /* bits */
    unsigned finished;           /* bits: drained, in the end */
    struct pending *pending;
    uint64_t session, acked;                       /* messages acknowledged in this session */
    unsigned newest[QUEUES][MAX_CLIENT_PROCESSES]; /* 1 + index of the newest item of that producer taken here */
    bool done;
};

static unsigned index_of(const struct process *process)
{
    return process->id % MAX_CLIENT_PROCESSES;
}

/* --- the ledger of items ------------------------------------------------------------------------------------------ */

void objects_disordered(struct world *world)
{
    world->ordered_from = world->item_count;
}

static void item_taken(struct process *process, unsigned queue, struct parcel *parcel)
{
    struct world *world = process->world;
    unsigned index = UINT32_MAX;
    if (parcel->length == sizeof index)
        memcpy(&index, parcel->bytes, sizeof index);
    memory_free(parcel);
    if (index >= world->item_count || world->items[index].queue != queue) {
        sim_violate(world, "items arrive", "client %u took an item that nobody had put into %s", process->id,
                    names[queue]);
        return;
    }
    struct item *item = &world->items[index];
    sim_trace(world, "client %u takes item %u from %s", process->id, index, names[queue]);
    if (item->taken < TAKINGS)
        item->takings[item->taken] =
            (struct taking){process, process->actor->session, process->link.session.sent_messages, false};
    item->taken++;
    if (item->timed_out)
        sim_violate(world, "time-outs", "item %u was taken, though its put had ended with a time-out", index);
    unsigned *newest = &process->actor->newest[queue][index_of(item->producer)];
    if (index + 1 <= *newest && index >= world->ordered_from && item->taken == 1 && !(world->unordered & 1u << queue))
        sim_violate(world, "items in order", "client %u took item %u after item %u of the same producer", process->id,
                    index, *newest - 1);
    if (index + 1 > *newest)
        *newest = index + 1;
}

/* The session of this process has ended. */
static void session_ended(struct process *process)
{
    struct world *world = process->world;
    struct actor *actor = process->actor;
    for (unsigned i = 0; i < world->item_count; i++) {
        struct item *item = &world->items[i];
        if (item->producer == process && !item->confirmed)
            item->may_be_lost = true;
        for (unsigned t = 0; t < item->taken && t < TAKINGS; t++)
            if (item->takings[t].process == process && item->takings[t].session == actor->session &&
                item->takings[t].ordinal > actor->acked)
                item->takings[t].unheard = true;
    }
    objects_disordered(world);
    memset(actor->newest, 0, sizeof actor->newest);
    memcpy(actor->gone, actor->queues, sizeof actor->gone);
    memset(actor->queues, 0, sizeof actor->queues);
    actor->finished = 0;
    actor->acked = 0;
    actor->session++;
}

void objects_coordinator_crashed(struct world *world)
{
    for (unsigned i = 0; i < world->item_count; i++)
        world->items[i].may_be_lost = true;
    objects_disordered(world);
}

/* --- calls -------------------------------------------------------------------------------------------------------- */

static bool puts_pending(const struct world *world)
{
    for (unsigned i = 0; i < world->process_count; i++) {
        const struct process *process = world->processes[i];
        if (!process->alive || !process->actor)
            continue;
        for (const struct pending *pending = process->actor->pending; pending; pending = pending->next)
            if (pending->what == DO_PUT || pending->what == DO_FLUSH)
                return true;
    }
    return false;
}

static struct pending *pending_new(struct process *process, unsigned queue, int what)
{
    struct pending *pending = calloc(1, sizeof *pending);
    if (!pending)
        abort();
    pending->call.tag = pending;
    pending->process = process;
    pending->queue = queue;
    pending->what = what;
    pending->withdraw_ns = NEVER_NS;
    pending->next = process->actor->pending;
    process->actor->pending = pending;
    return pending;
}

static void pending_free(struct pending *pending)
{
    struct pending **link = &pending->process->actor->pending;
    while (*link != pending)
        link = &(*link)->next;
    *link = pending->next;
    free(pending);
}

static void put_answered(struct world *world, struct pending *pending, int status)
{
    struct item *item = pending->item;
    if (status == 0) {
        item->confirmed = true;
    } else if (status == MUSTER_ELOST) {
        item->may_be_lost = true;
    } else if (world->plant == PLANT_LATE_PUT && status == MUSTER_ETIMEDOUT) {
        item->timed_out = true;
        unsigned index = (unsigned)(item - world->items);
        struct pending *again = pending_new(pending->process, pending->queue, DO_PUT);
        again->item = item;
        sharing_put(pending->process->sharing, pending->process->actor->queues[pending->queue], &again->call, false, 0,
                    (struct bytes){&index, sizeof index});
    } else {
        item->timed_out = true;
    }
}

static void done(void *arg, struct sharing_call *call)
{
    struct process *process = arg;
    struct pending *pending = call->tag;
    if ((call->type >= MESSAGE_LOCK_ACQUIRE && call->type <= MESSAGE_COUNTER_WAIT) ||
        (call->type == MESSAGE_OBJECT_OPEN && call->kind != OBJECT_QUEUE)) {
        locks_done(call);
        return;
    }
    struct actor *actor = process->actor;
    unsigned bit = 1u << pending->queue;
    int status = call->status;
    sim_trace(process->world, "client %u: call %d on %s: %d", process->id, (int)pending->what, names[pending->queue],
              status);
    if (status != 0 && status != MUSTER_ELOST && status != MUSTER_ETIMEDOUT && status != MUSTER_EAGAIN)
        sim_violate(process->world, "calls end", "a call ended with %d: %s", status, call->text ? call->text : "");
    switch (pending->what) {
    case DO_OPEN:
        actor->opening &= ~bit;
        if (status == 0)
            actor->queues[pending->queue] = call->shared;
        break;
    case DO_GET:
        actor->getting &= ~bit;
        while (call->parcels.first) {
            struct parcel *parcel = call->parcels.first;
            call->parcels.first = parcel->next;
            item_taken(process, pending->queue, parcel);
        }
        if (status == MUSTER_EAGAIN && pending->final)
            actor->finished |= bit;
        break;
    case DO_PUT: put_answered(process->world, pending, status); break;
    case DO_FLUSH:
        for (unsigned i = 0; i < pending->items_before && status == 0; i++)
            if (process->world->items[i].producer == process && process->world->items[i].queue == pending->queue)
                process->world->items[i].confirmed = true;
        break;
    }
    pending_free(pending);
}

static void room(void *arg, struct shared *shared)
{
    (void)arg;
    (void)shared;
}

static const struct sharing_events sharing_events = {.done = done, .room = room};

/* What the process says; some plants live here. */
static int send(void *arg, const struct message *message)
{
    struct process *process = arg;
    enum plant plant = process->world->plant;
    if ((plant == PLANT_ITEM_TWICE && message->type == MESSAGE_QUEUE_TAKEN && message->queue_taken.number % 3 == 0) ||
        (plant == PLANT_NO_RETURN && message->type == MESSAGE_QUEUE_RETURN) ||
        (plant == PLANT_NO_CLOSE && message->type == MESSAGE_OBJECT_CLOSE && process->world->healing))
        return 0;
    return link_send(&process->link, message);
}

int objects_message(struct process *process, const struct message *message)
{
    if (process->world->plant == PLANT_ITEM_LOST && message->type == MESSAGE_QUEUE_ITEM &&
        message->queue_item.number % 7 == 3 && message->queue_item.call == 0)
        return 0;
    if (message->type == MESSAGE_QUEUE_RECALL)
        objects_disordered(process->world);
    return sharing_message(process->sharing, message);
}

static void bury(struct process *process)
{
    struct actor *actor = process->actor;
    for (unsigned queue = 0; queue < QUEUES; queue++)
        if (actor->gone[queue])
            sharing_close(process->sharing, actor->gone[queue]);
    memset(actor->gone, 0, sizeof actor->gone);
    locks_bury(process);
}

void objects_renewed(struct process *process)
{
    session_ended(process);
    locks_renewed(process);
    sharing_renew(process->sharing);
    bury(process);
}

/* --- acting ------------------------------------------------------------------------------------------------------- */

static void act_open(struct process *process, unsigned queue)
{
    struct actor *actor = process->actor;
    struct message_object_open open = {.kind = OBJECT_QUEUE,
                                       .name = bytes_string(names[queue]),
                                       .flags = OBJECT_CREATE | (queue < 2 ? OBJECT_PERSISTENT : 0),
                                       .first = maxima[queue]};
    if (actor->opening & 1u << queue)
        return;
    struct pending *pending = pending_new(process, queue, DO_OPEN);
    if (sharing_open(process->sharing, &pending->call, &open) == 0)
        actor->opening |= 1u << queue;
    else
        pending_free(pending);
}

static struct item *item_invent(struct process *process, unsigned queue)
{
    struct world *world = process->world;
    if (world->item_count == MAX_ITEMS)
        return NULL;
    struct item *item = &world->items[world->item_count++];
    *item = (struct item){.queue = queue, .producer = process};
    item->may_be_lost = maxima[queue] == 0 && queue == 2; /* it may vanish with its last user */
    return item;
}

static void act_put(struct process *process, unsigned queue)
{
    struct world *world = process->world;
    struct item *item = item_invent(process, queue);
    if (!item)
        return;
    unsigned index = (unsigned)(item - world->items), said = index;
    if (world->plant == PLANT_ITEM_ORDER && index % 9 == 4 && world->item_count < MAX_ITEMS) {
        item = item_invent(process, queue); /* this one goes first */
        said = index + 1;
    }
    sim_trace(world, "client %u puts item %u into %s", process->id, said, names[queue]);
    struct bytes bytes = {&said, sizeof said};
    int status;
    if (maxima[queue] == 0) {
        status = sharing_put_ahead(process->sharing, process->actor->queues[queue], 0, bytes);
        if (status == 0 && said != index)
            status = sharing_put_ahead(process->sharing, process->actor->queues[queue], 0,
                                       (struct bytes){&index, sizeof index});
    } else {
        struct pending *pending = pending_new(process, queue, DO_PUT);
        pending->item = item;
        if (sim_chance(world, 50))
            pending->withdraw_ns = world->now_ns + sim_random(world, 2 * NS_PER_S);
        status = sharing_put(process->sharing, process->actor->queues[queue], &pending->call, sim_chance(world, 20), 0,
                             bytes);
        if (status != 0)
            pending_free(pending);
        world->items[index].may_be_lost |= said != index; /* that one was not sent at all */
    }
    if (status != 0)
        item->may_be_lost = true;
}

static void act_get(struct process *process, unsigned queue, bool final)
{
    struct world *world = process->world;
    struct actor *actor = process->actor;
    struct parcel *parcel;
    for (unsigned most = final ? UINT32_MAX : 1 + (unsigned)sim_random(world, 3); most > 0; most--) {
        if (!(parcel = sharing_take(process->sharing, actor->queues[queue])))
            break;
        item_taken(process, queue, parcel);
    }
    if (actor->queues[queue]->ahead.count > 0 || (actor->getting & 1u << queue))
        return;
    struct pending *pending = pending_new(process, queue, DO_GET);
    pending->final = final && !puts_pending(world) && world->now_ns > world->healed_ns + 4 * SIM_HEARTBEAT_NS;
    if (sim_chance(world, 50))
        pending->withdraw_ns = world->now_ns + sim_random(world, 2 * NS_PER_S);
    int status = sharing_get(process->sharing, actor->queues[queue], &pending->call, 1 + sim_random(world, 4),
                             final || sim_chance(world, 30));
    if (status == 0)
        actor->getting |= 1u << queue;
    else
        pending_free(pending);
}

static void act_flush(struct process *process, unsigned queue)
{
    struct pending *pending = pending_new(process, queue, DO_FLUSH);
    pending->items_before = process->world->item_count;
    if (sharing_ask(process->sharing, process->actor->queues[queue], &pending->call, QUEUE_FLUSH) != 0)
        pending_free(pending);
}

static bool busy(const struct actor *actor, unsigned queue)
{
    for (const struct pending *pending = actor->pending; pending; pending = pending->next)
        if (pending->queue == queue)
            return true;
    return false;
}

static void act_close(struct process *process, unsigned queue)
{
    struct actor *actor = process->actor;
    if (busy(actor, queue))
        return;
    sim_trace(process->world, "client %u closes %s", process->id, names[queue]);
    sharing_close(process->sharing, actor->queues[queue]);
    actor->queues[queue] = NULL;
    objects_disordered(process->world);
    process->world->unordered |= 1u << queue; /* what it was being given comes back some time later */
}

static void act(struct process *process, unsigned queue)
{
    struct world *world = process->world;
    if (!process->actor->queues[queue]) {
        act_open(process, queue);
        return;
    }
    unsigned what = (unsigned)sim_random(world, 100);
    if (what < 45)
        for (unsigned burst = 1 + (unsigned)sim_random(world, 8); burst > 0; burst--)
            act_put(process, queue);
    else if (what < 90)
        act_get(process, queue, false);
    else if (what < 95)
        act_flush(process, queue);
    else if (what < 97)
        act_close(process, queue);
}

/* In the end: takes all there is, and closes. */
static void wind_down(struct process *process, unsigned queue)
{
    struct actor *actor = process->actor;
    if (actor->finished & 1u << queue) {
        if (actor->queues[queue])
            act_close(process, queue);
    } else if (!actor->queues[queue]) {
        act_open(process, queue);
    } else {
        act_get(process, queue, true);
    }
}

void objects_act(struct process *process)
{
    struct world *world = process->world;
    struct actor *actor = process->actor;
    locks_act(process);
    if (!process->frozen) {
        for (struct pending *pending = actor->pending; pending; pending = pending->next)
            if (pending->withdraw_ns <= world->now_ns || (world->healing && pending->what == DO_GET)) {
                pending->withdraw_ns = NEVER_NS;
                sharing_withdraw(process->sharing, &pending->call);
            }
        if (!world->healing)
            act(process, (unsigned)sim_random(world, QUEUES));
        for (unsigned queue = 0; world->healing && queue < QUEUES; queue++)
            wind_down(process, queue);
    }
    actor->done = world->healing && locks_quiet(process) && actor->finished == (1u << QUEUES) - 1 && !actor->pending;
    for (unsigned queue = 0; queue < QUEUES; queue++)
        actor->done = actor->done && !actor->queues[queue];
    if (!actor->done || !world->healing)
        sim_at(world, world->now_ns + sim_random(world, NS_PER_S / 2), EVENT_OBJECTS_ACT, process->id);
}

bool objects_done(const struct process *process)
{
    return !process->actor || process->actor->done;
}

void objects_start(struct process *process)
{
    process->actor = calloc(1, sizeof *process->actor);
    if (!process->actor)
        abort();
    locks_start(process);
    if (sharing_create(&process->sharing, &sharing_events, process, send, process) != 0)
        sim_violate(process->world, "set-up", "a client's shared objects could not be made");
    sim_at(process->world, process->world->now_ns + sim_random(process->world, NS_PER_S), EVENT_OBJECTS_ACT,
           process->id);
}

void objects_stop(struct process *process)
{
    struct actor *actor = process->actor;
    objects_note_acknowledged(process);
    session_ended(process);
    locks_renewed(process);
    sharing_end(process->sharing, MUSTER_ELOST, "crashed");
    bury(process);
    locks_stop(process);
    sharing_free(process->sharing);
    free(actor);
    process->sharing = NULL;
    process->actor = NULL;
}

void objects_note_acknowledged(struct process *process)
{
    if (!process->actor || process->link.state != LINK_OPEN)
        return;
    process->actor->acked = process->link.session.acked_messages;
    locks_note_acknowledged(process);
}

void objects_end(struct world *world)
{
    locks_end(world);
    for (unsigned i = 0; i < world->item_count; i++) {
        const struct item *item = &world->items[i];
        unsigned heard = 0;
        for (unsigned t = 0; t < item->taken && t < TAKINGS; t++)
            heard += !item->takings[t].unheard;
        if (heard > 1 || item->taken > TAKINGS)
            sim_violate(world, "items once", "item %u of %s was taken %u times, and the coordinator heard of %u", i,
                        names[item->queue], item->taken, heard);
        if (item->taken == 0 && !item->may_be_lost && !item->timed_out)
            sim_violate(world, "items arrive", "item %u of client %u was never taken from %s", i, item->producer->id,
                        names[item->queue]);
    }
    struct coordinator_counts counts;
    coordinator_count(hub_coordinator(world->hub), &counts);
    if (counts.objects.objects > 2 || counts.objects.references || counts.objects.waiters || counts.objects.items)
        sim_violate(world, "nothing is left", "%zu objects, %zu references, %zu waiters and %zu items in the end",
                    counts.objects.objects, counts.objects.references, counts.objects.waiters, counts.objects.items);
}
