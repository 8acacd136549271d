/*
 * Supervision: slots that hold living workers, and the dead whose pages are still needed.
 *
 * A worker that ends leaves its slot at once and joins the dead: its page is handed in (SALVAGE for each outcome in the
 * ring, then EXIT) and kept until the coordinator says RELEASE, because a coordinator that restarts has to be told
 * again.
 *
 * Processes are started in supervisor_tick() alone, so that the shell decides in which thread that happens.
 */
#include "workers/supervisor.h"

#include <signal.h>
#include <stdio.h>

#include "core/errors.h"
#include "core/log.h"

#define DEAD_LIMIT 256 /* pages kept for a coordinator that does not come */
#define LAST_WORDS_BYTES 256
#define REASON_BYTES 768
#define RETRY_NS (100 * NS_PER_MS) /* after a message could not be sent for want of memory */

struct slot {
    uint64_t identity; /* of the worker that lives in it, 0: empty */
    struct page *page;
    uint64_t spawned_ns;
    uint64_t due_ns;     /* empty: when to start the next */
    uint64_t backoff_ns; /* before the start after the next failure; 0: none has failed */
    bool killed;         /* we sent it SIGKILL */
};

/* A worker that has ended and is not released. */
struct dead {
    struct dead *next;
    unsigned slot;
    uint64_t identity;
    struct page *page;
    struct worker_end end;
    char last_words[LAST_WORDS_BYTES];
    bool told, telling, released; /* telling: in report(), which frees it itself if it is released meanwhile */
};

struct supervisor {
    struct supervisor_config config;
    const struct supervisor_events *events;
    void *arg;
    struct random random;
    struct dead *first_dead;
    size_t dead_count;
    unsigned alive, failures; /* failures: starts in a row */
    bool connected, slots_told, stopping, gave_up, gave_up_told;
    char reason[REASON_BYTES]; /* why it gave up */
    uint64_t retry_ns;
    struct slot slots[];
};

void supervisor_config_defaults(struct supervisor_config *config)
{
    *config = (struct supervisor_config){.slots = 1,
                                         .backoff_min_ns = 50 * NS_PER_MS,
                                         .backoff_max_ns = 5 * NS_PER_S,
                                         .healthy_ns = NS_PER_S,
                                         .give_up_after = 5};
}

int supervisor_create(struct supervisor **supervisor, const struct supervisor_config *config, const struct random *seed,
                      const struct supervisor_events *events, void *arg, uint64_t now_ns)
{
    struct supervisor *made = memory_zero(sizeof *made + config->slots * sizeof *made->slots);
    if (!made)
        return error_memory();
    made->config = *config;
    made->events = events;
    made->arg = arg;
    made->random = *seed;
    made->retry_ns = NEVER_NS;
    for (unsigned i = 0; i < config->slots; i++)
        made->slots[i].due_ns = now_ns;
    *supervisor = made;
    return 0;
}

/* --- what is told to the coordinator ------------------------------------------------------------------------------ */

/* Takes a dead worker off the list, if it still is there, and gives its page back. */
static void bury(struct supervisor *supervisor, struct dead *dead)
{
    for (struct dead **at = &supervisor->first_dead; *at; at = &(*at)->next) {
        if (*at == dead) {
            *at = dead->next;
            supervisor->dead_count--;
            break;
        }
    }
    if (dead->telling) {
        dead->released = true;
        return;
    }
    supervisor->events->release(supervisor->arg, dead->slot, dead->page);
    memory_free(dead);
}

/* The worker gave up by itself, and its page says why. */
static bool says_why(const struct page *page)
{
    return page_sound(page) && atomic_load(&page->broken) != 0;
}

static int tell_exit(struct supervisor *supervisor, const struct dead *dead)
{
    const struct page *page = dead->page;
    uint64_t started = page_sound(page) ? atomic_load(&page->started) : EXIT_STARTED_UNKNOWN;
    const struct page_task *task = &page->tasks[started & 1];
    bool running = started != atomic_load(&page->finished) && task->ticket == started;
    char reason[sizeof page->reason];
    memcpy(reason, page->reason, sizeof reason);
    reason[sizeof reason - 1] = '\0';
    struct message message = {.type = MESSAGE_EXIT};
    message.exit = (struct message_exit){
        .worker = dead->identity,
        .pid = (uint64_t)dead->end.pid,
        .signal = (uint64_t)dead->end.signal,
        .exit_status = dead->end.exit_status,
        .memory = dead->end.memory,
        .started = started,
        .client = running ? task->client : 0,
        .number = running ? task->number : 0,
        .item = running ? atomic_load(&task->item) : 0,
        .message = bytes_string(says_why(page) ? reason : dead->last_words),
    };
    return supervisor->events->send(supervisor->arg, &message);
}

/* An outcome that the worker wrote, and not a task that wrote over the page: the coordinator would take offence. */
static bool is_outcome(const struct page_record *record)
{
    struct bytes input = record->message;
    struct message message;
    const char *why;
    if (message_decode(&input, &message, &why) != 0 || input.length > 0)
        return false;
    if (message.type == MESSAGE_RESULT)
        return message.result.ticket == record->ticket && message.result.encoding <= (ENCODING_SEGMENT | MUSTER_PICKLE);
    return message.type == MESSAGE_FAILURE && message.failure.ticket == record->ticket && message.failure.status > 0 &&
           message.failure.status <= UINT8_MAX;
}

/* SALVAGE for each outcome, then EXIT. May free `dead`: an embedded coordinator releases it before EXIT returns. */
static int report(struct supervisor *supervisor, struct dead *dead)
{
    struct page_record record;
    uint64_t position = atomic_load(&dead->page->tail);
    int status = 0;
    dead->telling = true;
    while (status == 0 && page_next(dead->page, &position, &record)) {
        if (!is_outcome(&record))
            continue;
        struct message message = {.type = MESSAGE_SALVAGE};
        message.salvage = (struct message_salvage){dead->identity, record.client, record.number, record.message, {}};
        status = supervisor->events->send(supervisor->arg, &message);
    }
    if (status == 0)
        status = tell_exit(supervisor, dead);
    dead->told = status == 0;
    dead->telling = false;
    if (dead->released)
        bury(supervisor, dead);
    return status;
}

static int tell_slots(struct supervisor *supervisor)
{
    struct message message = {.type = MESSAGE_SLOTS};
    message.slots.count = supervisor->config.slots;
    int status = supervisor->events->send(supervisor->arg, &message);
    supervisor->slots_told = status == 0;
    return status;
}

static int tell_gave_up(struct supervisor *supervisor)
{
    struct message message = {.type = MESSAGE_GAVE_UP};
    message.gave_up.reason = bytes_string(supervisor->reason);
    int status = supervisor->events->send(supervisor->arg, &message);
    supervisor->gave_up_told = status == 0;
    return status;
}

static struct dead *untold(const struct supervisor *supervisor)
{
    struct dead *dead = supervisor->first_dead;
    while (dead && dead->told)
        dead = dead->next;
    return dead;
}

/* Tells the coordinator what it has not been told. What cannot be sent now is tried again later. */
static void tell_all(struct supervisor *supervisor, uint64_t now_ns)
{
    struct dead *dead;
    int status = 0;
    supervisor->retry_ns = NEVER_NS;
    if (!supervisor->connected)
        return;
    if (!supervisor->slots_told)
        status = tell_slots(supervisor);
    while (status == 0 && (dead = untold(supervisor)) != NULL)
        status = report(supervisor, dead);
    if (status == 0 && supervisor->gave_up && !supervisor->gave_up_told)
        status = tell_gave_up(supervisor);
    if (status == MUSTER_ECONNECT)
        supervisor->connected = false;
    else if (status != 0)
        supervisor->retry_ns = now_ns + RETRY_NS;
}

void supervisor_connected(struct supervisor *supervisor, bool restarted, uint64_t now_ns)
{
    /* The same coordinator forgets what belonged to our old session when it declares us lost, so it is told all again
     * too. */
    (void)restarted;
    supervisor->connected = true;
    supervisor->slots_told = supervisor->gave_up_told = false;
    for (struct dead *dead = supervisor->first_dead; dead; dead = dead->next)
        dead->told = false;
    tell_all(supervisor, now_ns);
}

int supervisor_message(struct supervisor *supervisor, const struct message *message, uint64_t now_ns)
{
    (void)now_ns;
    if (message->type == MESSAGE_KILL) {
        for (unsigned i = 0; i < supervisor->config.slots; i++) {
            struct slot *slot = &supervisor->slots[i];
            if (slot->identity == message->kill.worker && slot->identity != 0) {
                slot->killed = true;
                supervisor->events->kill(supervisor->arg, i, SIGKILL);
            }
        }
        return 0;
    }
    if (message->type != MESSAGE_RELEASE)
        return error_set(MUSTER_EPROTOCOL, "a supervisor was sent %s", message_name(message->type));
    for (struct dead *dead = supervisor->first_dead; dead; dead = dead->next) {
        if (dead->identity == message->release.worker) {
            bury(supervisor, dead);
            break;
        }
    }
    return 0;
}

/* --- starts and ends ---------------------------------------------------------------------------------------------- */

static bool any_ready(const struct supervisor *supervisor)
{
    for (unsigned i = 0; i < supervisor->config.slots; i++)
        if (supervisor->slots[i].identity != 0 && atomic_load(&supervisor->slots[i].page->ready))
            return true;
    return false;
}

/* A time around backoff_ns, so that the workers of many hosts do not come back in step; doubles it for the next time.
 */
static uint64_t back_off(struct supervisor *supervisor, struct slot *slot)
{
    const struct supervisor_config *config = &supervisor->config;
    if (slot->backoff_ns == 0)
        slot->backoff_ns = config->backoff_min_ns;
    uint64_t wait =
        slot->backoff_ns - slot->backoff_ns / 4 + random_u64(&supervisor->random) % (slot->backoff_ns / 2 + 1);
    slot->backoff_ns = slot->backoff_ns * 2 < config->backoff_max_ns ? slot->backoff_ns * 2 : config->backoff_max_ns;
    return wait;
}

static void failed_start(struct supervisor *supervisor, const char *why)
{
    supervisor->failures++;
    log_info("a worker failed at its start: %s", why);
    if (supervisor->config.give_up_after == 0 || supervisor->failures < supervisor->config.give_up_after ||
        supervisor->gave_up || supervisor->stopping || any_ready(supervisor))
        return;
    supervisor->gave_up = true;
    snprintf(supervisor->reason, sizeof supervisor->reason, "%u starts of a worker in a row failed; the last one: %s",
             supervisor->failures, why);
    supervisor->events->gave_up(supervisor->arg, supervisor->reason);
}

static void spawn(struct supervisor *supervisor, unsigned index, uint64_t now_ns)
{
    struct slot *slot = &supervisor->slots[index];
    uint64_t identity = random_u64(&supervisor->random);
    int status = supervisor->events->spawn(supervisor->arg, index, identity, &slot->page);
    if (status != 0) {
        slot->due_ns = now_ns + back_off(supervisor, slot);
        failed_start(supervisor, muster_last_error()[0] ? muster_last_error() : muster_strerror(status));
        return;
    }
    slot->identity = identity;
    slot->spawned_ns = now_ns;
    slot->due_ns = NEVER_NS;
    slot->killed = false;
    supervisor->alive++;
}

static void why_it_ended(const struct dead *dead, char *out, size_t size)
{
    const struct page *page = dead->page;
    const char *words = dead->last_words;
    if (says_why(page))
        snprintf(out, size, "%.*s", (int)sizeof page->reason, page->reason);
    else if (dead->end.signal != 0)
        snprintf(out, size, "it was killed by signal %d%s%s%s", dead->end.signal,
                 dead->end.memory ? ", for memory" : "", *words ? ": " : "", words);
    else
        snprintf(out, size, "it ended with exit status %d%s%s", dead->end.exit_status, *words ? ": " : "", words);
}

/* Moves the worker of a slot to the dead. NULL: no memory; its page is given back, and its tasks are not reported one
 * by one. */
static struct dead *make_dead(struct supervisor *supervisor, unsigned index, const struct worker_end *end)
{
    struct slot *slot = &supervisor->slots[index];
    struct dead *dead = memory_zero(sizeof *dead), **last = &supervisor->first_dead;
    if (!dead)
        return NULL;
    dead->slot = index;
    dead->identity = slot->identity;
    dead->page = slot->page;
    dead->end = *end;
    snprintf(dead->last_words, sizeof dead->last_words, "%s", end->last_words ? end->last_words : "");
    dead->end.last_words = dead->last_words;
    if (supervisor->dead_count >= DEAD_LIMIT && !supervisor->first_dead->telling)
        bury(supervisor, supervisor->first_dead);
    while (*last)
        last = &(*last)->next;
    *last = dead;
    supervisor->dead_count++;
    return dead;
}

/* Without memory for a record of the dead, EXIT is sent from the stack, once. */
static void report_without_memory(struct supervisor *supervisor, unsigned index, const struct worker_end *end)
{
    struct slot *slot = &supervisor->slots[index];
    struct dead dead = {.slot = index, .identity = slot->identity, .page = slot->page, .end = *end, .telling = true};
    if (supervisor->connected)
        tell_exit(supervisor, &dead);
    supervisor->events->release(supervisor->arg, index, slot->page);
}

void supervisor_worker_ended(struct supervisor *supervisor, unsigned index, const struct worker_end *end,
                             uint64_t now_ns)
{
    struct slot *slot = &supervisor->slots[index];
    if (slot->identity == 0)
        return;
    struct page *page = slot->page;
    bool ready = atomic_load(&page->ready) != 0;
    bool healthy = slot->killed || now_ns - slot->spawned_ns >= supervisor->config.healthy_ns ||
                   atomic_load(&page->started) != 0 || (ready && end->signal == 0 && end->exit_status == 0);
    bool failed = !ready && !slot->killed && !supervisor->stopping;
    char why[REASON_BYTES - 64] = "memory ran out";
    struct dead *dead = make_dead(supervisor, index, end);
    if (dead)
        why_it_ended(dead, why, sizeof why);
    else
        report_without_memory(supervisor, index, end);
    slot->identity = 0;
    slot->page = NULL;
    supervisor->alive--;
    if (healthy && !failed)
        slot->backoff_ns = 0;
    slot->due_ns = healthy && !failed ? now_ns : now_ns + back_off(supervisor, slot);
    if (failed)
        failed_start(supervisor, why);
    else
        supervisor->failures = 0;
    tell_all(supervisor, now_ns);
}

void supervisor_stop(struct supervisor *supervisor, bool now)
{
    supervisor->stopping = true;
    for (unsigned i = 0; i < supervisor->config.slots; i++) {
        struct slot *slot = &supervisor->slots[i];
        if (slot->identity == 0)
            continue;
        slot->killed = slot->killed || now;
        supervisor->events->kill(supervisor->arg, i, now ? SIGKILL : SIGTERM);
    }
}

bool supervisor_over(const struct supervisor *supervisor)
{
    return supervisor->stopping && supervisor->alive == 0;
}

unsigned supervisor_alive(const struct supervisor *supervisor)
{
    return supervisor->alive;
}

uint64_t supervisor_deadline(const struct supervisor *supervisor)
{
    uint64_t deadline = supervisor->retry_ns;
    if (!supervisor->stopping && !supervisor->gave_up)
        for (unsigned i = 0; i < supervisor->config.slots; i++)
            deadline = deadline_min(deadline, supervisor->slots[i].due_ns);
    return deadline;
}

void supervisor_tick(struct supervisor *supervisor, uint64_t now_ns)
{
    for (unsigned i = 0; i < supervisor->config.slots; i++)
        if (!supervisor->stopping && !supervisor->gave_up && supervisor->slots[i].due_ns <= now_ns)
            spawn(supervisor, i, now_ns);
    if (supervisor->retry_ns <= now_ns || (supervisor->gave_up && !supervisor->gave_up_told))
        tell_all(supervisor, now_ns);
}

void supervisor_free(struct supervisor *supervisor)
{
    if (!supervisor)
        return;
    while (supervisor->first_dead)
        bury(supervisor, supervisor->first_dead);
    for (unsigned i = 0; i < supervisor->config.slots; i++)
        if (supervisor->slots[i].identity != 0)
            supervisor->events->release(supervisor->arg, i, supervisor->slots[i].page);
    memory_free(supervisor);
}
