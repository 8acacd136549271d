/*
 * Gearman, the C peer: gearmand from the distribution, two workers and a client on libgearman.
 * Built without libgearman, these lines say what to install.
 */
#include "bench/bench.h"
#include "bench/helper.h"
#include <stdio.h>

#ifdef MUSTER_BENCH_GEARMAN

#include <arpa/inet.h>
#include <libgearman/gearman.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { GEARMAN_WORKERS = 2, CALLS = 800, TASKS = 2000, TASK_BYTES = 16, PATIENCE_MS = 20 * 1000, START_MS = 5000 };

struct gearman_state {
    struct helper server, workers[GEARMAN_WORKERS];
    gearman_client_st *client;
};

/* --- the worker role ------------------------------------------------------------------------------------------------
 */

static void *nothing(gearman_job_st *job, void *context, size_t *size, gearman_return_t *result)
{
    (void)job, (void)context;
    *size = 0;
    *result = GEARMAN_SUCCESS;
    return NULL;
}

int gearman_worker_role(int argc, char **argv)
{
    if (argc < 2)
        return 1;
    gearman_worker_st *worker = gearman_worker_create(NULL);
    if (!worker || gearman_worker_add_server(worker, "127.0.0.1", (in_port_t)atoi(argv[1])) ||
        gearman_worker_add_function(worker, "nothing", 0, nothing, NULL)) {
        fprintf(stderr, "worker: %s\n", worker ? gearman_worker_error(worker) : "out of memory");
        return 1;
    }
    puts("ready");
    fflush(stdout);
    while (gearman_worker_work(worker) == GEARMAN_SUCCESS)
        ;
    return 1;
}

/* --- the client -----------------------------------------------------------------------------------------------------
 */

static bool listening(int port)
{
    struct sockaddr_in address = {
        .sin_family = AF_INET, .sin_port = htons((uint16_t)port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    bool connected = fd >= 0 && connect(fd, (struct sockaddr *)&address, sizeof address) == 0;
    if (fd >= 0)
        close(fd);
    return connected;
}

static enum bench_status start_server(struct bench_run *run, struct gearman_state *state, int port)
{
    char program[4096], port_text[16], log[200];
    if (!bench_find_program(program, sizeof program, "gearmand"))
        return bench_stop(run, BENCH_MISSING, "gearmand is not installed (apt install gearman-job-server)");
    snprintf(port_text, sizeof port_text, "%d", port);
    snprintf(log, sizeof log, "%s/gearmand.log", run->directory);
    char *argv[] = {program, "--listen", "127.0.0.1", "--port", port_text, "--log-file", log, NULL};
    if (helper_start(&state->server, argv, 0, NULL) != 0)
        return bench_stop(run, BENCH_FAILED, "%s does not start", program);
    double deadline = bench_now_us() + START_MS * 1e3;
    const struct timespec step = {.tv_nsec = 10 * 1000 * 1000};
    while (!listening(port)) {
        if (bench_now_us() > deadline)
            return bench_stop(run, BENCH_FAILED, "gearmand does not listen on port %d", port);
        nanosleep(&step, NULL);
    }
    return BENCH_OK;
}

static long tasks_completed;

static gearman_return_t completed(gearman_task_st *task)
{
    (void)task;
    tasks_completed++;
    return GEARMAN_SUCCESS;
}

static enum bench_status gearman_open(struct bench_run *run)
{
    char port_text[16], line[64];
    double ignored;
    int port = bench_free_port();
    struct gearman_state *state = run->state = calloc(1, sizeof *state);
    if (!state)
        return bench_stop(run, BENCH_FAILED, "out of memory");
    enum bench_status status = start_server(run, state, port);
    if (status != BENCH_OK)
        return status;
    snprintf(port_text, sizeof port_text, "%d", port);
    for (int i = 0; i < GEARMAN_WORKERS; i++) {
        if (helper_start_role(&state->workers[i], "gearman-worker", port_text, NULL) != 0 ||
            helper_read_line(&state->workers[i], line, sizeof line, START_MS) != 1)
            return bench_stop(run, BENCH_FAILED, "the gearman worker did not start");
    }
    state->client = gearman_client_create(NULL);
    if (!state->client || gearman_client_add_server(state->client, "127.0.0.1", (in_port_t)port))
        return bench_stop(run, BENCH_FAILED, "no gearman client");
    gearman_client_set_timeout(state->client, PATIENCE_MS);
    gearman_client_set_complete_fn(state->client, completed);
    return run->line->kind->sample(run, &ignored);
}

static enum bench_status call_sample(struct bench_run *run, double *value)
{
    struct gearman_state *state = run->state;
    static const char argument[TASK_BYTES];
    double start = bench_now_us();
    for (long i = 0; i < CALLS; i++) {
        size_t size;
        gearman_return_t result;
        void *answer = gearman_client_do(state->client, "nothing", NULL, argument, sizeof argument, &size, &result);
        free(answer);
        if (result != GEARMAN_SUCCESS)
            return bench_stop(run, BENCH_FAILED, "call: %s", gearman_client_error(state->client));
    }
    *value = (bench_now_us() - start) / CALLS;
    return BENCH_OK;
}

static enum bench_status tasks_sample(struct bench_run *run, double *value)
{
    struct gearman_state *state = run->state;
    static const char argument[TASK_BYTES];
    tasks_completed = 0;
    double start = bench_now_us();
    gearman_return_t result = GEARMAN_SUCCESS;
    for (long i = 0; i < TASKS && result == GEARMAN_SUCCESS; i++)
        gearman_client_add_task(state->client, NULL, NULL, "nothing", NULL, argument, sizeof argument, &result);
    if (result == GEARMAN_SUCCESS)
        result = gearman_client_run_tasks(state->client);
    gearman_client_task_free_all(state->client);
    if (result != GEARMAN_SUCCESS)
        return bench_stop(run, BENCH_FAILED, "tasks: %s", gearman_client_error(state->client));
    if (tasks_completed != TASKS)
        return bench_stop(run, BENCH_FAILED, "%ld of %d tasks completed", tasks_completed, TASKS);
    *value = TASKS / (bench_now_us() - start) * 1e3;
    return BENCH_OK;
}

static void gearman_close(struct bench_run *run)
{
    struct gearman_state *state = run->state;
    if (!state)
        return;
    if (state->client)
        gearman_client_free(state->client);
    for (int i = 0; i < GEARMAN_WORKERS; i++)
        helper_end(&state->workers[i]);
    helper_end(&state->server);
    free(state);
}

#else

int gearman_worker_role(int argc, char **argv)
{
    (void)argc, (void)argv;
    return 1;
}

static enum bench_status gearman_open(struct bench_run *run)
{
    return bench_stop(run, BENCH_MISSING, "built without libgearman (apt install libgearman-dev, then build again)");
}

static enum bench_status call_sample(struct bench_run *run, double *value)
{
    (void)value;
    return gearman_open(run);
}
#define tasks_sample call_sample

static void gearman_close(struct bench_run *run)
{
    (void)run;
}

#endif

const struct bench_kind gearman_call_kind = {gearman_open, call_sample, gearman_close};
const struct bench_kind gearman_tasks_kind = {gearman_open, tasks_sample, gearman_close};
