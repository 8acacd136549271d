/*
 * Connections between processes and the coordinator. A connection delivers in order, after a delay; connections do not
 * wait for each other. When one breaks, what is on its way is lost; a process that dies has sent what it has sent. The
 * poll line behaves as core/transport.c uses NNG's REQ: a request whose connection breaks has failed, and the link
 * makes another. The push line behaves as PUSH: a frame that was taken may be lost with the connection.
 */
#include "tests/sim/sim.h"

#include <stdlib.h>

static uint64_t delay(struct world *world)
{
    uint64_t base = 20 * NS_PER_US + sim_random(world, 100 * NS_PER_US);
    if (sim_chance(world, 2))
        base += sim_random(world, 200 * NS_PER_MS);
    return base;
}

static void trace_frame(struct world *world, const struct process *process, const char *what, struct bytes frame)
{
    if (!world->trace) {
        sim_trace(world, "%s %u %zu", what, process->id, frame.length);
        return;
    }
    struct frame_header header;
    const char *why;
    if (frame_parse(frame, &header, &why) != 0) {
        sim_trace(world, "%s %u %zu", what, process->id, frame.length);
        return;
    }
    sim_trace(world, "%s %u %zu", what, process->id, frame.length);
    fprintf(world->trace, "              seq %llu ack %llu:", (unsigned long long)header.sequence,
            (unsigned long long)header.acknowledgement);
    struct message message;
    struct buffer line = {0};
    for (size_t i = 0; i < header.count && message_decode(&header.messages, &message, &why) == 0; i++) {
        buffer_append(&line, " | ", 3);
        message_print(&line, &message);
    }
    fprintf(world->trace, "%.*s\n", (int)line.length, line.data ? (char *)line.data : "");
    buffer_free(&line);
}

bool network_reachable(const struct process *process)
{
    return process->world->hub && process->alive && !(process->host ? process->host->cut : process->cut);
}

static void plan_connection(struct process *process, enum line line)
{
    struct connection *connection = &process->connections[line];
    if (connection->connecting || connection->pipe || !process->alive)
        return;
    connection->connecting = true;
    struct event *event =
        sim_at(process->world, process->world->now_ns + 10 * NS_PER_MS + sim_random(process->world, 40 * NS_PER_MS),
               EVENT_CONNECTED, process->id);
    event->value = line;
}

void network_connect(struct process *process)
{
    plan_connection(process, LINE_POLL);
    plan_connection(process, LINE_PUSH);
}

static void send_request(struct process *process)
{
    struct world *world = process->world;
    struct connection *connection = &process->connections[LINE_POLL];
    if (!connection->pipe)
        return;
    uint64_t at = world->now_ns + delay(world);
    if (at < connection->up_free_ns)
        at = connection->up_free_ns;
    connection->up_free_ns = at;
    struct event *event = sim_at(world, at, EVENT_POLL_ARRIVES, process->id);
    event->number = connection->pipe;
    event->value = process->request_id;
    buffer_append(&event->frame, process->request.data, process->request.length);
}

static void send_push(struct process *process)
{
    struct world *world = process->world;
    struct connection *connection = &process->connections[LINE_PUSH];
    if (!connection->pipe || !process->push_waiting)
        return;
    uint64_t at = world->now_ns + delay(world);
    if (at < connection->up_free_ns)
        at = connection->up_free_ns;
    connection->up_free_ns = at;
    struct event *event = sim_at(world, at, EVENT_PUSH_ARRIVES, process->id);
    event->number = connection->pipe;
    event->frame = process->pushing;
    process->pushing = (struct buffer){0};
    process->push_waiting = false;
    sim_at(world, world->now_ns + 5 * NS_PER_US + sim_random(world, 40 * NS_PER_US), EVENT_PUSH_TAKEN, process->id);
}

static void lose_pipe(struct process *process, enum line line, bool at_once)
{
    struct world *world = process->world;
    struct connection *connection = &process->connections[line];
    if (!connection->pipe)
        return;
    uint64_t at = at_once ? world->now_ns : connection->up_free_ns;
    struct event *event = sim_at(world, at, EVENT_PIPE_CLOSED, process->id);
    event->number = connection->pipe;
    event->value = at_once;
    connection->pipe = 0;
    connection->up_free_ns = connection->down_free_ns = 0;
}

void network_line_lost(struct process *process, enum line line)
{
    if (line == LINE_PUSH) {
        link_push_lost(&process->link);
    } else if (process->request_waiting) {
        process->request_waiting = false;
        link_poll_failed(&process->link, process->world->now_ns);
    }
}

void network_break(struct process *process, enum line line)
{
    struct world *world = process->world;
    uint64_t pipe = process->connections[line].pipe;
    if (!pipe)
        return;
    sim_trace(world, "break %u line %d", process->id, line);
    network_lose_in_flight(world, pipe);
    lose_pipe(process, line, true);
    network_line_lost(process, line);
    network_connect(process);
}

void network_lose_in_flight(struct world *world, uint64_t pipe)
{
    for (size_t i = 0; i < world->event_count; i++) {
        struct event *event = &world->events[i];
        bool frame = event->kind == EVENT_POLL_ARRIVES || event->kind == EVENT_PUSH_ARRIVES ||
                     event->kind == EVENT_ANSWER_ARRIVES || event->kind == EVENT_PIPE_CLOSED;
        if (frame && (event->number == pipe || pipe == 0))
            event->number = 0;
    }
}

void network_process_died(struct process *process)
{
    lose_pipe(process, LINE_POLL, false);
    lose_pipe(process, LINE_PUSH, false);
}

static void connected(struct process *process, enum line line)
{
    struct world *world = process->world;
    struct connection *connection = &process->connections[line];
    connection->connecting = false;
    if (!process->alive)
        return;
    if (!network_reachable(process)) {
        plan_connection(process, line);
        return;
    }
    connection->pipe = ++world->next_id;
    sim_trace(world, "connected %u line %d", process->id, line);
    if (line == LINE_POLL && process->request_waiting)
        send_request(process);
    if (line == LINE_PUSH) {
        link_push_connected(&process->link, world->now_ns);
        send_push(process);
    }
}

void network_pump(struct process *process)
{
    struct world *world = process->world;
    if (process->request_waiting && link_poll_overdue(&process->link, world->now_ns)) {
        process->request_waiting = false;
        link_poll_failed(&process->link, world->now_ns);
    }
    if (!process->request_waiting && link_next_poll(&process->link, world->now_ns, &process->request)) {
        process->request_waiting = true;
        process->request_id = ++world->next_id;
        trace_frame(world, process, "poll", bytes_of(&process->request));
        send_request(process);
    }
    struct bytes frame;
    if (!process->push_waiting && link_next_push(&process->link, world->now_ns, &frame)) {
        process->push_waiting = true;
        process->pushing.length = 0;
        buffer_append(&process->pushing, frame.data, frame.length);
        trace_frame(world, process, "push", bytes_of(&process->pushing));
        send_push(process);
    }
    uint64_t deadline = link_deadline(&process->link);
    if (deadline < process->tick_ns) {
        process->tick_ns = deadline < world->now_ns ? world->now_ns : deadline;
        sim_at(world, process->tick_ns, EVENT_LINK_TICK, process->id);
    }
}

static size_t find_poll(const struct world *world, hub_poll_id poll)
{
    size_t i = 0;
    while (i < world->poll_count && world->polls[i].id != poll)
        i++;
    return i;
}

static void open_poll(struct world *world, const struct event *event)
{
    if (world->poll_count == world->poll_capacity) {
        world->poll_capacity = world->poll_capacity ? 2 * world->poll_capacity : 64;
        world->polls = realloc(world->polls, world->poll_capacity * sizeof *world->polls);
        if (!world->polls)
            abort();
    }
    uint64_t id = ++world->next_id;
    world->polls[world->poll_count++] =
        (struct open_poll){.id = id, .process = event->process, .pipe = event->number, .request_id = event->value};
    hub_poll(world->hub, id, event->number, NULL, bytes_of(&event->frame), world->now_ns);
}

void network_hub_drop(void *arg, hub_poll_id poll)
{
    struct world *world = arg;
    size_t i = find_poll(world, poll);
    if (i == world->poll_count)
        sim_violate(world, "polls", "the hub dropped a poll that is not open");
    else
        world->polls[i] = world->polls[--world->poll_count];
}

void network_hub_answer(void *arg, hub_poll_id id, struct bytes frame)
{
    struct world *world = arg;
    size_t i = find_poll(world, id);
    if (i == world->poll_count) {
        sim_violate(world, "polls", "the hub answered a poll that is not open");
        return;
    }
    struct open_poll poll = world->polls[i];
    world->polls[i] = world->polls[--world->poll_count];
    struct process *process = world->processes[poll.process];
    struct connection *connection = &process->connections[LINE_POLL];
    trace_frame(world, process, "answer to", frame);
    if (!process->alive || connection->pipe != poll.pipe)
        return; /* the connection is gone, and the answer with it */
    uint64_t at = world->now_ns + delay(world);
    if (at < connection->down_free_ns)
        at = connection->down_free_ns;
    connection->down_free_ns = at;
    struct event *event = sim_at(world, at, EVENT_ANSWER_ARRIVES, process->id);
    event->number = poll.pipe;
    event->value = poll.request_id;
    buffer_append(&event->frame, frame.data, frame.length);
}

void network_event(struct world *world, struct event *event)
{
    struct process *process = world->processes[event->process];
    if (process->frozen &&
        (event->kind == EVENT_ANSWER_ARRIVES || event->kind == EVENT_PUSH_TAKEN || event->kind == EVENT_CONNECTED)) {
        /* it will see this when it runs again */
        struct event *later = sim_at(world, world->now_ns + 100 * NS_PER_MS, event->kind, event->process);
        later->number = event->number;
        later->value = event->value;
        later->frame = event->frame;
        event->frame = (struct buffer){0};
        return;
    }
    switch (event->kind) {
    case EVENT_POLL_ARRIVES:
        if (world->hub && event->number)
            open_poll(world, event);
        break;
    case EVENT_PUSH_ARRIVES:
        if (world->hub && event->number)
            hub_push(world->hub, event->number, bytes_of(&event->frame), world->now_ns);
        break;
    case EVENT_ANSWER_ARRIVES:
        if (process->alive && event->number == process->connections[LINE_POLL].pipe && process->request_waiting &&
            event->value == process->request_id) {
            process->request_waiting = false;
            link_poll_answered(&process->link, bytes_of(&event->frame), world->now_ns);
        }
        break;
    case EVENT_PUSH_TAKEN:
        if (process->alive)
            link_push_done(&process->link, true, world->now_ns);
        break;
    case EVENT_CONNECTED: connected(process, (enum line)event->value); break;
    case EVENT_PIPE_CLOSED:
        if (world->hub && event->number)
            hub_pipe_lost(world->hub, event->number, world->process_bound && !event->value, world->now_ns);
        break;
    default: break;
    }
}
