/*
 * muster-worker: the workers of one host. This process is their supervisor; it never runs a task and never loads a
 * plugin. It has a session of its own, in which it reports workers that died and is told whom to kill.
 *
 * The main thread only waits for signals. Everything else happens in the threads of the transport and of
 * workers/processes.c.
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <time.h>
#include <unistd.h>

#include "core/clock.h"
#include "core/errors.h"
#include "core/log.h"
#include "core/options.h"
#include "core/segment.h"
#include "core/transport.h"
#include "workers/cpus.h"
#include "workers/processes.h"

#define GOODBYE_NS (5 * NS_PER_S) /* the last messages must have been taken by then */
#define LOOK_NS (10 * NS_PER_MS)
#define SILENCE_LOOK_S 1 /* how often it is looked whether a musterd answers */
#define WORKERS_MAX 4096
#define MEMORY_MIN (16.0 * 1024 * 1024)

struct settings {
    const char *url, *authkey_file, *log_level, *host, *initializer;
    const char **plugins, **labels;
    size_t workers, max_tasks, memory_limit;
    bool exec, raw_output;
};

struct host {
    pthread_mutex_t mutex;
    pthread_t main;
    struct link link;
    struct transport *transport;
    struct processes *processes;
    bool connected; /* a session was open */
    bool told;      /* that nobody answers */
    bool over;      /* all workers have ended */
    int status;     /* why it cannot go on, or 0 */
    char reason[1024];
};

/* --- options ------------------------------------------------------------------------------------------------------ */

static int check_labels(const struct options *options, const char *const *labels)
{
    for (; labels && *labels; labels++)
        if (!strchr(*labels, '=') || **labels == '=')
            return options_error(options, "--label %s: a label is NAME=VALUE", *labels);
    return OPTIONS_GO_ON;
}

static int check(const struct options *options, struct settings *settings, int argc, char **argv, int operand)
{
    if (operand >= argc)
        return options_error(options, "the URL of a musterd is missing");
    if (operand + 1 < argc)
        return options_error(options, "unexpected argument '%s': there is one URL", argv[operand + 1]);
    settings->url = argv[operand];
    if (url_check(settings->url) != 0)
        return options_error(options, "%s", muster_last_error());
    if (!settings->exec && !settings->plugins)
        return options_error(options, "workers need something to run: give --load or --exec");
    if (settings->log_level && log_level_parse(settings->log_level, &log_threshold) != 0)
        return options_error(options, "--log-level: %s", muster_last_error());
    return check_labels(options, settings->labels);
}

static int parse(struct settings *settings, int argc, char **argv)
{
    const struct option_row rows[] = {
        {OPTION_NUMBER, 'n', "workers", "N", &settings->workers,
         "how many workers, each running one task at a time. Default: the CPUs that this process may use", 1,
         WORKERS_MAX, NULL},
        {OPTION_TEXTS, 'l', "load", "FILE", &settings->plugins,
         "offer the functions of this shared object. Can be given several times", 0, 0, NULL},
        {OPTION_FLAG, 'e', "exec", NULL, &settings->exec, "offer muster.exec: run commands", 0, 0, NULL},
        {OPTION_TEXTS, 0, "label", "NAME=VALUE", &settings->labels,
         "a label of these workers, for tasks that ask for it. Can be given several times", 0, 0, NULL},
        {OPTION_NUMBER, 0, "max-tasks", "N", &settings->max_tasks,
         "replace a worker after so many tasks. Default: never", 1, 1e15, NULL},
        {OPTION_TEXT, 0, "initializer", "FUNCTION", &settings->initializer,
         "run this function once in each worker before its first task", 0, 0, NULL},
        {OPTION_SIZE, 0, "memory-limit", "SIZE", &settings->memory_limit,
         "address space of each worker, in bytes or with k, M, G. Default: no limit of muster's", MEMORY_MIN, 1e15,
         NULL},
        {OPTION_TEXT, 'k', "authkey-file", "FILE", &settings->authkey_file,
         "the key of the musterd; only its owner may be able to read the file. Default: the file in "
         "MUSTER_AUTHKEY_FILE, or "
         "the key in MUSTER_AUTHKEY",
         0, 0, NULL},
        {OPTION_TEXT, 0, "name", "HOST", &settings->host,
         "what this host is called in errors and in the status. Default: its host name", 0, 0, NULL},
        {OPTION_FLAG, 0, "raw-output", NULL, &settings->raw_output,
         "workers write to this program's stdout and stderr themselves, without \"[host/slot] \" before each line", 0,
         0, NULL},
        {OPTION_TEXT, 0, "log-level", "LEVEL", &settings->log_level, "error, warning, info or debug. Default: warning",
         0, 0, NULL},
        {OPTION_END, 0, NULL, NULL, NULL, NULL, 0, 0, NULL},
    };
    const struct options options = {
        .program = "muster-worker",
        .usage = "muster-worker [OPTION]... URL",
        .summary = "Runs workers on this host for the musterd at URL (ipc:///PATH, tcp://HOST:PORT), and starts them "
                   "again when "
                   "they die.",
        .rows = rows,
        .footer = "Examples:\n"
                  "  muster-worker --exec ipc:///run/user/1000/muster.sock\n"
                  "  muster-worker -n 4 --load ./tasks.so --label gpu=no tcp://head:7100\n"
                  "\n"
                  "Signals: SIGTERM or SIGINT lets running tasks finish and ends; a second one ends at once.\n"
                  "Exit status: 0 after an orderly end, 1 if it could not start or go on or was ended at once, 2 for "
                  "wrong usage.\n",
    };
    int operand;
    int status = options_parse(&options, argc, argv, &operand);
    return status == OPTIONS_GO_ON ? check(&options, settings, argc, argv, operand) : status;
}

/* --- callbacks, mutex held ---------------------------------------------------------------------------------------- */

static void wake_main(const struct host *host)
{
    pthread_kill(host->main, SIGUSR1);
}

static void cannot_go_on(struct host *host, int status, const char *reason)
{
    if (host->status != 0)
        return;
    host->status = status;
    snprintf(host->reason, sizeof host->reason, "%s", reason);
    wake_main(host);
}

static void on_open(void *arg, const struct welcome *welcome, bool restarted)
{
    struct host *host = arg;
    (void)welcome;
    if (host->told)
        log_warning("connected"); /* as loud as what it takes back */
    else
        log_info("%s", host->connected ? "connected again" : "connected");
    host->connected = true;
    host->told = false;
    if (host->processes)
        processes_connected(host->processes, restarted);
}

static int on_message(void *arg, const struct message *message)
{
    struct host *host = arg;
    return host->processes ? processes_message(host->processes, message) : 0;
}

static void on_lost(void *arg, const char *reason)
{
    (void)arg;
    log_warning("the session was lost: %s", reason);
}

static void on_failed(void *arg, int status, const char *reason)
{
    cannot_go_on(arg, status, reason);
}

static const struct link_events link_events = {
    .open = on_open, .message = on_message, .lost = on_lost, .failed = on_failed};

static int send_message(void *arg, const struct message *message)
{
    struct host *host = arg;
    int status = link_send(&host->link, message);
    if (host->transport)
        transport_flush(host->transport);
    return status;
}

static void on_gave_up(void *arg, int status, const char *reason)
{
    cannot_go_on(arg, status, reason);
}

static void on_over(void *arg)
{
    struct host *host = arg;
    host->over = true;
    wake_main(host);
}

static const struct processes_events processes_events = {send_message, on_gave_up, on_over, NULL};

/* --- start -------------------------------------------------------------------------------------------------------- */

static int start_workers(struct host *host, const struct settings *settings, const struct authkey *key,
                         uint64_t identity, const char *name)
{
    struct processes_config config = {.slots = (unsigned)settings->workers,
                                      .url = settings->url,
                                      .host = name,
                                      .authkey = key,
                                      .identity = identity,
                                      .plugins = settings->plugins,
                                      .exec = settings->exec,
                                      .initializer = settings->initializer,
                                      .max_tasks = settings->max_tasks,
                                      .labels = settings->labels,
                                      .memory_limit = settings->memory_limit,
                                      .raw_output = settings->raw_output,
                                      .subreaper = true};
    return processes_start(&host->processes, &config, &processes_events, host, &host->mutex);
}

/* Both ends of the program's life need a name for the host and a domain; they outlive the link. */
static int start(struct host *host, const struct settings *settings)
{
    static char name[200], domain[SEGMENT_DOMAIN_BYTES];
    struct random random;
    struct authkey key = {.length = 0};
    int status = authkey_load(&key, settings->authkey_file);
    if (status == 0)
        status = random_seed_system(&random);
    if (status != 0)
        return status;
    if (settings->host)
        snprintf(name, sizeof name, "%s", settings->host);
    else if (gethostname(name, sizeof name - 1) != 0)
        snprintf(name, sizeof name, "localhost");
    segment_domain(domain, sizeof domain);
    struct link_config link = {.role = ROLE_SUPERVISOR,
                               .identity = random_u64(&random),
                               .language = "c",
                               .host = name,
                               .domain = domain,
                               .name = name,
                               .pid = (uint64_t)getpid(),
                               .authkey = key,
                               .events = &link_events,
                               .arg = host};
    status = link_init(&host->link, &link, &random, clock_now_ns());
    if (status == 0)
        status = start_workers(host, settings, &key, link.identity, name);
    explicit_bzero(&key, sizeof key);
    explicit_bzero(&link.authkey, sizeof link.authkey);
    return status == 0 ? transport_start(&host->transport, settings->url, &host->link, &host->mutex) : status;
}

/* --- signals and end ---------------------------------------------------------------------------------------------- */

static void block_signals(sigset_t *signals)
{
    static const int waited_for[] = {SIGTERM, SIGINT, SIGHUP, SIGCHLD, SIGUSR1};
    sigemptyset(signals);
    for (size_t i = 0; i < sizeof waited_for / sizeof *waited_for; i++)
        sigaddset(signals, waited_for[i]);
    pthread_sigmask(SIG_BLOCK, signals, NULL); /* inherited by every thread that is started later */
    signal(SIGPIPE, SIG_IGN);
}

/* It is in order to wait for a musterd, but whoever mistyped the URL should not wait without a word. */
static void say_if_nobody_answers(struct host *host, const char *url)
{
    pthread_mutex_lock(&host->mutex);
    if (!host->told && host->link.state != LINK_CLOSED && link_silent(&host->link, clock_now_ns())) {
        log_warning("no musterd answers at %s; trying until one does", url);
        host->told = true;
    }
    pthread_mutex_unlock(&host->mutex);
}

/* Waits for what happens until all workers have ended, or it cannot go on. True if it was an orderly end. */
static bool serve(struct host *host, const sigset_t *signals, const char *url)
{
    static const struct timespec look = {SILENCE_LOOK_S, 0};
    unsigned requests = 0;
    for (;;) {
        pthread_mutex_lock(&host->mutex);
        bool end = host->over || host->status != 0;
        pthread_mutex_unlock(&host->mutex);
        if (end)
            return requests < 2 && host->status == 0;
        int number = sigtimedwait(signals, NULL, &look);
        if (number < 0)
            say_if_nobody_answers(host, url);
        if (number == SIGCHLD)
            processes_reap(host->processes); /* nobody else sets it to NULL */
        if (number != SIGTERM && number != SIGINT && number != SIGHUP)
            continue;
        requests++;
        log_info("%s: %s", strsignal(number), requests < 2 ? "ending when running tasks are done" : "ending at once");
        pthread_mutex_lock(&host->mutex);
        processes_stop(host->processes, requests > 1);
        pthread_mutex_unlock(&host->mutex);
    }
}

/* Says goodbye and waits until the coordinator has taken the last messages. */
static void say_goodbye(struct host *host)
{
    const struct timespec look = {0, LOOK_NS};
    uint64_t until_ns = clock_now_ns() + GOODBYE_NS;
    bool idle = false;
    while (!idle && clock_now_ns() < until_ns) {
        pthread_mutex_lock(&host->mutex);
        link_close(&host->link, "the workers of this host have ended");
        transport_flush(host->transport);
        idle = link_idle(&host->link);
        pthread_mutex_unlock(&host->mutex);
        if (!idle)
            nanosleep(&look, NULL);
    }
}

static int run(struct host *host, const struct settings *settings)
{
    sigset_t signals;
    bool orderly = false;
    block_signals(&signals);
    host->main = pthread_self();
    pthread_mutex_init(&host->mutex, NULL);
    prctl(PR_SET_CHILD_SUBREAPER, 1); /* what tasks leave behind comes to us, and is waited for */
    int status = start(host, settings);
    if (status != 0) {
        fprintf(stderr, "muster-worker: %s\n", muster_last_error());
    } else {
        orderly = serve(host, &signals, settings->url);
        if (host->status != 0)
            fprintf(stderr, "muster-worker: %s\n", host->reason);
    }
    processes_free(&host->processes);
    if (host->transport) {
        say_goodbye(host);
        transport_stop(host->transport);
    }
    link_free(&host->link);
    return orderly ? 0 : 1;
}

int main(int argc, char **argv)
{
    static const muster_function none[] = {{NULL, NULL}};
    static struct host host;
    struct settings settings = {.workers = 0};
    muster_init(argc, argv, none); /* the workers are this program, started again */
    log_program = "muster-worker";
    int status = parse(&settings, argc, argv);
    if (settings.workers == 0)
        settings.workers = cpus_available();
    if (status == OPTIONS_GO_ON)
        status = run(&host, &settings);
    options_free_texts(&settings.plugins);
    options_free_texts(&settings.labels);
    return status;
}
