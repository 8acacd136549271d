/*
 * Supervisors: what they say about their workers' ends, and who is asked to kill one. A worker's end is told as SALVAGE
 * for each outcome in its page, then EXIT; both are said again by a supervisor that comes back, until RELEASE tells it
 * that nothing of that worker is open.
 */
#include "server/state.h"

#include <stdio.h>

struct supervisor_record *supervisor_record_find(const struct coordinator *coordinator, uint64_t identity)
{
    struct supervisor_record *supervisor;
    HASH_FIND_U64(coordinator->supervisors, identity, supervisor);
    return supervisor;
}

int supervisor_record_up(struct coordinator *coordinator, struct peer *peer)
{
    struct supervisor_record *supervisor = supervisor_record_find(coordinator, peer->identity);
    if (supervisor) {
        supervisor->peer->state = NULL;
        supervisor_record_down(coordinator, supervisor);
    }
    if (HASH_COUNT(coordinator->supervisors) >= coordinator->config.workers)
        return error_set(MUSTER_ELIMIT, "%zu supervisors are connected, and the limit is that of the workers",
                         coordinator->config.workers);
    supervisor = memory_zero(sizeof *supervisor);
    if (!supervisor)
        return error_memory();
    supervisor->identity = peer->identity;
    supervisor->peer = peer;
    if (!HASH_ADD_U64(coordinator->supervisors, identity, supervisor)) {
        memory_free(supervisor);
        return error_memory();
    }
    peer->state = supervisor;
    for (struct worker_record *worker = coordinator->workers; worker; worker = worker->hh.next)
        if (worker->killed && worker->peer && worker->group == peer->identity)
            worker_record_kill(coordinator, worker);
    return 0;
}

void supervisor_record_free(struct coordinator *coordinator, struct supervisor_record *supervisor)
{
    HASH_DEL(coordinator->supervisors, supervisor);
    memory_free(supervisor->reason);
    memory_free(supervisor);
}

/* Its workers end with it: nobody will say how those did whose sessions are gone already. */
void supervisor_record_down(struct coordinator *coordinator, struct supervisor_record *supervisor)
{
    uint64_t group = supervisor->identity;
    supervisor_record_free(coordinator, supervisor);
    struct worker_record *worker, *next;
    HASH_ITER (hh, coordinator->workers, worker, next) {
        if (worker->group == group && !worker->peer && !worker->exited && !worker->lost)
            worker_record_lost(coordinator, worker);
    }
}

/* The record of a worker that this supervisor speaks of; made if this coordinator has never seen it. */
static struct worker_record *its_worker(struct coordinator *coordinator, const struct supervisor_record *supervisor,
                                        uint64_t identity, int *status, const char **why)
{
    struct worker_record *worker = worker_record_find(coordinator, identity);
    if (worker && worker->group == supervisor->identity)
        return worker;
    *status = MUSTER_EPROTOCOL;
    *why = "a supervisor speaks of a worker that is not its own";
    if (worker || identity == 0)
        return NULL;
    *status = MUSTER_ENOMEM;
    *why = "there is no memory for a worker's end";
    worker = worker_record_create(coordinator, identity, supervisor->identity);
    if (!worker)
        return NULL;
    worker->lost = true;
    char *host = bytes_dup_string(bytes_string(supervisor->peer->host ? supervisor->peer->host : ""));
    if (host) {
        memory_free(worker->host);
        worker->host = host;
    }
    worker_record_changed(coordinator, worker);
    return worker;
}

/* "was killed by signal 9 (KILL)" and the like. */
static void describe_end(const struct message_exit *told, char *out, size_t size)
{
    const char *name = told->signal && told->signal < 128 ? sigabbrev_np((int)told->signal) : NULL;
    if (told->memory)
        snprintf(out, size, "was killed by the kernel for memory");
    else if (told->signal)
        snprintf(out, size, "was ended by signal %llu%s%s%s", (unsigned long long)told->signal, name ? " (SIG" : "",
                 name ? name : "", name ? ")" : "");
    else
        snprintf(out, size, "ended with exit status %lld", (long long)told->exit_status);
}

static int take_exit(struct coordinator *coordinator, struct supervisor_record *supervisor,
                     const struct message_exit *told, const char **why)
{
    int status;
    struct worker_record *worker = its_worker(coordinator, supervisor, told->worker, &status, why);
    if (!worker)
        return status;
    worker_record_changed(coordinator, worker);
    if (worker->exited)
        return 0;
    worker->exited = true;
    if (worker->class) {
        class_leave(coordinator, worker);
        coordinator->connected_workers--;
        coordinator->tell_workers = true;
    }
    if (worker->pid == 0)
        worker->pid = told->pid;
    char text[160], words[420] = "";
    describe_end(told, text, sizeof text);
    if (told->message.length)
        snprintf(words, sizeof words, "; its last words: %.*s",
                 (int)(told->message.length > 380 ? 380 : told->message.length), (const char *)told->message.data);
    struct failure failure = {.status = MUSTER_ELOST,
                              .message = bytes_string(words),
                              .worker = worker,
                              .signal = told->signal,
                              .exit_status = told->signal ? -1 : told->exit_status,
                              .item = told->item};
    /* A start that this coordinator did not order was of another's task. */
    bool another = told->started > worker->last_ticket && told->started != EXIT_STARTED_UNKNOWN;
    uint64_t started = another ? 0 : told->started;
    worker_record_ended(coordinator, worker, started, &failure, text);
    return claim_lost(coordinator, worker, told, &failure, text);
}

static int take_salvage(struct coordinator *coordinator, struct supervisor_record *supervisor,
                        const struct message_salvage *told, const char **why)
{
    struct bytes input = told->message;
    struct message message;
    if (message_decode(&input, &message, why) != 0)
        return MUSTER_EPROTOCOL;
    *why = "SALVAGE holds something else than an outcome";
    bool value = message.type == MESSAGE_RESULT, failure = message.type == MESSAGE_FAILURE;
    if (input.length || !(value || failure) || (value && message.result.encoding > (ENCODING_SEGMENT | 0xf)) ||
        (failure && !failure_valid(&message.failure)))
        return MUSTER_EPROTOCOL;
    int status;
    struct worker_record *worker = its_worker(coordinator, supervisor, told->worker, &status, why);
    if (!worker)
        return status;
    worker_record_changed(coordinator, worker);
    uint64_t ticket = value ? message.result.ticket : message.failure.ticket;
    struct task *task = worker_record_task(worker, ticket);
    if (task && (!task->client || (task->client->identity == told->client && task->number == told->number))) {
        worker->done += value;
        worker->failed += failure;
        task_outcome(coordinator, task, &message);
        return 0;
    }
    return claim_salvaged(coordinator, worker, told, &message);
}

static int take_gave_up(struct supervisor_record *supervisor, struct bytes reason)
{
    if (reason.length > 500)
        reason.length = 500;
    char *text = bytes_dup_string(reason);
    if (!text)
        return error_memory();
    memory_free(supervisor->reason);
    supervisor->reason = text;
    supervisor->gave_up = true;
    return 0;
}

int supervisor_record_take(struct coordinator *coordinator, struct supervisor_record *supervisor,
                           const struct message *message, const char **why)
{
    switch (message->type) {
    case MESSAGE_SLOTS: supervisor->slots = message->slots.count; return 0;
    case MESSAGE_EXIT: return take_exit(coordinator, supervisor, &message->exit, why);
    case MESSAGE_SALVAGE: return take_salvage(coordinator, supervisor, &message->salvage, why);
    case MESSAGE_GAVE_UP: return take_gave_up(supervisor, message->gave_up.reason);
    default: *why = "a supervisor does not send that message"; return MUSTER_EPROTOCOL;
    }
}
