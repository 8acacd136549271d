/*
 * The coordinator's front: where peers, messages and time come in, and what holds all of it together. See state.h for
 * who does what.
 */
#include "server/state.h"

#include <assert.h>

void coordinator_config_defaults(struct coordinator_config *config)
{
    *config = (struct coordinator_config){
        .domain = "",
        .heartbeat_ns = 5 * NS_PER_S,
        .function_grace_ns = 5 * NS_PER_S,
        .client_tasks = 2 * 1024 * 1024,
        .client_bytes = (size_t)1 << 30,
        .client_definition_bytes = (size_t)64 << 20,
        .worker_definition_bytes = (size_t)64 << 20,
        .total_bytes = (size_t)4 << 30,
        .peer_backlog_bytes = (size_t)16 << 20,
        .clients = 10000,
        .workers = 10000,
        .rejoin = true,
        .objects = 65536,
        .queue_items = 16 * 1024 * 1024,
    };
}

#define SESSION_REFERENCES 65536 /* shared objects that one session has open */
#define SESSION_WAITERS 65536    /* its calls on them that wait */
#define ITEM_OVERHEAD 128        /* room for the other fields beside an item in a message */

static bool objects_have_room(const void *arg, size_t more)
{
    return tasks_have_room(arg, more);
}

static int create_registry(struct coordinator *coordinator)
{
    const struct coordinator_config *config = &coordinator->config;
    const struct registry_config registry = {
        .objects = config->objects,
        .references = SESSION_REFERENCES,
        .waiters = SESSION_WAITERS,
        .queue_items = config->queue_items,
        .fence_base = config->fence_base,
        .item_bytes = config->payload_limit ? config->payload_limit - ITEM_OVERHEAD : 0,
        .have_room = objects_have_room,
        .arg = coordinator,
    };
    return registry_create(&coordinator->registry, &registry, &coordinator->random);
}

int coordinator_create(struct coordinator **coordinator, const struct coordinator_config *config,
                       const struct random *seed, uint64_t now_ns)
{
    struct coordinator *created = memory_zero(sizeof *created);
    if (!created)
        return error_memory();
    created->config = *config;
    created->domain = bytes_dup_string(bytes_string(config->domain ? config->domain : ""));
    if (!created->domain) {
        memory_free(created);
        return error_memory();
    }
    created->config.domain = created->domain;
    created->random = *seed;
    created->now_ns = created->started_ns = now_ns;
    created->rejoin_ns = config->rejoin ? now_ns + config->heartbeat_ns : 0;
    created->settle_ns = created->recall_ns = NEVER_NS;
    heap_init(&created->timers, worker_record_timer_before, offsetof(struct worker_record, timer_position));
    random_u64(&created->random); /* what follows is not what the registry draws */
    if (create_registry(created) != 0) {
        coordinator_free(created);
        return error_memory();
    }
    *coordinator = created;
    return 0;
}

void coordinator_free(struct coordinator *coordinator)
{
    if (!coordinator)
        return;
    coordinator->discard = NULL;
    registry_free(coordinator->registry);
    struct worker_record *worker, *next_worker;
    HASH_ITER (hh, coordinator->workers, worker, next_worker) {
        worker->peer = NULL; /* nothing is sent any more */
        introductions_end(worker);
        class_leave(coordinator, worker);
    }
    struct client_record *client, *next_client;
    HASH_ITER (hh, coordinator->clients, client, next_client) {
        client_record_free(coordinator, client);
    }
    HASH_ITER (hh, coordinator->workers, worker, next_worker) {
        while (worker->first)
            task_destroy(coordinator, worker->first);
        worker->changed = false;
        worker_record_free(coordinator, worker);
    }
    struct supervisor_record *supervisor, *next_supervisor;
    HASH_ITER (hh, coordinator->supervisors, supervisor, next_supervisor) {
        supervisor_record_free(coordinator, supervisor);
    }
    lanes_free(coordinator);
    heap_free(&coordinator->timers);
    memory_free(coordinator->domain);
    memory_free(coordinator);
}

/* --- peers -------------------------------------------------------------------------------------------------------- */

int coordinator_peer_up(struct coordinator *coordinator, struct peer *peer, uint64_t now_ns)
{
    coordinator->now_ns = now_ns;
    peer->state = NULL;
    switch (peer->role) {
    case ROLE_CLIENT: return client_record_up(coordinator, peer);
    case ROLE_WORKER: return worker_record_up(coordinator, peer);
    case ROLE_SUPERVISOR: return supervisor_record_up(coordinator, peer);
    }
    return error_set(MUSTER_EPROTOCOL, "a peer said that it has role %d", (int)peer->role);
}

int coordinator_message(struct coordinator *coordinator, struct peer *peer, const struct message *message,
                        uint64_t now_ns, const char **why)
{
    coordinator->now_ns = now_ns;
    *why = "";
    if (!peer->state)
        return 0; /* another session of this peer has taken over */
    if (object_request(message->type))
        return registry_take(coordinator->registry, peer, message, why);
    switch (peer->role) {
    case ROLE_CLIENT: return client_record_take(coordinator, peer->state, message, why);
    case ROLE_WORKER: return worker_record_take(coordinator, peer->state, message, why);
    case ROLE_SUPERVISOR: return supervisor_record_take(coordinator, peer->state, message, why);
    }
    return MUSTER_EPROTOCOL;
}

void coordinator_delivered(struct coordinator *coordinator, struct peer *peer, uint64_t ordinal, uint64_t now_ns)
{
    coordinator->now_ns = now_ns;
    if (!peer->state)
        return;
    if (peer->role == ROLE_WORKER) {
        worker_record_changed(coordinator, peer->state); /* it may have been full */
    } else if (peer->role == ROLE_CLIENT) {
        struct client_record *client = peer->state;
        task_delivered(coordinator, client, ordinal);
        if (client->paused && peer->backlog_bytes <= coordinator->config.peer_backlog_bytes / 2)
            client_record_pause(coordinator, client, false);
    }
}

void coordinator_peer_down(struct coordinator *coordinator, struct peer *peer, bool goodbye, const char *reason,
                           uint64_t now_ns)
{
    coordinator->now_ns = now_ns;
    void *state = peer->state;
    peer->state = NULL;
    registry_peer_down(coordinator->registry, peer, goodbye);
    if (!state)
        return;
    switch (peer->role) {
    case ROLE_CLIENT: client_record_down(coordinator, state); break;
    case ROLE_WORKER: worker_record_down(coordinator, state, goodbye, reason); break;
    case ROLE_SUPERVISOR: supervisor_record_down(coordinator, state); break;
    }
}

/* --- time --------------------------------------------------------------------------------------------------------- */

uint64_t coordinator_deadline(const struct coordinator *coordinator)
{
    const struct worker_record *first = heap_first(&coordinator->timers);
    uint64_t deadline = first ? first->deadline_ns : NEVER_NS;
    deadline = deadline_min(deadline, lanes_deadline(coordinator));
    deadline = deadline_min(deadline, claims_deadline(coordinator));
    deadline = deadline_min(deadline, coordinator->settle_ns);
    return deadline_min(deadline, coordinator->recall_ns);
}

void coordinator_tick(struct coordinator *coordinator, uint64_t now_ns)
{
    coordinator->now_ns = now_ns;
    struct worker_record *worker;
    while ((worker = heap_first(&coordinator->timers)) && worker->deadline_ns <= now_ns)
        worker_record_timer_fired(coordinator, worker);
    claims_tick(coordinator);
    lanes_tick(coordinator);
}

/* --- what others want to know ------------------------------------------------------------------------------------- */

void coordinator_on_discard(struct coordinator *coordinator, void (*discard)(void *arg, struct bytes segment_name),
                            void *arg)
{
    coordinator->discard = discard;
    coordinator->discard_arg = arg;
}

void coordinator_drain(struct coordinator *coordinator)
{
    coordinator->draining = true;
}

bool coordinator_drained(const struct coordinator *coordinator)
{
    return coordinator->draining && coordinator->tasks == 0;
}

void coordinator_count(const struct coordinator *coordinator, struct coordinator_counts *counts)
{
    *counts = coordinator->totals;
    counts->clients = coordinator->connected_clients;
    counts->workers = coordinator->connected_workers;
    counts->supervisors = HASH_COUNT(coordinator->supervisors);
    counts->queued = coordinator->queued + coordinator->parked;
    counts->assigned = coordinator->assigned;
    registry_count(coordinator->registry, &counts->objects);
}
