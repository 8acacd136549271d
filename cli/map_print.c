/*
 * Printing jobs; see map_state.h. Output first, then the log: what stands in the log has been printed.
 */
#include <errno.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "cli/map_state.h"
#include "cli/output.h"

static void output_failed(struct map *map)
{
    if (errno == EPIPE) {
        map->broken_pipe = true;
        map_kill_running(map);
        return;
    }
    if (!map->error)
        cli_warn("cannot write to standard output: %s", strerror(errno));
    map_stop_with_error(map);
    map_kill_running(map);
    map->broken_pipe = true;
}

static int print_stream(struct map *map, int fd, struct bytes data, const struct job *job)
{
    if (data.length == 0)
        return 0;
    progress_clear(&map->progress);
    if (map->options->tag)
        return output_write_tagged(fd, data, bytes_of(&job->tag), &map->scratch);
    return output_write(fd, data);
}

static void print_complaint(struct map *map, const struct job *job)
{
    progress_clear(&map->progress);
    struct bytes command = job_describe(map, job);
    cli_warn("job %llu (%.*s): %s", (unsigned long long)job->number, (int)(command.length < 200 ? command.length : 200),
             command.length > 0 ? (const char *)command.data : "", job->complaint);
}

static void write_joblog(struct map *map, struct job *job)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    struct joblog_entry entry = {
        .number = job->number,
        .host = map->options->pool_url ? map->options->pool_url : ":",
        .started = (double)now.tv_sec + (double)now.tv_nsec / 1e9 - job->run_seconds,
        .run = job->run_seconds,
        .sent = job->stdin_bytes,
        .received = job->output.out.length,
        .exit_value = job->exit_value,
        .signal = job->signal,
        .command = job_describe(map, job),
    };
    if (joblog_write(&map->joblog, &entry) == 0)
        return;
    progress_clear(&map->progress);
    cli_warn("cannot write to the job log %s: %s. No more jobs are started; the output of those that ran is printed.",
             map->options->joblog, strerror(errno));
    joblog_close(&map->joblog);
    map_stop_with_error(map);
}

/* Everything that the user sees of a finished job, and the end of it. */
void map_print(struct map *map, struct job *job)
{
    if (!map->broken_pipe) {
        if (print_stream(map, STDOUT_FILENO, job->output.out, job) != 0)
            output_failed(map);
        print_stream(map, STDERR_FILENO, job->output.err, job);
    }
    if (job->complaint && !job->dropped && !map->broken_pipe)
        print_complaint(map, job);
    if (map->options->results && !job->dropped &&
        results_write(bytes_of(&job->path), job->number, job->output.out, job->output.err) != 0) {
        if (!map->error)
            cli_warn("cannot write the output of job %llu to %s: %s", (unsigned long long)job->number,
                     map->options->results, strerror(errno));
        map_stop_with_error(map);
    }
    if (map->joblog.fd >= 0 && !job->dropped && !map->broken_pipe)
        write_joblog(map, job);
    job_release(map, job);
}

/* --- keeping the order -------------------------------------------------------------------------------------------- */

/* The place of a job that is not printed yet; the ring grows to hold it. */
static struct job **held_place(struct map *map, uint64_t number)
{
    while (number - map->next_print >= map->held_capacity) {
        size_t capacity = map->held_capacity ? map->held_capacity * 2 : 64;
        struct job **held = cli_resize(NULL, capacity * sizeof *held);
        memset(held, 0, capacity * sizeof *held);
        for (uint64_t i = map->next_print; i < map->next_print + map->held_capacity; i++)
            held[i % capacity] = map->held[i % map->held_capacity];
        memory_free(map->held);
        map->held = held;
        map->held_capacity = capacity;
    }
    return &map->held[number % map->held_capacity];
}

static size_t output_bytes(const struct job *job)
{
    return job->output.out.length + job->output.err.length;
}

void map_print_in_order(struct map *map, struct job *job)
{
    *held_place(map, job->number) = job;
    map->held_count++;
    map->held_bytes += output_bytes(job);
    while (map->held_count > 0) {
        struct job **place = held_place(map, map->next_print);
        if (number_set_has(&map->done, map->next_print)) {
            map->next_print++;
            continue;
        }
        if (!*place)
            return;
        struct job *first = *place;
        *place = NULL;
        map->next_print++;
        map->held_count--;
        map->held_bytes -= output_bytes(first);
        map_print(map, first);
    }
}
