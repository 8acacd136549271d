/*
 * Clients with locks, and the ledger of who believes to hold what:
 *
 *   mutual exclusion   while one holds a lock alone nobody else holds it
 *   counters count     a counter that everybody only adds to is never seen to fall
 *   fences rise        a grant has a higher number than every grant that was known when it was asked for
 *
 * Excuse: a client whose session has ended may not know yet that it holds nothing any more. That is what the numbers of
 * the grants are for.
 */
#include "tests/sim/sim.h"

#include <stdlib.h>

#define LOCKS 6 /* two locks, a semaphore, an event, a barrier, a counter */

static const char *const names[LOCKS] = {"lock", "shared", "permits", "event", "barrier", "counter"};

struct acquiring {
    struct sharing_call call; /* first */
    struct process *process;
    unsigned lock;
    enum { DO_ACQUIRE, DO_OPEN, DO_SLEEP, DO_COUNT, DO_OTHER } what;
    uint64_t known; /* of a counter */
    enum lock_mode mode;
    uint64_t fence_before; /* the highest known when it was asked for */
    uint64_t withdraw_ns;
};

struct locker {
    struct shared *locks[LOCKS];
    struct shared *gone[LOCKS]; /* of the session that has ended: to be freed */
    struct acquiring *pending[LOCKS];
    unsigned held[LOCKS]; /* 1 + index in world->grants; 0: not held */
    uint64_t counted;     /* the highest value that it has seen in this session */
    uint64_t session, acked;
    bool done;
};

/* --- the ledger --------------------------------------------------------------------------------------------------- */

static bool conflict(const struct grant *a, const struct grant *b)
{
    return a->lock == b->lock && a->lock < 2 && (a->mode == LOCK_ALONE || b->mode == LOCK_ALONE);
}

static void granted(struct world *world, struct process *process, const struct acquiring *acquiring, uint64_t fence)
{
    if (world->grant_count == MAX_GRANTS)
        return;
    struct grant *grant = &world->grants[world->grant_count];
    *grant = (struct grant){.lock = acquiring->lock,
                            .mode = acquiring->mode,
                            .process = process,
                            .session = process->locker->session,
                            .fence = fence,
                            .held = true};
    if (fence <= acquiring->fence_before)
        sim_violate(world, "fences rise", "client %u was granted %s with number %llu, after %llu", process->id,
                    names[acquiring->lock], (unsigned long long)fence, (unsigned long long)acquiring->fence_before);
    for (unsigned i = 0; i < world->grant_count; i++)
        if (world->grants[i].held && conflict(&world->grants[i], grant) && world->doubt_count < MAX_GRANTS)
            world->doubts[world->doubt_count++] = (struct doubt){i, world->grant_count};
    if (fence > world->fence && world->plant != PLANT_LOCK_ANYWAY)
        world->fence = fence;
    process->locker->held[acquiring->lock] = ++world->grant_count;
}

/* The session has ended: what it held, or had released without having been heard, it may have held for nothing. */
static void session_ended(struct process *process)
{
    struct locker *locker = process->locker;
    for (unsigned i = 0; i < process->world->grant_count; i++) {
        struct grant *grant = &process->world->grants[i];
        if (grant->process == process && grant->session == locker->session &&
            (grant->held || grant->released_ordinal > locker->acked)) {
            grant->unheard = true;
            grant->held = false;
        }
    }
    memcpy(locker->gone, locker->locks, sizeof locker->gone);
    memset(locker->locks, 0, sizeof locker->locks);
    memset(locker->held, 0, sizeof locker->held);
    locker->counted = 0;
    locker->acked = 0;
    locker->session++;
}

void locks_end(struct world *world)
{
    for (unsigned i = 0; i < world->doubt_count; i++) {
        const struct grant *a = &world->grants[world->doubts[i].first], *b = &world->grants[world->doubts[i].second];
        if (!a->unheard && !b->unheard)
            sim_violate(world, "mutual exclusion", "clients %u and %u held %s together", a->process->id, b->process->id,
                        names[a->lock]);
    }
}

/* --- calls -------------------------------------------------------------------------------------------------------- */

/* Everybody only adds, so nobody sees the counter fall, or stay where it is known to have been. */
static void counted(struct process *process, uint64_t known, uint64_t value)
{
    if (value <= known || value > MAX_GRANTS * 16)
        sim_violate(process->world, "counters count", "client %u was told %llu after %llu", process->id,
                    (unsigned long long)value, (unsigned long long)known);
    if (process->world->plant != PLANT_FALLING_COUNTER)
        process->locker->counted = value;
    else
        process->locker->counted = value + 1;
}

void locks_done(struct sharing_call *call)
{
    struct acquiring *acquiring = call->tag;
    struct process *process = acquiring->process;
    struct world *world = process->world;
    int status = call->status;
    sim_trace(world, "client %u: %s %s: %d, %llu", process->id, acquiring->what == DO_OPEN ? "open" : "call on",
              names[acquiring->lock], status, (unsigned long long)call->number);
    if (status != 0 && status != MUSTER_ELOST && status != MUSTER_ETIMEDOUT && status != MUSTER_EAGAIN &&
        status != MUSTER_EBROKEN)
        sim_violate(world, "calls end", "a call on a lock ended with %d: %s", status, call->text ? call->text : "");
    process->locker->pending[acquiring->lock] = NULL;
    if (acquiring->what == DO_COUNT && status == 0)
        counted(process, acquiring->known, call->number);
    if (status == 0 && acquiring->what == DO_OPEN)
        process->locker->locks[acquiring->lock] = call->shared;
    else if ((acquiring->what == DO_ACQUIRE && status == 0) ||
             (acquiring->what == DO_SLEEP && (status == 0 || status == MUSTER_ETIMEDOUT)))
        granted(world, process, acquiring, call->number);
    else if (world->plant == PLANT_LOCK_ANYWAY && status == MUSTER_EAGAIN)
        granted(world, process, acquiring, world->fence + 1);
    free(acquiring);
}

static struct acquiring *acquiring_new(struct process *process, unsigned lock)
{
    struct acquiring *acquiring = calloc(1, sizeof *acquiring);
    if (!acquiring)
        abort();
    acquiring->call.tag = acquiring;
    acquiring->process = process;
    acquiring->lock = lock;
    acquiring->withdraw_ns = NEVER_NS;
    process->locker->pending[lock] = acquiring;
    return acquiring;
}

static void sent(struct process *process, unsigned lock, int status)
{
    if (status == 0)
        return;
    free(process->locker->pending[lock]);
    process->locker->pending[lock] = NULL;
}

static void act_open(struct process *process, unsigned lock)
{
    static const uint64_t kinds[LOCKS] = {OBJECT_LOCK,  OBJECT_LOCK,    OBJECT_SEMAPHORE,
                                          OBJECT_EVENT, OBJECT_BARRIER, OBJECT_COUNTER};
    struct message_object_open open = {.kind = kinds[lock],
                                       .name = bytes_string(names[lock]),
                                       .flags = OBJECT_CREATE,
                                       .first = lock == 2 || lock == 4 ? 2 : 0};
    struct acquiring *acquiring = acquiring_new(process, lock);
    acquiring->what = DO_OPEN;
    sent(process, lock, sharing_open(process->sharing, &acquiring->call, &open));
}

static void act_acquire(struct process *process, unsigned lock)
{
    struct world *world = process->world;
    struct acquiring *acquiring = acquiring_new(process, lock);
    acquiring->mode = lock == 1 && sim_chance(world, 60) ? LOCK_SHARED : LOCK_ALONE;
    acquiring->fence_before = world->fence;
    if (sim_chance(world, 50))
        acquiring->withdraw_ns = world->now_ns + sim_random(world, 2 * NS_PER_S);
    sent(process, lock,
         sharing_acquire(process->sharing, process->locker->locks[lock], &acquiring->call, 0, acquiring->mode,
                         sim_chance(world, 30)));
}

/* Gives the lock up to sleep until somebody notifies. */
static void act_sleep(struct process *process, unsigned lock)
{
    struct world *world = process->world;
    struct locker *locker = process->locker;
    struct grant *grant = &world->grants[locker->held[lock] - 1];
    struct acquiring *acquiring = acquiring_new(process, lock);
    acquiring->what = DO_SLEEP;
    acquiring->mode = LOCK_ALONE;
    acquiring->fence_before = 0; /* it has asked long ago */
    acquiring->withdraw_ns = world->now_ns + sim_random(world, 4 * NS_PER_S);
    sim_trace(world, "client %u sleeps on %s", process->id, names[lock]);
    sent(process, lock, sharing_wait(process->sharing, locker->locks[lock], &acquiring->call, 0, 1));
    if (!locker->pending[lock])
        return;
    grant->held = false;
    grant->released_ordinal = process->link.session.sent_messages;
    locker->held[lock] = 0;
}

static void act_notify(struct process *process, unsigned lock)
{
    struct acquiring *acquiring = acquiring_new(process, lock);
    acquiring->what = DO_OTHER;
    sent(process, lock,
         sharing_notify(process->sharing, process->locker->locks[lock], &acquiring->call, 0, 1,
                        1 + sim_random(process->world, 2)));
}

static void act_event(struct process *process, unsigned lock)
{
    struct world *world = process->world;
    struct shared *event = process->locker->locks[lock];
    struct acquiring *acquiring = acquiring_new(process, lock);
    acquiring->what = DO_OTHER;
    if (sim_chance(world, 50))
        acquiring->withdraw_ns = world->now_ns + sim_random(world, 2 * NS_PER_S);
    if (sim_chance(world, 50))
        sent(process, lock, sharing_event_wait(process->sharing, event, &acquiring->call, sim_chance(world, 30)));
    else
        sent(process, lock, sharing_event_set(process->sharing, event, &acquiring->call, sim_chance(world, 50)));
}

static void act_barrier(struct process *process, unsigned lock)
{
    struct world *world = process->world;
    struct shared *barrier = process->locker->locks[lock];
    struct acquiring *acquiring = acquiring_new(process, lock);
    acquiring->what = DO_OTHER;
    if (sim_chance(world, 30))
        acquiring->withdraw_ns = world->now_ns + sim_random(world, 2 * NS_PER_S);
    if (sim_chance(world, 80))
        sent(process, lock, sharing_barrier_wait(process->sharing, barrier, &acquiring->call));
    else
        sent(process, lock, sharing_barrier_reset(process->sharing, barrier, &acquiring->call, sim_chance(world, 10)));
}

/* Adds one, or waits for somebody else to. */
static void act_counter(struct process *process, unsigned lock)
{
    struct world *world = process->world;
    struct message message = {.type = MESSAGE_COUNTER_ADD};
    struct acquiring *acquiring = acquiring_new(process, lock);
    acquiring->what = DO_COUNT;
    acquiring->known = process->locker->counted;
    if (sim_chance(world, 50)) {
        message.type = MESSAGE_COUNTER_WAIT;
        message.counter_wait.value = process->locker->counted;
        acquiring->withdraw_ns = world->now_ns + sim_random(world, 3 * NS_PER_S);
    } else {
        message.counter_add.amount = 1;
    }
    sent(process, lock, sharing_counter(process->sharing, process->locker->locks[lock], &acquiring->call, &message));
}

static void act_release(struct process *process, unsigned lock)
{
    struct locker *locker = process->locker;
    struct grant *grant = &process->world->grants[locker->held[lock] - 1];
    sim_trace(process->world, "client %u releases %s", process->id, names[lock]);
    int status = lock < 2 ? sharing_release_own(process->sharing, locker->locks[lock], 0) : 0;
    if (lock == 2) {
        struct acquiring *acquiring = acquiring_new(process, lock);
        acquiring->what = DO_OTHER;
        status = sharing_release(process->sharing, locker->locks[lock], &acquiring->call, 0, 0, 1);
        sent(process, lock, status);
    }
    if (status != 0 && process->world->plant != PLANT_LOCK_ANYWAY)
        sim_violate(process->world, "calls end", "the release of %s gave %d", names[lock], status);
    grant->held = false;
    grant->released_ordinal = process->link.session.sent_messages;
    locker->held[lock] = 0;
}

static void act(struct process *process, unsigned lock)
{
    struct world *world = process->world;
    struct locker *locker = process->locker;
    if (locker->pending[lock])
        return;
    if (!locker->locks[lock]) {
        if (!world->healing)
            act_open(process, lock);
    } else if (locker->held[lock]) {
        unsigned what = (unsigned)sim_random(world, 100);
        if (!world->healing && what < 20 && lock == 0)
            act_sleep(process, lock);
        else if (!world->healing && what < 40 && lock == 0)
            act_notify(process, lock);
        else if (world->healing || what < 70)
            act_release(process, lock);
    } else if (world->healing) {
        sharing_close(process->sharing, locker->locks[lock]);
        locker->locks[lock] = NULL;
    } else if (sim_chance(world, 60)) {
        if (lock == 3)
            act_event(process, lock);
        else if (lock == 4)
            act_barrier(process, lock);
        else if (lock == 5)
            act_counter(process, lock);
        else
            act_acquire(process, lock);
    } else if (sim_chance(world, 5)) {
        sharing_close(process->sharing, locker->locks[lock]);
        locker->locks[lock] = NULL;
        locker->counted = lock == 5 ? 0 : locker->counted; /* it begins anew if nobody else has it open */
    }
}

void locks_act(struct process *process)
{
    struct world *world = process->world;
    struct locker *locker = process->locker;
    bool done = world->healing;
    for (unsigned lock = 0; lock < LOCKS && !process->frozen; lock++) {
        struct acquiring *acquiring = locker->pending[lock];
        if (acquiring && (acquiring->withdraw_ns <= world->now_ns || world->healing)) {
            acquiring->withdraw_ns = NEVER_NS;
            sharing_withdraw(process->sharing, &acquiring->call);
        }
        if (sim_chance(world, 50))
            act(process, lock);
        done = done && !locker->pending[lock] && !locker->locks[lock];
    }
    locker->done = done && !process->frozen;
}

/* --- processes ---------------------------------------------------------------------------------------------------- */

void locks_start(struct process *process)
{
    process->locker = calloc(1, sizeof *process->locker);
    if (!process->locker)
        abort();
}

void locks_renewed(struct process *process)
{
    session_ended(process);
}

void locks_note_acknowledged(struct process *process)
{
    process->locker->acked = process->link.session.acked_messages;
}

void locks_bury(struct process *process)
{
    struct locker *locker = process->locker;
    for (unsigned lock = 0; lock < LOCKS; lock++)
        if (locker->gone[lock])
            sharing_close(process->sharing, locker->gone[lock]);
    memset(locker->gone, 0, sizeof locker->gone);
}

void locks_stop(struct process *process)
{
    free(process->locker);
    process->locker = NULL;
}

bool locks_quiet(const struct process *process)
{
    return process->locker->done;
}
