/*
 * A thousand idle peers: what they weigh in musterd, and what they keep it doing.
 *
 * One helper process plays them all: each has its own identity, session and sockets, made of the same link and
 * transport as a real client or worker, and does nothing but stay connected. The line's argument is the role; its
 * number how many.
 */
#include "bench/muster_pools.h"
#include "core/link.h"
#include "core/transport.h"
#include "core/clock.h"
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { IDLE_LIMIT = 5000, IDLE_CONNECT_MS = 60 * 1000, IDLE_WATCH_S = 3, IDLE_SETTLE_S = 1 };

/* --- the helper -----------------------------------------------------------------------------------------------------
 */

struct idle_peer {
    struct link link;
    struct transport *transport;
};

static struct {
    pthread_mutex_t mutex;
    pthread_cond_t opened;
    struct idle_peer *peers;
    long count, open;
    enum role role;
    struct buffer functions, labels; /* of the OFFER */
} idle = {.mutex = PTHREAD_MUTEX_INITIALIZER, .opened = PTHREAD_COND_INITIALIZER};

static void idle_open(void *arg, const struct welcome *welcome, bool restarted)
{
    struct idle_peer *peer = arg;
    (void)welcome, (void)restarted;
    if (idle.role == ROLE_WORKER) {
        struct message offer = {.type = MESSAGE_OFFER,
                                .offer = {.functions = bytes_of(&idle.functions), .labels = bytes_of(&idle.labels)}};
        link_send(&peer->link, &offer);
    }
    idle.open++;
    pthread_cond_signal(&idle.opened);
}

static int idle_message(void *arg, const struct message *message)
{
    (void)arg, (void)message;
    return 0;
}

static void idle_lost(void *arg, const char *reason)
{
    (void)arg;
    fprintf(stderr, "idle peer lost: %s\n", reason);
    _Exit(1);
}

static void idle_failed(void *arg, int status, const char *reason)
{
    (void)arg, (void)status;
    fprintf(stderr, "idle peer failed: %s\n", reason);
    _Exit(1);
}

static const struct link_events idle_events = {
    .open = idle_open, .message = idle_message, .lost = idle_lost, .failed = idle_failed};

static int idle_start(struct idle_peer *peer, const char *url)
{
    struct random seed;
    int status = random_seed_system(&seed);
    struct link_config config = {.role = idle.role,
                                 .language = "c",
                                 .host = "bench",
                                 .domain = "bench",
                                 .name = "idle",
                                 .pid = (uint64_t)getpid(),
                                 .events = &idle_events,
                                 .arg = peer};
    if (status != 0)
        return status;
    config.identity = random_u64(&seed);
    config.group = random_u64(&seed);
    pthread_mutex_lock(&idle.mutex);
    status = link_init(&peer->link, &config, &seed, clock_now_ns());
    pthread_mutex_unlock(&idle.mutex);
    return status ? status : transport_start(&peer->transport, url, &peer->link, &idle.mutex);
}

/* Arguments: the URL, "client" or "worker", how many. Says "ready" when all are connected, then only stays. */
int idle_peers_role(int argc, char **argv)
{
    static const char *const functions[] = {"idle"};
    struct timespec deadline;
    if (argc < 4)
        return 1;
    idle.role = strcmp(argv[2], "worker") == 0 ? ROLE_WORKER : ROLE_CLIENT;
    idle.count = strtol(argv[3], NULL, 10);
    if (idle.count < 1 || idle.count > IDLE_LIMIT || !(idle.peers = calloc((size_t)idle.count, sizeof *idle.peers)) ||
        texts_encode(&idle.functions, functions, 1) != 0 || texts_encode(&idle.labels, functions, 0) != 0)
        return 1;
    for (long i = 0; i < idle.count; i++) {
        int status = idle_start(&idle.peers[i], argv[1]);
        if (status != 0) {
            fprintf(stderr, "idle peer %ld: %s\n", i, muster_last_error());
            return 1;
        }
    }
    clock_gettime(CLOCK_REALTIME, &deadline);
    deadline.tv_sec += IDLE_CONNECT_MS / 1000;
    pthread_mutex_lock(&idle.mutex);
    int failed = 0;
    while (idle.open < idle.count && failed == 0)
        failed = pthread_cond_timedwait(&idle.opened, &idle.mutex, &deadline);
    pthread_mutex_unlock(&idle.mutex);
    if (failed)
        fprintf(stderr, "%ld of %ld idle peers connected\n", idle.open, idle.count);
    else
        puts("ready");
    fflush(stdout);
    while (!failed)
        pause();
    return 1;
}

/* --- the lines ------------------------------------------------------------------------------------------------------
 */

static enum bench_status idle_measure(struct bench_run *run, double *bytes_each, double *cpu_ms_per_s)
{
    struct bench_pool pool = {0};
    struct helper peers = {0};
    char count[16], line[64];
    const struct timespec settle = {.tv_sec = IDLE_SETTLE_S}, watch = {.tv_sec = IDLE_WATCH_S};
    enum bench_status status = bench_pool_open(run, &pool, "ipc", 0, 0);
    if (status == BENCH_OK) {
        double before = bench_resident_bytes(pool.daemon.pid);
        snprintf(count, sizeof count, "%ld", run->line->number);
        if (helper_start_role(&peers, "idle-peers", pool.url, run->line->argument, count, NULL) != 0 ||
            helper_read_line(&peers, line, sizeof line, IDLE_CONNECT_MS + 1000) != 1)
            status = bench_stop(run, BENCH_FAILED, "not all %s idle %ss connected", count, run->line->argument);
        nanosleep(&settle, NULL); /* the figure is of peers that are idle, not of those that just came */
        double cpu = bench_cpu_seconds(pool.daemon.pid);
        nanosleep(&watch, NULL);
        *cpu_ms_per_s = (bench_cpu_seconds(pool.daemon.pid) - cpu) * 1e3 / IDLE_WATCH_S;
        *bytes_each = (bench_resident_bytes(pool.daemon.pid) - before) / (double)run->line->number;
    }
    helper_end(&peers);
    bench_pool_close(&pool);
    return status;
}

static enum bench_status idle_bytes_sample(struct bench_run *run, double *value)
{
    double ignored;
    return idle_measure(run, value, &ignored);
}

static enum bench_status idle_cpu_sample(struct bench_run *run, double *value)
{
    double ignored;
    return idle_measure(run, &ignored, value);
}

static enum bench_status idle_ready(struct bench_run *run)
{
    char path[4096];
    return bench_own_program(path, sizeof path, "musterd")
               ? BENCH_OK
               : bench_stop(run, BENCH_MISSING, "musterd is not built beside muster-bench");
}

static void idle_close(struct bench_run *run)
{
    (void)run;
}

const struct bench_kind muster_idle_bytes_kind = {idle_ready, idle_bytes_sample, idle_close};
const struct bench_kind muster_idle_cpu_kind = {idle_ready, idle_cpu_sample, idle_close};
