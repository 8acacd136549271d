/*
 * The status document, as docs/status.md describes it.
 */
#include "core/json.h"
#include "server/state.h"

#define LIST_LIMIT 1000    /* entries of each list; the counts beside it are complete */
#define REPORT_OVERHEAD 32 /* room for what stands beside the document in a REPORT */

static void write_tasks(struct json *json, const struct coordinator *coordinator, uint64_t now_ns)
{
    const struct coordinator_counts *totals = &coordinator->totals;
    size_t running = 0;
    for (const struct worker_record *worker = coordinator->workers; worker; worker = worker->hh.next)
        running += worker->open > 0;
    json_write_open(json, "tasks", '{');
    json_write_uint(json, "queued", coordinator->queued + coordinator->parked);
    json_write_uint(json, "assigned", coordinator->assigned);
    json_write_uint(json, "running", running);
    json_write_uint(json, "submitted", totals->submitted);
    json_write_uint(json, "succeeded", totals->succeeded);
    json_write_uint(json, "failed", totals->failed);
    json_write_uint(json, "cancelled", totals->cancelled);
    json_write_uint(json, "timed_out", totals->timed_out);
    json_write_uint(json, "lost", totals->lost);
    json_write_uint(json, "retried", totals->retried);
    json_write_uint(json, "moved", totals->moved);
    json_write_real(json, "per_second", rate_per_s(&coordinator->rate, now_ns));
    json_write_uint(json, "bytes", coordinator->bytes);
    json_write_uint(json, "definition_bytes", coordinator->definition_bytes);
    json_write_close(json, '}');
}

static const char *worker_state(const struct worker_record *worker)
{
    if (worker->exited)
        return "dead";
    if (!worker->peer)
        return "cut off";
    if (!worker->class)
        return "starting";
    if (worker->killed)
        return "being killed";
    if (worker->draining)
        return "draining";
    return worker->open ? "busy" : "idle";
}

static void write_workers(struct json *json, const struct coordinator *coordinator, uint64_t now_ns, size_t limit)
{
    size_t left = limit;
    json_write_open(json, "workers", '[');
    for (const struct worker_record *worker = coordinator->workers; worker && left-- > 0; worker = worker->hh.next) {
        json_write_open(json, NULL, '{');
        json_write_string(json, "name", worker->name);
        json_write_string(json, "host", worker->host);
        json_write_uint(json, "pid", worker->pid);
        json_write_string(json, "state", worker_state(worker));
        json_write_string(json, "function", worker->head ? task_function_name(worker->head) : NULL);
        json_write_uint(json, "definition",
                        worker->head && worker->head->queue ? worker->head->queue->lane->definition : 0);
        json_write_real(json, "function_seconds", worker->head ? (double)(now_ns - worker->head_ns) / 1e9 : 0);
        json_write_uint(json, "held", worker->open);
        json_write_uint(json, "succeeded", worker->done);
        json_write_uint(json, "failed", worker->failed);
        json_write_real(json, "connected_seconds", (double)(now_ns - worker->since_ns) / 1e9);
        json_write_open(json, "labels", '[');
        for (size_t i = 0; worker->class && i < worker->class->label_count; i++)
            json_write_string(json, NULL, worker->class->labels[i]);
        json_write_close(json, ']');
        json_write_close(json, '}');
    }
    json_write_close(json, ']');
}

static void write_clients(struct json *json, const struct coordinator *coordinator, size_t limit)
{
    size_t left = limit;
    json_write_open(json, "clients", '[');
    for (const struct client_record *client = coordinator->clients; client && left-- > 0; client = client->hh.next) {
        if (!client->peer)
            continue;
        json_write_open(json, NULL, '{');
        json_write_string(json, "name", client->peer->name ? client->peer->name : "");
        json_write_string(json, "host", client->peer->host ? client->peer->host : "");
        json_write_uint(json, "pid", client->peer->pid);
        json_write_string(json, "language", client->peer->language ? client->peer->language : "");
        json_write_uint(json, "outstanding", client->open);
        json_write_uint(json, "outstanding_bytes", client->bytes);
        json_write_uint(json, "backlog_bytes", client->peer->backlog_bytes);
        json_write_bool(json, "paused", client->paused);
        json_write_uint(json, "submitted", client->submitted);
        json_write_uint(json, "succeeded", client->succeeded);
        json_write_uint(json, "failed", client->failed);
        json_write_close(json, '}');
    }
    json_write_close(json, ']');
}

static void write_supervisors(struct json *json, const struct coordinator *coordinator, size_t limit)
{
    size_t left = limit;
    json_write_open(json, "supervisors", '[');
    for (const struct supervisor_record *supervisor = coordinator->supervisors; supervisor && left-- > 0;
         supervisor = supervisor->hh.next) {
        json_write_open(json, NULL, '{');
        json_write_string(json, "name", supervisor->peer->name ? supervisor->peer->name : "");
        json_write_string(json, "host", supervisor->peer->host ? supervisor->peer->host : "");
        json_write_uint(json, "pid", supervisor->peer->pid);
        json_write_uint(json, "slots", supervisor->slots);
        json_write_string(json, "gave_up", supervisor->gave_up ? supervisor->reason : NULL);
        json_write_close(json, '}');
    }
    json_write_close(json, ']');
}

static void write_runs(struct json *json, const struct runs *runs)
{
    json_write_uint(json, "count", runs->count);
    json_write_uint(json, "failures", runs->failures);
    json_write_real(json, "mean_seconds", (double)runs->mean_ns / 1e9);
    json_write_real(json, "last_seconds", (double)runs->last_ns / 1e9);
}

static void write_functions(struct json *json, const struct coordinator *coordinator, uint64_t now_ns, size_t limit)
{
    size_t left = limit;
    json_write_open(json, "functions", '[');
    for (const struct function *function = coordinator->functions; function && left-- > 0;
         function = function->hh.next) {
        json_write_open(json, NULL, '{');
        json_write_string(json, "name", function->name);
        write_runs(json, &function->runs);
        json_write_real(json, "per_second", rate_per_s(&function->rate, now_ns));
        json_write_close(json, '}');
    }
    json_write_close(json, ']');
}

static void write_waiting(struct json *json, const struct coordinator *coordinator, uint64_t now_ns, size_t limit)
{
    size_t left = limit;
    json_write_open(json, "lanes", '[');
    for (const struct lane *lane = coordinator->lanes; lane && left-- > 0; lane = lane->hh.next) {
        json_write_open(json, NULL, '{');
        json_write_string(json, "function", lane->function->name);
        json_write_open(json, "labels", '[');
        for (size_t i = 0; i < lane->label_count; i++)
            json_write_string(json, NULL, lane->labels[i]);
        json_write_close(json, ']');
        json_write_uint(json, "definition", lane->definition);
        json_write_uint(json, "body_bytes", lane->body.length);
        if (lane->definition)
            write_runs(json, &lane->runs);
        json_write_uint(json, "queued", lane->queued);
        json_write_bool(json, "served", lane->offers != NULL);
        json_write_real(json, "unserved_seconds", lane->unserved ? (double)(now_ns - lane->unserved_ns) / 1e9 : 0);
        json_write_close(json, '}');
    }
    json_write_close(json, ']');
}

/* The document with at most `limit` entries in each list. */
static int write_status(const struct coordinator *coordinator, struct buffer *out, uint64_t now_ns, size_t limit)
{
    struct json json = {.out = out};
    json_write_open(&json, NULL, '{');
    json_write_open(&json, "coordinator", '{');
    json_write_string(&json, "version", MUSTER_VERSION);
    json_write_uint(&json, "protocol", PROTOCOL_VERSION);
    json_write_uint(&json, "pid", coordinator->config.pid);
    json_write_real(&json, "uptime_seconds", (double)(now_ns - coordinator->started_ns) / 1e9);
    json_write_bool(&json, "draining", coordinator->draining);
    json_write_bool(&json, "rejoining", rejoining(coordinator, NULL));
    json_write_uint(&json, "clients", coordinator->connected_clients);
    json_write_uint(&json, "workers", coordinator->connected_workers);
    json_write_uint(&json, "supervisors", HASH_COUNT(coordinator->supervisors));
    json_write_close(&json, '}');
    write_tasks(&json, coordinator, now_ns);
    write_functions(&json, coordinator, now_ns, limit);
    write_waiting(&json, coordinator, now_ns, limit);
    write_workers(&json, coordinator, now_ns, limit);
    write_supervisors(&json, coordinator, limit);
    write_clients(&json, coordinator, limit);
    registry_status(coordinator->registry, &json, limit);
    json_write_close(&json, '}');
    return json.status;
}

int coordinator_status(struct coordinator *coordinator, struct buffer *out, uint64_t now_ns)
{
    size_t before = out->length, longest = coordinator->config.payload_limit;
    for (size_t limit = LIST_LIMIT;; limit /= 4) {
        if (write_status(coordinator, out, now_ns, limit) != 0) {
            out->length = before;
            return error_memory();
        }
        if (longest == 0 || out->length - before + REPORT_OVERHEAD <= longest || limit == 0)
            return 0;
        out->length = before;
    }
}
