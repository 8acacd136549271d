/*
 * The pool on a musterd: a link to it, run over NNG by core/transport.h.
 *
 * The link comes back by itself after a broken connection or a restarted coordinator, and the client submits again what
 * has no outcome; nothing of that is seen here. What is seen: the first connection, limits that a new coordinator may
 * have changed, and a link that has failed for good.
 */
#include <errno.h>
#include <netdb.h>
#include <poll.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "bindings/c/pool.h"
#include "core/transport.h"

#define HOST_BYTES 256
#define GOODBYE_NS NS_PER_S /* a coordinator that does not take the goodbye will notice by its heartbeat */
#define PROBE_MS 2000       /* to find out why nobody answers */

struct remote {
    muster_pool *pool;
    struct link link;
    bool link_ready; /* to be freed */
    struct transport *transport;
    char host[HOST_BYTES], domain[SEGMENT_DOMAIN_BYTES];
};

/* --- the link's events: those of the client, and what the pool wants to know besides -------------------------------
 */

static void on_open(void *arg, const struct welcome *welcome, bool restarted)
{
    struct remote *remote = arg;
    bool share = *remote->domain && strcmp(remote->domain, welcome->domain) == 0;
    pool_connected(remote->pool, welcome->payload_limit, share);
    client_link_events.open(remote->pool->client, welcome, restarted);
    pool_home_renew(remote->pool);
}

static int on_message(void *arg, const struct message *message)
{
    struct remote *remote = arg;
    if (object_reply(message->type))
        return sharing_message(remote->pool->home.sharing, message);
    return client_link_events.message(remote->pool->client, message);
}

static void on_closed(void *arg)
{
    struct remote *remote = arg;
    pool_changed(remote->pool);
}

static void on_lost(void *arg, const char *reason)
{
    struct remote *remote = arg;
    (void)reason;
    pool_home_renew(remote->pool);
    pool_changed(remote->pool);
}

static void on_failed(void *arg, int status, const char *reason)
{
    struct remote *remote = arg;
    char text[1024];
    snprintf(text, sizeof text, "%s: %s", remote->pool->url, reason);
    client_link_events.failed(remote->pool->client, status, text);
}

static const struct link_events remote_events = {
    .open = on_open, .message = on_message, .closed = on_closed, .lost = on_lost, .failed = on_failed};

/* --- the backend -------------------------------------------------------------------------------------------------- */

static int send_to_link(void *arg, const struct message *message)
{
    struct remote *remote = arg;
    return link_send(&remote->link, message);
}

static void flush(void *self)
{
    struct remote *remote = self;
    if (remote->transport)
        transport_flush(remote->transport);
}

static bool flush_later(void *self, bool busy)
{
    struct remote *remote = self;
    return transport_flush_later(remote->transport, busy);
}

/* The goodbye cancels at the coordinator what is outstanding. */
static int finish(void *self, bool now)
{
    struct remote *remote = self;
    int status = remote->link_ready ? link_close(&remote->link, now ? "terminated" : "closed") : 0;
    flush(remote);
    return status;
}

static bool over(void *self)
{
    const struct remote *remote = self;
    return !remote->link_ready || link_idle(&remote->link);
}

static void stop(void *self)
{
    struct remote *remote = self;
    if (remote->transport)
        transport_stop(remote->transport);
    if (remote->link_ready)
        link_free(&remote->link);
    memory_free(remote);
}

/* --- why nobody answers ------------------------------------------------------------------------------------------- */

static int connect_address(const struct sockaddr *address, socklen_t length)
{
    int fd = socket(address->sa_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return errno;
    int error = connect(fd, address, length) == 0 ? 0 : errno;
    struct pollfd ready = {.fd = fd, .events = POLLOUT};
    socklen_t size = sizeof error;
    if (error == EINPROGRESS) {
        if (poll(&ready, 1, PROBE_MS) != 1)
            error = ETIMEDOUT;
        else if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &size) != 0)
            error = errno;
    }
    close(fd);
    return error;
}

/* The reason why no connection can be made, or NULL: it can. */
static const char *probe_ipc(const char *path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    if (strlen(path) >= sizeof address.sun_path)
        return "the path is too long";
    strcpy(address.sun_path, path);
    int error = connect_address((struct sockaddr *)&address, sizeof address);
    return error ? strerror(error) : NULL;
}

static const char *probe_host(const char *authority)
{
    char host[HOST_BYTES], *port;
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM}, *found;
    snprintf(host, sizeof host, "%.*s", (int)strcspn(authority, "/"), authority);
    port = strrchr(host, ':');
    if (!port)
        return "there is no port in it";
    *port++ = '\0';
    char *name = host;
    if (*name == '[') {
        name++;
        name[strcspn(name, "]")] = '\0';
    }
    int error = getaddrinfo(name, port, &hints, &found);
    if (error)
        return gai_strerror(error);
    error = connect_address(found->ai_addr, found->ai_addrlen);
    freeaddrinfo(found);
    return error ? strerror(error) : NULL;
}

int remote_explain(const char *url, double waited)
{
    const char *rest = strstr(url, "://");
    const char *why = !rest ? NULL : strncmp(url, "ipc:", 4) == 0 ? probe_ipc(rest + 3) : probe_host(rest + 3);
    if (why)
        return error_set(MUSTER_ECONNECT, "nobody answers at %s (%s), tried for %g s: is a musterd running there?", url,
                         why, waited);
    return error_set(
        MUSTER_ECONNECT,
        "something listens at %s, but has not answered as a musterd does in %g s: is that its --listen URL?", url,
        waited);
}

/* --- opening ------------------------------------------------------------------------------------------------------ */

static int start_link(struct remote *remote, const char *authkey_file)
{
    struct random random;
    struct link_config config = {.role = ROLE_CLIENT,
                                 .language = "c",
                                 .host = remote->host,
                                 .domain = remote->domain,
                                 .name = program_invocation_short_name,
                                 .pid = remote->pool->pid,
                                 .events = &remote_events,
                                 .arg = remote};
    int status = authkey_load(&config.authkey, authkey_file);
    if (status == 0)
        status = random_seed_system(&random);
    if (status == 0) {
        config.identity = random_u64(&random);
        status = link_init(&remote->link, &config, &random, clock_now_ns());
        remote->link_ready = status == 0;
    }
    explicit_bzero(&config.authkey, sizeof config.authkey);
    return status;
}

int remote_open(muster_pool *pool, const char *url, const muster_pool_options *options)
{
    int status = url_check(url);
    if (status != 0)
        return status;
    if (options->plugins || options->exec || options->fork_server || options->initializer || options->memory_limit ||
        options->max_tasks || options->payload_limit)
        return error_set(MUSTER_EINVAL,
                         "plugins, exec, fork_server, initializer, max_tasks, memory_limit and payload_limit are for "
                         "\"local:\" pools; the workers of %s are started by muster-worker, its limits are musterd's",
                         url);
    struct remote *remote = memory_zero(sizeof *remote);
    if (!remote)
        return error_memory();
    remote->pool = pool;
    pool->backend = (struct backend){send_to_link, flush, flush_later, finish, over, stop, remote, GOODBYE_NS};
    gethostname(remote->host, sizeof remote->host - 1);
    segment_domain(remote->domain, sizeof remote->domain);
    status = client_create(&pool->client, &pool_client_events, pool, send_to_link, remote);
    if (status != 0)
        return error_memory();
    client_limits(pool->client, options->window_tasks, 0);
    status = pool_home_open(pool, send_to_link, remote);
    if (status == 0)
        status = start_link(remote, options->authkey_file);
    return status ? status : transport_start(&remote->transport, url, &remote->link, &pool->mutex);
}
