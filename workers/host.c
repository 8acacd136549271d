/*
 * The supervisor's process. It never runs a task and never loads a plugin. It has a session of its own, in which it
 * reports workers that died and is told whom to kill.
 *
 * The main thread only waits for signals. Everything else happens in the threads of the transport and of
 * workers/processes.c.
 */
#include "workers/host.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <time.h>
#include <unistd.h>

#include "core/clock.h"
#include "core/errors.h"
#include "core/log.h"
#include "core/segment.h"
#include "core/transport.h"
#include "workers/processes.h"

#define GOODBYE_NS (5 * NS_PER_S) /* the last messages must have been taken by then */
#define LOOK_NS (10 * NS_PER_MS)
#define SILENCE_LOOK_S 1 /* how often it is looked whether a musterd answers */

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

static int start_workers(struct host *host, const struct host_config *wanted, const struct authkey *key,
                         uint64_t identity, const char *name)
{
    struct processes_config config = {.slots = wanted->workers,
                                      .url = wanted->url,
                                      .host = name,
                                      .authkey = key,
                                      .identity = identity,
                                      .plugins = wanted->plugins,
                                      .fork_server = wanted->fork_server,
                                      .exec = wanted->exec,
                                      .initializer = wanted->initializer,
                                      .max_tasks = wanted->max_tasks,
                                      .labels = wanted->labels,
                                      .memory_limit = wanted->memory_limit,
                                      .raw_output = wanted->raw_output,
                                      .subreaper = true};
    return processes_start(&host->processes, &config, &processes_events, host, &host->mutex);
}

/* Both ends of the program's life need a name for the host and a domain; they outlive the link. */
static int start(struct host *host, const struct host_config *config)
{
    static char name[200], domain[SEGMENT_DOMAIN_BYTES];
    struct random random;
    struct authkey key = {.length = 0};
    int status = authkey_load(&key, config->authkey_file);
    if (status == 0)
        status = random_seed_system(&random);
    if (status != 0)
        return status;
    if (config->name)
        snprintf(name, sizeof name, "%s", config->name);
    else if (gethostname(name, sizeof name - 1) != 0)
        snprintf(name, sizeof name, "localhost");
    segment_domain(domain, sizeof domain);
    struct link_config link = {.role = ROLE_SUPERVISOR,
                               .identity = random_u64(&random),
                               .language = config->language ? config->language : "c",
                               .host = name,
                               .domain = domain,
                               .name = name,
                               .pid = (uint64_t)getpid(),
                               .authkey = key,
                               .events = &link_events,
                               .arg = host};
    status = link_init(&host->link, &link, &random, clock_now_ns());
    if (status == 0)
        status = start_workers(host, config, &key, link.identity, name);
    explicit_bzero(&key, sizeof key);
    explicit_bzero(&link.authkey, sizeof link.authkey);
    return status == 0 ? transport_start(&host->transport, config->url, &host->link, &host->mutex) : status;
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

int host_run(const struct host_config *config)
{
    static struct host only;
    struct host *host = &only;
    sigset_t signals;
    bool orderly = false;
    block_signals(&signals);
    host->main = pthread_self();
    pthread_mutex_init(&host->mutex, NULL);
    prctl(PR_SET_CHILD_SUBREAPER, 1); /* what tasks leave behind comes to us, and is waited for */
    int status = start(host, config);
    if (status != 0) {
        fprintf(stderr, "%s: %s\n", log_program, muster_last_error());
    } else {
        orderly = serve(host, &signals, config->url);
        if (host->status != 0)
            fprintf(stderr, "%s: %s\n", log_program, host->reason);
    }
    processes_free(&host->processes);
    if (host->transport) {
        say_goodbye(host);
        transport_stop(host->transport);
    }
    link_free(&host->link);
    return orderly ? 0 : 1;
}
