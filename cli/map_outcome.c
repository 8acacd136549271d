/*
 * What became of a job; see map_state.h.
 */
#include <errno.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

#include "cli/map_state.h"
#include "core/clock.h"

/* Errors after which no job can run any more. */
bool map_is_fatal(int status)
{
    switch (status) {
    case MUSTER_ENOFUNCTION:
    case MUSTER_ECLOSED:
    case MUSTER_EPROTOCOL:
    case MUSTER_EVERSION:
    case MUSTER_EAUTH:
    case MUSTER_ECONNECT:
    case MUSTER_EWORKERS: return true;
    default: return false;
    }
}

/* A command that could not be started, as a shell would say it: 127 it is not there, 126 it is but cannot be run. */
static int exec_exit_value(const muster_error *error)
{
    const char *missing = strerror(ENOENT);
    size_t length = strlen(error->message), tail = strlen(missing);
    if (strcmp(error->kind, "ExecError") != 0)
        return CLI_ERROR;
    return length >= tail && strcmp(error->message + length - tail, missing) == 0 ? 127 : 126;
}

static void judge_error(struct map *map, struct job *job, const muster_error *error)
{
    job->failed = true;
    job->run_seconds = (double)(clock_now_ns() - job->submitted_ns) / NS_PER_S;
    job->complaint = error && *error->message ? error->message : "it failed for an unknown reason";
    int status = error ? error->status : MUSTER_EINTERNAL;
    switch (status) {
    case MUSTER_ETIMEDOUT:
        job->exit_value = -1;
        job->signal = SIGTERM;
        job->run_seconds = map->options->time_limit;
        break;
    case MUSTER_ELOST:
        job->exit_value = -1;
        job->signal = error->signal;
        break;
    case MUSTER_ETASK:
        job->exit_value = exec_exit_value(error);
        job->run_seconds = 0;
        break;
    case MUSTER_ECANCELED: job->dropped = map->killing; break;
    default:
        job->exit_value = CLI_ERROR;
        if (!map_is_fatal(status))
            break;
        job->dropped = true;
        if (!map->stopping)
            cli_warn("%s%s", job->complaint,
                     status == MUSTER_ENOFUNCTION ? " (workers run commands when started as muster-worker --exec)"
                                                  : "");
        map_stop_with_error(map);
        break;
    }
}

/* What became of the job, from its result. */
static void judge(struct map *map, struct job *job)
{
    const muster_value *value = muster_result_value(job->result, 0);
    job->output = (struct exec_result){0};
    job->failed = job->dropped = false;
    job->exit_value = job->signal = 0;
    job->complaint = NULL;
    if (!value) {
        judge_error(map, job, muster_result_error(job->result, 0));
        return;
    }
    if (!exec_decode((struct bytes){value->data, value->size}, &job->output)) {
        job->output = (struct exec_result){0};
        job->complaint = "the worker's answer makes no sense; is its muster of another version?";
        job->failed = true;
        job->exit_value = CLI_ERROR;
        return;
    }
    job->run_seconds = job->output.run_seconds;
    job->signal = (int)job->output.signal;
    job->exit_value = job->signal ? 0 : (int)job->output.status;
    if (job->output.truncated) {
        job->complaint = "its output is cut off: more than 30 MiB cannot be carried; let the command write to a file";
        job->exit_value = job->exit_value ? job->exit_value : CLI_ERROR;
    }
    job->failed = job->exit_value != 0 || job->signal != 0;
    job->dropped = map->killing && job->signal != 0;
}

/* Counts it, and halts if that is due. */
static void count(struct map *map, struct job *job)
{
    const struct map_options *options = map->options;
    if (job->dropped)
        return;
    if (job->failed)
        map->failed++;
    else
        map->succeeded++;
    if (map->halted || !halt_reached(&options->halt, map->failed, map->succeeded, source_total(&options->source)))
        return;
    map->halted = true;
    map->halt_status = job->signal ? 128 + job->signal : job->exit_value & 255;
    map->stopping = true;
    if (options->halt.when == HALT_NOW)
        map_kill_running(map);
}

void map_conclude(struct map *map, struct job *job)
{
    count(map, job);
    if (map->options->keep_order)
        map_print_in_order(map, job);
    else
        map_print(map, job);
}

static void finish(struct map *map, struct job *job)
{
    map_flight_remove(map, job);
    judge(map, job);
    if (job->failed && !job->dropped && job->runs < map->options->retries && !map->stopping)
        job_list_put(&map->again, job);
    else
        map_conclude(map, job);
}

void map_finish_all(struct map *map)
{
    uint64_t ignored;
    struct job *job;
    if (read(map->wake, &ignored, sizeof ignored) < 0 && errno != EAGAIN && errno != EINTR)
        cli_fail("cannot wait for jobs: %s", strerror(errno));
    for (;;) {
        pthread_mutex_lock(&map->mutex);
        struct job_list finished = map->finished;
        map->finished.first = NULL;
        pthread_mutex_unlock(&map->mutex);
        if (!finished.first)
            return;
        while ((job = job_list_take(&finished)))
            finish(map, job);
    }
}

/* In the pool's thread. */
void map_on_outcome(muster_result *result, void *arg)
{
    struct job *job = arg;
    struct map *map = job->map;
    uint64_t one = 1;
    (void)result;
    pthread_mutex_lock(&map->mutex);
    bool wake = !map->finished.first;
    job_list_put(&map->finished, job);
    pthread_mutex_unlock(&map->mutex);
    if (wake && write(map->wake, &one, sizeof one) < 0)
        cli_warn("cannot wake the main thread: %s", strerror(errno));
}
