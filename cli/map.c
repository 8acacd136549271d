/*
 * The engine of `muster map`: one thread that waits in one place, poll(), for any of: more items, a finished job, a
 * signal, the time when a job may start. So a slow source of items never holds back output, and a slow reader of the
 * output never holds more than the running jobs in memory. map_state.h says where the rest is.
 */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "cli/map_state.h"
#include "cli/output.h"
#include "core/clock.h"
#include "core/options.h"

static volatile sig_atomic_t signal_caught;
static int signal_wake = -1;

/* --- signals ------------------------------------------------------------------------------------------------------ */

/* The first one is noted; the second one ends us at once, and with us go the workers. */
static void on_signal(int number)
{
    int saved = errno;
    uint64_t one = 1;
    if (signal_caught) {
        signal(number, SIG_DFL);
        raise(number);
        sigset_t set;
        sigemptyset(&set);
        sigaddset(&set, number);
        pthread_sigmask(SIG_UNBLOCK, &set, NULL);
    }
    signal_caught = number;
    if (write(signal_wake, &one, sizeof one) < 0) {
        /* The counter is full: the loop wakes anyway. */
    }
    errno = saved;
}

static void on_broken_pipe(int number)
{
    (void)number; /* write() says EPIPE; a handler, unlike SIG_IGN, is not inherited by commands */
}

static void catch_signals(struct map *map)
{
    static const int numbers[] = {SIGINT, SIGTERM, SIGHUP};
    struct sigaction action = {.sa_handler = on_signal}, old;
    signal_wake = map->wake;
    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++)
        if (sigaction(numbers[i], NULL, &old) == 0 && old.sa_handler != SIG_IGN)
            sigaction(numbers[i], &action, NULL);
    action.sa_handler = on_broken_pipe;
    if (sigaction(SIGPIPE, NULL, &old) == 0 && old.sa_handler != SIG_IGN)
        sigaction(SIGPIPE, &action, NULL);
}

/* Ends as if the signal had never been caught, so that the shell sees what happened. */
static int die_by(int number)
{
    struct sigaction old;
    if (sigaction(number, NULL, &old) == 0 && old.sa_handler != SIG_IGN) {
        signal(number, SIG_DFL);
        raise(number);
    }
    return 128 + number;
}

/* --- stopping ----------------------------------------------------------------------------------------------------- */

void map_kill_running(struct map *map)
{
    struct job *job = map->flight;
    map->stopping = true;
    if (map->killing)
        return;
    map->killing = true;
    for (size_t i = 0; i < map->in_flight; i++, job = job->after)
        if (job->result)
            muster_cancel(job->result);
}

/* Something went wrong that has nothing to do with a job: what runs may end and be printed, nothing more is started. */
void map_stop_with_error(struct map *map)
{
    map->stopping = true;
    map->error = true;
}

/* --- the loop ----------------------------------------------------------------------------------------------------- */

static struct progress_count progress_of(const struct map *map)
{
    uint64_t total = map->source_ended ? map->numbers : source_total(&map->options->source);
    return (struct progress_count){map->skipped + map->succeeded + map->failed, map->failed, total};
}

/* Waits for whatever comes first: items, an outcome, a signal, `until`. */
static void wait_for_more(struct map *map, uint64_t until)
{
    struct pollfd fds[2] = {{.fd = map->wake, .events = POLLIN}, {.fd = -1, .events = POLLIN}};
    if (map->progress.shown)
        until = deadline_min(until, map->progress.next_ns);
    if (map->source_waits && !map->stopping)
        fds[1].fd = source_fd(&map->options->source);
    uint64_t now = clock_now_ns();
    int milliseconds = -1;
    if (until != NEVER_NS)
        milliseconds = until <= now ? 0 : (int)((until - now) / NS_PER_MS + 1);
    if (poll(fds, 2, milliseconds) < 0)
        return; /* a signal: the caller looks */
    if (fds[1].fd >= 0 && fds[1].revents) {
        map->source_waits = false;
        if (source_fill(&map->options->source) == ITEM_FAILED) {
            cli_warn("cannot read %s: %s", map->options->source.name,
                     errno == EMSGSIZE ? "an item is too long (do items end with another character? see -0 and -d)"
                                       : strerror(errno));
            map->source_ended = true;
            map_stop_with_error(map);
        }
    }
}

static void run(struct map *map)
{
    for (;;) {
        if (signal_caught)
            map_kill_running(map);
        uint64_t until = map_start_jobs(map);
        /* Jobs that were to be run again have failed, if nothing more is started. */
        struct job *job;
        while (map->stopping && (job = job_list_take(&map->again))) {
            job->dropped = map->killing;
            map_conclude(map, job);
        }
        bool more = !map->stopping && (!map->source_ended || map->again.first);
        if (map->in_flight == 0 && !more)
            return;
        struct progress_count progress = progress_of(map);
        progress_show(&map->progress, &progress, clock_now_ns());
        wait_for_more(map, until);
        map_finish_all(map);
    }
}

static int dry_run(struct map *map)
{
    map->pool = NULL;
    while (!map->source_ended && !map->error) {
        struct job *job = map_take_job(map);
        if (!job && map->source_waits) {
            source_fill(&map->options->source);
            continue;
        }
        if (!job)
            continue;
        struct bytes command = job_describe(map, job);
        cli_append(&map->scratch, "\n", 1);
        if (output_write(STDOUT_FILENO, (struct bytes){map->scratch.data, command.length + 1}) != 0) {
            if (errno == EPIPE)
                return die_by(SIGPIPE);
            cli_fail("cannot write to standard output: %s", strerror(errno));
        }
        job_release(map, job);
    }
    return map->error ? CLI_ERROR : CLI_OK;
}

/* --- opening and closing ------------------------------------------------------------------------------------------ */

static void open_log(struct map *map)
{
    const struct map_options *options = map->options;
    enum joblog_mode mode = options->resume_failed ? JOBLOG_RESUME_FAILED
                            : options->resume      ? JOBLOG_RESUME
                                                   : JOBLOG_FRESH;
    map->joblog.fd = -1;
    if (!options->joblog || options->dry_run)
        return;
    if (joblog_open(&map->joblog, options->joblog, mode, &map->done) != 0)
        cli_fail("cannot open the job log %s: %s", options->joblog,
                 errno == EILSEQ ? "it is a file of another kind, and stays as it is" : strerror(errno));
}

static void open_pool(struct map *map)
{
    const struct map_options *options = map->options;
    const muster_pool_options how = {.exec = true, .raw_output = true};
    char url[64];
    uint64_t total = source_total(&options->source);
    size_t workers = total > 0 && total < options->jobs ? (size_t)total : options->jobs;
    snprintf(url, sizeof url, "local:%zu", workers);
    if (muster_pool_open(&map->pool, options->pool_url ? options->pool_url : url, options->pool_url ? NULL : &how) != 0)
        cli_fail("%s", muster_last_error());
}

static void map_open(struct map *map, struct map_options *options)
{
    *map = (struct map){.options = options, .next_print = 1};
    pthread_mutex_init(&map->mutex, NULL);
    map->wake = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    if (map->wake < 0)
        cli_fail("cannot make an eventfd: %s", strerror(errno));
    map->setting = (struct exec_setting){
        .cwd = bytes_string(options->workdir), .environment = options->environment, .output_limit = OUTPUT_LIMIT};
    if (options->tag)
        template_parse(&map->tag, (char *const *)&options->tag, 1, TEMPLATE_PLAIN, "{}", false);
    if (options->results)
        results_init(&map->results, (char *const *)&options->results);
    map->with_slots = options->template.uses_slot || map->tag.uses_slot || map->results.template.uses_slot;
    map->exact = map->with_slots || gate_is_set(&options->gate) || options->halt.when != HALT_NEVER;
    open_log(map);
}

static void map_free(struct map *map)
{
    map_jobs_free(map);
    template_free(&map->tag);
    results_free(&map->results);
    number_set_free(&map->done);
    words_free(&map->words);
    buffer_free(&map->scratch);
    memory_free(map->held);
    memory_free(map->slots);
    close(map->wake);
    pthread_mutex_destroy(&map->mutex);
}

/* After the last job: the log, the bar, and the exit status. */
static int map_close(struct map *map)
{
    struct map_options *options = map->options;
    struct progress_count progress = progress_of(map);
    progress_end(&map->progress, &progress, clock_now_ns());
    if (joblog_close(&map->joblog) != 0) {
        cli_warn("cannot write to the job log %s: %s", options->joblog, strerror(errno));
        map->error = true;
    }
    muster_pool_free(map->pool);
    if (signal_caught)
        return die_by(signal_caught);
    if (map->broken_pipe && !map->error)
        return die_by(SIGPIPE) == 0 ? CLI_OK : CLI_ERROR;
    if (map->error)
        return CLI_ERROR;
    return halt_exit_status(&options->halt, map->halted, map->failed, source_total(&options->source), map->halt_status);
}

int command_map(int argc, char **argv)
{
    struct map_options options;
    struct map map;
    cli_program = "muster map";
    cli_fail_status = CLI_ERROR;
    int status = map_options_read(&options, argc, argv);
    if (status != OPTIONS_GO_ON) {
        map_options_free(&options);
        return status;
    }
    map_open(&map, &options);
    if (options.dry_run) {
        status = dry_run(&map);
    } else {
        catch_signals(&map);
        open_pool(&map);
        progress_start(&map.progress, options.bar, clock_now_ns());
        run(&map);
        status = map_close(&map);
    }
    map_free(&map);
    map_options_free(&options);
    return status;
}
