/*
 * The pool on "local:": hub, coordinator and supervisor in this process, the workers beside it.
 *
 * The client and the supervisor are local peers that call the hub directly, under the pool's mutex. The workers connect
 * to an ipc socket in a private directory (mode 0700) with a random key that they inherit. The directory is locked
 * (flock) as long as its owner lives: workers that survive their client remove it, and if they were killed too, the
 * next pool of this user finds it unlocked and does.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "bindings/c/pool.h"
#include "server/server.h"
#include "workers/cpus.h"
#include "workers/processes.h"

#define FUNCTION_GRACE_NS (200 * NS_PER_MS) /* until a function that no worker offers is an error */
#define PAYLOAD_LIMIT                                                                              \
    ((size_t)UINT32_MAX) /* its peers are of one program, and share memory: as much as msgpack has \
                          */
#define DIRECTORY_PREFIX "muster-local-"
#define DIRECTORY_LIMIT 64 /* bytes of its path: the socket's must fit a sockaddr_un */
#define KEY_BYTES 32
#define SLOTS_LIMIT 4096

struct embedded {
    muster_pool *pool;
    struct server *server;
    struct local_peer *client_peer, *supervisor_peer; /* NULL: detached */
    struct processes *processes;
    muster_output_fn *on_output;
    char directory[DIRECTORY_LIMIT + 1];
    int directory_fd; /* holds the lock; -1: none */
    char url[DIRECTORY_LIMIT + 16];
    char domain[SEGMENT_DOMAIN_BYTES]; /* the hub points to it */
};

/* --- the private directory ---------------------------------------------------------------------------------------- */

static const char *directory_base(void)
{
    const char *base = getenv("XDG_RUNTIME_DIR");
    if (base && *base == '/' && strlen(base) + sizeof DIRECTORY_PREFIX + 7 <= DIRECTORY_LIMIT &&
        access(base, W_OK) == 0)
        return base;
    return "/tmp";
}

static void directory_remove(const char *path, int fd)
{
    static const char *const files[] = {"s", "s.push"};
    for (size_t i = 0; i < sizeof files / sizeof *files; i++)
        unlinkat(fd, files[i], 0);
    rmdir(path);
}

/* Removes the directory if it is ours and nobody holds its lock. */
static void sweep_one(const char *path)
{
    struct stat info;
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0)
        return;
    if (fstat(fd, &info) == 0 && info.st_uid == geteuid() && flock(fd, LOCK_EX | LOCK_NB) == 0)
        directory_remove(path, fd);
    close(fd);
}

static void sweep(const char *base)
{
    char path[DIRECTORY_LIMIT + 1];
    DIR *entries = opendir(base);
    struct dirent *entry;
    while (entries && (entry = readdir(entries)))
        if (strncmp(entry->d_name, DIRECTORY_PREFIX, strlen(DIRECTORY_PREFIX)) == 0 &&
            (size_t)snprintf(path, sizeof path, "%s/%s", base, entry->d_name) < sizeof path)
            sweep_one(path);
    if (entries)
        closedir(entries);
}

/* A sweeper may find a new directory before it is locked, and take it away: then another one is made. */
static int directory_make(struct embedded *embedded)
{
    struct stat info;
    const char *base = directory_base();
    sweep(base);
    for (int attempt = 0; attempt < 16; attempt++) {
        snprintf(embedded->directory, sizeof embedded->directory, "%s/" DIRECTORY_PREFIX "XXXXXX", base);
        if (!mkdtemp(embedded->directory)) {
            embedded->directory[0] = '\0';
            return error_errno("a directory for the socket of the local pool below %s", base);
        }
        int fd = open(embedded->directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (fd >= 0 && flock(fd, LOCK_EX | LOCK_NB) == 0 && fstat(fd, &info) == 0 && info.st_nlink > 0) {
            embedded->directory_fd = fd;
            snprintf(embedded->url, sizeof embedded->url, "ipc://%s/s", embedded->directory);
            return 0;
        }
        rmdir(embedded->directory);
        if (fd >= 0)
            close(fd);
    }
    return error_errno("the lock on %s", embedded->directory);
}

/* --- messages ----------------------------------------------------------------------------------------------------- */

static int send_to_hub(struct embedded *embedded, struct local_peer *peer, const struct message *message)
{
    if (!peer)
        return MUSTER_ECONNECT;
    return hub_local_message(server_hub(embedded->server), peer, message, clock_now_ns());
}

static int client_to_hub(void *arg, const struct message *message)
{
    struct embedded *embedded = arg;
    return send_to_hub(embedded, embedded->client_peer, message);
}

static int hub_to_client(void *arg, const struct message *message)
{
    struct embedded *embedded = arg;
    if (object_reply(message->type))
        return sharing_message(embedded->pool->home.sharing, message);
    return client_message(embedded->pool->client, message);
}

static int supervisor_to_hub(void *arg, const struct message *message)
{
    struct embedded *embedded = arg;
    int status = send_to_hub(embedded, embedded->supervisor_peer, message);
    if (status == 0)
        server_flush(embedded->server);
    return status;
}

static int hub_to_supervisor(void *arg, const struct message *message)
{
    struct embedded *embedded = arg;
    return embedded->processes ? processes_message(embedded->processes, message) : 0;
}

/* --- the workers' events ------------------------------------------------------------------------------------------ */

static void on_gave_up(void *arg, int status, const char *reason)
{
    struct embedded *embedded = arg;
    char text[1024];
    snprintf(text, sizeof text, "the workers of %s cannot be started (%s): %s", embedded->pool->url,
             muster_strerror(status), reason);
    pool_fail(embedded->pool, MUSTER_EWORKERS, text);
}

static void on_over(void *arg)
{
    struct embedded *embedded = arg;
    pool_changed(embedded->pool);
}

static void on_output(void *arg, int stream, const char *worker, const char *line, size_t size)
{
    struct embedded *embedded = arg;
    embedded->on_output(stream, worker, line, size, embedded->pool->arg);
}

/* --- the backend -------------------------------------------------------------------------------------------------- */

static void flush(void *self)
{
    struct embedded *embedded = self;
    server_flush(embedded->server);
}

static bool flush_later(void *self, bool busy)
{
    struct embedded *embedded = self;
    return server_flush_later(embedded->server, busy);
}

static int finish(void *self, bool now)
{
    struct embedded *embedded = self;
    if (now && embedded->client_peer) {
        hub_detach(server_hub(embedded->server), embedded->client_peer, clock_now_ns());
        embedded->client_peer = NULL;
    }
    if (embedded->processes)
        processes_stop(embedded->processes, now);
    if (embedded->server)
        server_flush(embedded->server);
    return 0;
}

static bool over(void *self)
{
    struct embedded *embedded = self;
    return !embedded->processes || processes_over(embedded->processes);
}

static void detach(struct embedded *embedded, struct local_peer **peer)
{
    pthread_mutex_lock(&embedded->pool->mutex);
    if (*peer)
        hub_detach(server_hub(embedded->server), *peer, clock_now_ns());
    *peer = NULL;
    pthread_mutex_unlock(&embedded->pool->mutex);
}

static void stop(void *self)
{
    struct embedded *embedded = self;
    processes_free(&embedded->processes);
    detach(embedded, &embedded->client_peer);
    detach(embedded, &embedded->supervisor_peer);
    if (embedded->server)
        server_stop(embedded->server);
    if (embedded->directory_fd >= 0) {
        directory_remove(embedded->directory, embedded->directory_fd);
        close(embedded->directory_fd);
    }
    memory_free(embedded);
}

/* --- opening ------------------------------------------------------------------------------------------------------ */

static int read_slots(const char *url, unsigned *slots)
{
    const char *digits = url + strlen("local:");
    if (!*digits) {
        *slots = cpus_available();
        return 0;
    }
    char *end;
    unsigned long number = *digits >= '0' && *digits <= '9' ? strtoul(digits, &end, 10) : 0;
    if (number == 0 || number > SLOTS_LIMIT || *end)
        return error_set(MUSTER_EURL,
                         "\"%s\": after \"local:\" comes nothing (a worker for each CPU) or a number of "
                         "workers from 1 to %d",
                         url, SLOTS_LIMIT);
    *slots = (unsigned)number;
    return 0;
}

static int start_server(struct embedded *embedded, const struct authkey *key, size_t payload_limit,
                        struct random *random)
{
    struct server_config config;
    server_config_defaults(&config);
    segment_domain(embedded->domain, sizeof embedded->domain);
    const char *const listen[] = {embedded->url, NULL};
    config.hub.authkey = *key;
    config.hub.payload_limit = payload_limit;
    config.hub.backlog_limit = config.hub.coordinator.client_bytes = PAYLOAD_LIMIT;
    config.hub.coordinator.identity = random_u64(random);
    config.hub.coordinator.pid = embedded->pool->pid;
    config.hub.coordinator.domain = embedded->domain;
    config.hub.coordinator.rejoin = false;
    /* Its workers offer the same functions: what one of them does not know, none of them will. */
    config.hub.coordinator.function_grace_ns = FUNCTION_GRACE_NS;
    config.listen = listen;
    config.mutex = &embedded->pool->mutex;
    int status = server_start(&embedded->server, &config);
    if (status != 0)
        return status;
    pool_connected(embedded->pool, config.hub.payload_limit, *embedded->domain != '\0');
    client_coordinator_limits(embedded->pool->client, config.hub.coordinator.client_tasks,
                              config.hub.coordinator.client_bytes, config.hub.coordinator.client_definition_bytes);
    return 0;
}

static int attach(struct embedded *embedded, uint64_t supervisor_identity, struct random *random)
{
    struct hub *hub = server_hub(embedded->server);
    uint64_t now_ns = clock_now_ns();
    pthread_mutex_lock(&embedded->pool->mutex);
    int status = hub_attach(hub, ROLE_CLIENT, random_u64(random), "client", hub_to_client, embedded,
                            &embedded->client_peer, now_ns);
    if (status == 0)
        status = hub_attach(hub, ROLE_SUPERVISOR, supervisor_identity, "local", hub_to_supervisor, embedded,
                            &embedded->supervisor_peer, now_ns);
    pthread_mutex_unlock(&embedded->pool->mutex);
    return status;
}

static int start_processes(struct embedded *embedded, unsigned slots, const struct authkey *key, uint64_t identity,
                           const muster_pool_options *options)
{
    struct processes_events events = {.send = supervisor_to_hub,
                                      .gave_up = on_gave_up,
                                      .over = on_over,
                                      .output = options->on_output ? on_output : NULL};
    struct processes_config config = {.slots = slots,
                                      .url = embedded->url,
                                      .authkey = key,
                                      .identity = identity,
                                      .plugins = options->plugins,
                                      .exec = options->exec,
                                      .fork_server = options->fork_server,
                                      .initializer = options->initializer,
                                      .initializer_args = options->initializer_args,
                                      .max_tasks = options->max_tasks,
                                      .labels = options->labels,
                                      .memory_limit = options->memory_limit,
                                      .raw_output = options->raw_output,
                                      .private_directory = embedded->directory};
    struct processes *processes = NULL;
    int status = processes_start(&processes, &config, &events, embedded, &embedded->pool->mutex);
    if (status != 0)
        return status;
    pthread_mutex_lock(&embedded->pool->mutex);
    embedded->processes = processes;
    processes_connected(processes, true);
    server_flush(embedded->server);
    pthread_mutex_unlock(&embedded->pool->mutex);
    return 0;
}

int embedded_open(muster_pool *pool, const char *url, const muster_pool_options *options)
{
    unsigned slots = 0;
    struct random random;
    struct authkey key = {.length = KEY_BYTES};
    int status = read_slots(url, &slots);
    if (status == 0)
        status = random_seed_system(&random);
    if (status != 0)
        return status;
    struct embedded *embedded = memory_zero(sizeof *embedded);
    if (!embedded)
        return error_memory();
    *embedded = (struct embedded){.pool = pool, .directory_fd = -1, .on_output = options->on_output};
    pool->backend = (struct backend){client_to_hub, flush, flush_later, finish, over, stop, embedded, NEVER_NS};
    pool->worker_target = slots;
    random_bytes(&random, key.bytes, key.length);
    uint64_t supervisor_identity = random_u64(&random);
    status = client_create(&pool->client, &pool_client_events, pool, client_to_hub, embedded);
    if (status == 0)
        client_limits(pool->client, options->window_tasks, 0);
    if (status == 0)
        status = pool_home_open(pool, client_to_hub, embedded);
    if (status == 0)
        status = directory_make(embedded);
    if (status == 0)
        status = start_server(embedded, &key, options->payload_limit ? options->payload_limit : PAYLOAD_LIMIT, &random);
    if (status == 0)
        status = attach(embedded, supervisor_identity, &random);
    if (status == 0)
        status = start_processes(embedded, slots, &key, supervisor_identity, options);
    pool->connected = status == 0;
    return status;
}
