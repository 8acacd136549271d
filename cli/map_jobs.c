/*
 * Jobs: made of the source's values, submitted, reused; see map_state.h.
 *
 * A job is submitted with a handle to its result, and its output is printed from the memory of that result. The number
 * of jobs in flight is bounded: by the workers, when it matters that no job starts before the one before it has been
 * seen to end (--halt, --delay, {%} and so on), otherwise by four times as many, so that workers need not wait for us.
 */
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "cli/map_state.h"
#include "cli/output.h"
#include "core/clock.h"

#define HELD_LIMIT 100000              /* finished jobs that wait for an earlier one, with --keep-order */
#define HELD_BYTES (256 * 1024 * 1024) /* and the output that they hold */
#define GRACE_SECONDS 1.0              /* between SIGTERM and SIGKILL */

void job_list_put(struct job_list *list, struct job *job)
{
    job->next = NULL;
    if (!list->first)
        list->last = &list->first;
    *list->last = job;
    list->last = &job->next;
}

struct job *job_list_take(struct job_list *list)
{
    struct job *job = list->first;
    if (job)
        list->first = job->next;
    return job;
}

static struct job *job_make(struct map *map)
{
    struct job *job = map->idle;
    if (job) {
        map->idle = job->next;
        struct buffer args = job->args, tag = job->tag, path = job->path;
        *job = (struct job){.args = args, .tag = tag, .path = path};
        job->args.length = job->tag.length = job->path.length = 0;
    } else {
        job = cli_resize(NULL, sizeof *job);
        *job = (struct job){0};
    }
    job->map = map;
    return job;
}

void job_release(struct map *map, struct job *job)
{
    muster_result_free(job->result);
    job->result = NULL;
    if (job->slot > 0)
        map->slots[job->slot - 1] = false;
    job->next = map->idle;
    map->idle = job;
}

void map_jobs_free(struct map *map)
{
    while (map->idle) {
        struct job *job = map->idle;
        map->idle = job->next;
        buffer_free(&job->args);
        buffer_free(&job->tag);
        buffer_free(&job->path);
        memory_free(job);
    }
}

static void map_flight_add(struct map *map, struct job *job)
{
    struct job *head = map->flight;
    job->after = head ? head : job;
    job->before = head ? head->before : job;
    job->before->after = job;
    job->after->before = job;
    map->flight = head ? head : job;
    map->in_flight++;
}

void map_flight_remove(struct map *map, struct job *job)
{
    job->before->after = job->after;
    job->after->before = job->before;
    if (map->flight == job)
        map->flight = job->after == job ? NULL : job->after;
    map->in_flight--;
}

static size_t take_slot(struct map *map)
{
    size_t slot = 0;
    if (!map->with_slots)
        return 0;
    while (slot < map->slot_count && map->slots[slot])
        slot++;
    if (slot == map->slot_count)
        map->slots = cli_resize(map->slots, ++map->slot_count * sizeof *map->slots);
    map->slots[slot] = true;
    return slot + 1;
}

/* The command of a job as a person would type it; a view until the next call. */
struct bytes job_describe(struct map *map, const struct job *job)
{
    struct bytes argument = {job->args.data + job->args_at, job->args.length - job->args_at};
    map->scratch.length = 0;
    exec_describe(&map->scratch, argument, map->options->shell);
    return bytes_of(&map->scratch);
}

/* --- starting ----------------------------------------------------------------------------------------------------- */

/* A job that cannot even be submitted has failed. */
static void refuse(struct map *map, struct job *job, const char *complaint)
{
    job->failed = true;
    job->exit_value = CLI_ERROR;
    job->complaint = complaint;
    map_conclude(map, job);
}

static void submit(struct map *map, struct job *job)
{
    const struct map_options *options = map->options;
    const muster_options how = {
        .time_limit = options->time_limit,
        .grace = GRACE_SECONDS,
        .labels = options->labels,
        .on_success = map_on_outcome,
        .on_error = map_on_outcome,
        .arg = job,
    };
    muster_value argument = muster_msgpack(job->args.data + job->args_at, job->args.length - job->args_at);
    if (options->verbose && job->runs == 0) {
        struct bytes command = job_describe(map, job);
        cli_append(&map->scratch, "\n", 1);
        progress_clear(&map->progress);
        output_write(STDERR_FILENO, (struct bytes){map->scratch.data, command.length + 1});
    }
    muster_result_free(job->result); /* of the run before */
    job->result = NULL;
    job->output = (struct exec_result){0};
    job->runs++;
    job->submitted_ns = clock_now_ns();
    map_flight_add(map, job);
    int status = muster_apply_async(map->pool, "muster.exec", (muster_args){&argument, 1}, &how, &job->result);
    if (status != 0) {
        map_flight_remove(map, job);
        job->result = NULL;
        if (map_is_fatal(status)) {
            if (!map->stopping)
                cli_warn("%s", muster_last_error());
            map_stop_with_error(map);
            job->dropped = true;
        }
        refuse(map, job, muster_strerror(status));
        return;
    }
    gate_started(&map->options->gate, job->submitted_ns);
}

/* Puts the head of the argument in front of a block's bytes; moves those only if the head is uncommonly long. */
static void prepend(struct job *job, struct bytes head)
{
    size_t block = job->args.length - BLOCK_HEADROOM;
    if (head.length > BLOCK_HEADROOM) {
        cli_reserve(&job->args, head.length);
        memmove(job->args.data + head.length, job->args.data + BLOCK_HEADROOM, block);
        job->args.length = head.length + block;
        job->args_at = 0;
    } else {
        job->args_at = BLOCK_HEADROOM - head.length;
    }
    memcpy(job->args.data + job->args_at, head.data, head.length);
}

/* Makes the job's argument of the values; false if no command line can carry them. */
static bool encode(struct map *map, struct job *job, struct template_values *values)
{
    struct map_options *options = map->options;
    struct words *words = &map->words;
    template_expand(&options->template, values, words);
    bool zero = words->text.length > 0 && memchr(words->text.data, '\0', words->text.length);
    size_t ends[3];
    struct words shell = {.ends = ends, .count = 3};
    if (options->shell) {
        for (int i = 0; i < 2; i++) {
            cli_append(&shell.text, options->shell_words[i], strlen(options->shell_words[i]));
            ends[i] = shell.text.length;
        }
        cli_append(&shell.text, words->text.data, words->text.length);
        ends[2] = shell.text.length;
        words = &shell;
    }
    if (options->pipe) {
        job->stdin_bytes = job->args.length - BLOCK_HEADROOM;
        map->scratch.length = 0;
        exec_encode(&map->scratch, words, &map->setting, job->stdin_bytes);
        prepend(job, bytes_of(&map->scratch));
    } else {
        exec_encode(&job->args, words, &map->setting, 0);
    }
    buffer_free(&shell.text);
    return !zero;
}

/* Takes the next job from the source. NULL: none now; source_waits and source_ended say why. */
struct job *map_take_job(struct map *map)
{
    struct source *source = &map->options->source;
    struct template_values values = {0};
    struct job *job = job_make(map);
    enum item_status status;
    map->source_waits = false;
    while ((status = source_next(source, &values, &job->args)) == ITEM_READY) {
        job->number = ++map->numbers;
        if (!number_set_has(&map->done, job->number))
            break;
        map->skipped++;
    }
    if (status != ITEM_READY) {
        job_release(map, job);
        map->source_waits = status == ITEM_WAIT;
        map->source_ended = status == ITEM_END || status == ITEM_FAILED;
        if (status == ITEM_FAILED) {
            cli_warn(errno == EMSGSIZE ? "%s: an item is too long (do items end with another character? see -0 and -d)"
                                       : "cannot read %s: %s",
                     source->name, strerror(errno));
            map_stop_with_error(map);
        }
        return NULL;
    }
    job->slot = take_slot(map);
    values.number = job->number;
    values.slot = job->slot;
    if (map->options->tag)
        template_expand_text(&map->tag, &values, &job->tag);
    if (map->options->results)
        results_path(&map->results, &values, &job->path);
    if (encode(map, job, &values))
        return job;
    refuse(map, job, "an item holds a zero byte, which no command line can carry (use -0 if items end with it)");
    return NULL;
}

/* How many jobs may be in flight now. */
static size_t window(const struct map *map)
{
    size_t jobs = map->options->jobs;
    if (jobs == 0) {
        int workers = muster_pool_workers(map->pool);
        jobs = workers > 0 ? (size_t)workers : 1;
        return map->exact ? jobs : jobs * 4;
    }
    return map->exact || map->options->pool_url ? jobs : jobs * 4;
}

/* Starts what may start now; returns when to look again. */
uint64_t map_start_jobs(struct map *map)
{
    struct gate *gate = &map->options->gate;
    while (!map->stopping && map->in_flight < window(map)) {
        bool room = map->held_count < HELD_LIMIT && map->held_bytes < HELD_BYTES;
        if (!map->again.first && (map->source_ended || !room))
            break;
        if (gate_is_set(gate) && !gate_opens(gate, clock_now_ns()))
            return gate->next_ns;
        struct job *job = job_list_take(&map->again);
        if (!job)
            job = map_take_job(map);
        if (job)
            submit(map, job);
        else if (map->source_waits)
            break;
    }
    return NEVER_NS;
}
