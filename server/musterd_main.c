/*
 * musterd: the coordinator as a program of its own. It reads its options, starts the guard and the server, and then
 * only waits for signals: SIGTERM or SIGINT drains (no new tasks, those outstanding finish), a second one ends at once.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "core/errors.h"
#include "core/log.h"
#include "core/options.h"
#include "server/guard.h"
#include "server/listener.h"
#include "server/server.h"

#define CLOSE_S 3                      /* longest time that closing the sockets may take */
#define DRAIN_LOOK_NS (10 * NS_PER_MS) /* how often a drain is looked at */

struct settings {
    struct server_config server;
    const char **listen;
    const char *authkey_file, *pid_file, *log_level;
    bool systemd;
    double heartbeat_s, handshake_s, function_grace_s, drain_timeout_s;
};

/* --- options ------------------------------------------------------------------------------------------------------ */

#define HEARTBEAT_MIN_S 0.1
#define HEARTBEAT_MAX_S 3600.0

static struct settings settings; /* what the command line says: filled in by the rows */

static const struct option_row rows[] = {
    {OPTION_TEXTS, 'l', "listen", "URL", &settings.listen,
     "listen on this address: ipc:///PATH, tcp://HOST:PORT or ws://HOST:PORT/PATH; port 0 takes any free one. Can "
     "be given "
     "several times. Pushes come in at the next port, or at PATH.push. Default: "
     "ipc://$XDG_RUNTIME_DIR/muster.sock, or "
     "ipc:///tmp/muster-UID/muster.sock",
     0, 0, NULL},
    {OPTION_TEXT, 'k', "authkey-file", "FILE", &settings.authkey_file,
     "the key that every peer must know; only its owner may be able to read the file. Default: the file in "
     "MUSTER_AUTHKEY_FILE, or the key in MUSTER_AUTHKEY",
     0, 0, NULL},
    {OPTION_FLAG, 0, "insecure", NULL, &settings.server.insecure,
     "listen beyond this machine without an authkey: anybody who can connect can run programs on the workers", 0, 0,
     NULL},
    {OPTION_TEXT, 0, "log-level", "LEVEL", &settings.log_level, "error, warning, info or debug. Default: warning", 0, 0,
     NULL},
    {OPTION_TEXT, 'p', "pid-file", "FILE", &settings.pid_file, "write the process number there; removed at the end", 0,
     0, NULL},
    {OPTION_FLAG, 0, "systemd", NULL, &settings.systemd, "tell systemd when it is ready and when it ends", 0, 0, NULL},
    {OPTION_SECONDS, 0, "heartbeat", "SECONDS", &settings.heartbeat_s,
     "a peer that is silent for so long is lost. Default: 5", HEARTBEAT_MIN_S, HEARTBEAT_MAX_S, NULL},
    {OPTION_SECONDS, 0, "drain-timeout", "SECONDS", &settings.drain_timeout_s,
     "after SIGTERM, end at the latest then, whatever is outstanding. Default: 60", 0, 0, NULL},
    {OPTION_SECONDS, 0, "function-grace", "SECONDS", &settings.function_grace_s,
     "how long a task waits for a worker that offers its function, when none does. Default: 5", 0, 0, NULL},
    {OPTION_HEADING, 0, NULL, NULL, NULL, "Limits (sizes in bytes, or with k, M, G):", 0, 0, NULL},
    {OPTION_NUMBER, 0, "sessions", "N", &settings.server.hub.sessions, "peers at one time. Default: 32768", 1, 1e6,
     NULL},
    {OPTION_NUMBER, 0, "clients", "N", &settings.server.hub.coordinator.clients, "clients at one time. Default: 10000",
     1, 1e6, NULL},
    {OPTION_NUMBER, 0, "workers", "N", &settings.server.hub.coordinator.workers, "workers at one time. Default: 10000",
     1, 1e6, NULL},
    {OPTION_NUMBER, 0, "handshakes", "N", &settings.server.hub.handshakes,
     "peers that have not proved the authkey yet. Default: 1024", 1, 1e6, NULL},
    {OPTION_SECONDS, 0, "handshake-timeout", "SECONDS", &settings.handshake_s, "the time they have for it. Default: 5",
     HEARTBEAT_MIN_S, HEARTBEAT_MAX_S, NULL},
    {OPTION_NUMBER, 0, "client-tasks", "N", &settings.server.hub.coordinator.client_tasks,
     "tasks of one client without an outcome. Default: 2097152", 1, 1e9, NULL},
    {OPTION_SIZE, 0, "client-bytes", "SIZE", &settings.server.hub.coordinator.client_bytes,
     "their arguments. Default: 1G", 1, 1e15, NULL},
    {OPTION_SIZE, 0, "client-definitions", "SIZE", &settings.server.hub.coordinator.client_definition_bytes,
     "the functions that one client defines, with their bodies. Default: 64M", 1, 1e15, NULL},
    {OPTION_SIZE, 0, "worker-definitions", "SIZE", &settings.server.hub.coordinator.worker_definition_bytes,
     "the bodies that a worker holds at one time. Default: 64M", 1, 1e15, NULL},
    {OPTION_SIZE, 0, "total-bytes", "SIZE", &settings.server.hub.coordinator.total_bytes,
     "arguments, results and definitions held in all. Default: 4G", 1, 1e15, NULL},
    {OPTION_NUMBER, 0, "objects", "N", &settings.server.hub.coordinator.objects, "shared objects. Default: 65536", 1,
     1e9, NULL},
    {OPTION_NUMBER, 0, "queue-items", "N", &settings.server.hub.coordinator.queue_items,
     "items of one shared queue; beyond it puts wait. Default: 16777216", 1, 1e9, NULL},
    {OPTION_SIZE, 0, "peer-backlog", "SIZE", &settings.server.hub.coordinator.peer_backlog_bytes,
     "results that wait for a client; beyond it its tasks are not handed out. Default: 16M", 1, 1e15, NULL},
    {OPTION_SIZE, 0, "backlog-limit", "SIZE", &settings.server.hub.backlog_limit,
     "bytes that wait for a peer; beyond it the peer is disconnected. Default: 256M", FRAME_LIMIT_MIN, 1e15, NULL},
    {OPTION_SIZE, 0, "frame-limit", "SIZE", &settings.server.hub.frame_limit, "one frame on the wire. Default: 1M",
     FRAME_LIMIT_MIN, FRAME_LIMIT_MAX, NULL},
    {OPTION_SIZE, 0, "payload-limit", "SIZE", &settings.server.hub.payload_limit,
     "one task's arguments or result, where it does not travel in shared memory. Default: 64M", PAYLOAD_LIMIT_MIN, 1e15,
     NULL},
    {OPTION_SIZE, 0, "session-window", "SIZE", &settings.server.hub.session_window,
     "a peer is acknowledged at once when it has sent a quarter of this. Default: 8M", FRAME_LIMIT_MIN, 1e15, NULL},
    {OPTION_END, 0, NULL, NULL, NULL, NULL, 0, 0, NULL},
};

static int parse(int argc, char **argv)
{
    const struct options options = {
        .program = "musterd",
        .usage = "musterd [OPTION]...",
        .summary =
            "Hands the tasks of clients to workers and their results back. Workers are started with muster-worker.",
        .rows = rows,
        .footer =
            "Examples:\n"
            "  musterd                                   for this user, on this machine\n"
            "  musterd --listen tcp://0.0.0.0:7100 --authkey-file ~/.muster.key\n"
            "\n"
            "Signals: SIGTERM or SIGINT drains and ends with status 0; a second one ends at once.\n"
            "Exit status: 0 after an orderly end, 1 if it could not start or was ended at once, 2 for wrong usage.\n",
    };
    int operand;
    int status = options_parse(&options, argc, argv, &operand);
    if (status != OPTIONS_GO_ON)
        return status;
    if (operand < argc)
        return options_error(&options, "unexpected argument '%s': addresses are given with --listen", argv[operand]);
    if (settings.log_level && log_level_parse(settings.log_level, &log_threshold) != 0)
        return options_error(&options, "--log-level %s: not error, warning, info or debug", settings.log_level);
    return OPTIONS_GO_ON;
}

static uint64_t nanoseconds(double seconds)
{
    return seconds > 1e9 ? (uint64_t)1e9 * NS_PER_S : (uint64_t)(seconds * (double)NS_PER_S);
}

static void settings_defaults(void)
{
    settings = (struct settings){.heartbeat_s = 5, .handshake_s = 5, .drain_timeout_s = 60};
    server_config_defaults(&settings.server);
    settings.function_grace_s = (double)settings.server.hub.coordinator.function_grace_ns / (double)NS_PER_S;
}

static void settings_apply(void)
{
    settings.server.listen = settings.listen;
    settings.server.hub.heartbeat_ns = nanoseconds(settings.heartbeat_s);
    settings.server.hub.handshake_ns = nanoseconds(settings.handshake_s);
    settings.server.hub.coordinator.function_grace_ns = nanoseconds(settings.function_grace_s);
}

/* A place that only this user can reach: XDG_RUNTIME_DIR, or a directory of one's own in /tmp. */
static int default_url(char *url, size_t size)
{
    const char *runtime = getenv("XDG_RUNTIME_DIR");
    if (runtime && *runtime == '/') {
        int length = snprintf(url, size, "ipc://%s/muster.sock", runtime);
        return length > 0 && (size_t)length < size ? 0 : error_set(MUSTER_EURL, "XDG_RUNTIME_DIR is too long");
    }
    char directory[64];
    struct stat status;
    snprintf(directory, sizeof directory, "/tmp/muster-%lu", (unsigned long)getuid());
    if (mkdir(directory, 0700) != 0 && errno != EEXIST)
        return error_errno("cannot make %s", directory);
    if (lstat(directory, &status) != 0)
        return error_errno("%s", directory);
    if (!S_ISDIR(status.st_mode) || status.st_uid != getuid() || (status.st_mode & 077) != 0)
        return error_set(MUSTER_ESYSTEM, "%s is not a directory of this user's alone: remove it, or give --listen",
                         directory);
    snprintf(url, size, "ipc://%s/muster.sock", directory);
    return 0;
}

/* --- the pid file and systemd ------------------------------------------------------------------------------------- */

/* Writes it, and keeps it locked as long as we live: so a pid file that was left behind is no obstacle, and one in use
 * is. */
static int pid_file_write(const char *path, int *fd)
{
    *fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0644);
    if (*fd < 0)
        return error_errno("cannot write the pid file %s", path);
    if (flock(*fd, LOCK_EX | LOCK_NB) != 0) {
        char other[32] = "";
        ssize_t length = read(*fd, other, sizeof other - 1);
        other[length > 0 ? strcspn(other, "\n") : 0] = 0;
        close(*fd);
        *fd = -1;
        return error_set(MUSTER_ESYSTEM, "the pid file %s belongs to process %s, which is still running", path, other);
    }
    if (ftruncate(*fd, 0) != 0 || dprintf(*fd, "%ld\n", (long)getpid()) < 0)
        return error_errno("cannot write the pid file %s", path);
    return 0;
}

/* One datagram to the socket that systemd names; silently nothing where there is none. */
static void systemd_tell(const char *text)
{
    const char *path = getenv("NOTIFY_SOCKET");
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    if (!settings.systemd || !path || !*path || strlen(path) >= sizeof address.sun_path)
        return;
    strcpy(address.sun_path, path);
    socklen_t length = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + strlen(path));
    if (path[0] == '@')
        address.sun_path[0] = 0; /* an abstract name */
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || sendto(fd, text, strlen(text), MSG_NOSIGNAL, (struct sockaddr *)&address, length) < 0)
        log_warning("cannot tell systemd: %s", strerror(errno));
    if (fd >= 0)
        close(fd);
}

/* --- signals ------------------------------------------------------------------------------------------------------ */

static void signals_block(sigset_t *signals)
{
    sigemptyset(signals);
    sigaddset(signals, SIGTERM);
    sigaddset(signals, SIGINT);
    sigaddset(signals, SIGHUP);
    pthread_sigmask(SIG_BLOCK, signals, NULL); /* inherited by every thread that is started later */
    signal(SIGPIPE, SIG_IGN);
}

static void wait_for_end(const sigset_t *signals)
{
    int number;
    do
        number = sigwaitinfo(signals, NULL);
    while (number != SIGTERM && number != SIGINT); /* SIGHUP: a terminal went away, which is nothing to us */
    log_info("%s: taking no more tasks, ending when those outstanding are done", strsignal(number));
}

static bool drained(struct server *server)
{
    pthread_mutex_lock(server_mutex(server));
    bool done = coordinator_drained(hub_coordinator(server_hub(server)));
    pthread_mutex_unlock(server_mutex(server));
    return done;
}

/* True if everything has finished or the time is over; false if a second signal asked to end at once. */
static bool drain(struct server *server, const sigset_t *signals)
{
    const struct timespec look = {0, DRAIN_LOOK_NS};
    uint64_t until_ns = clock_now_ns() + nanoseconds(settings.drain_timeout_s);
    pthread_mutex_lock(server_mutex(server));
    coordinator_drain(hub_coordinator(server_hub(server)));
    server_flush(server);
    pthread_mutex_unlock(server_mutex(server));
    while (!drained(server)) {
        if (clock_now_ns() >= until_ns) {
            log_warning("tasks are still outstanding after %g s: ending without them", settings.drain_timeout_s);
            return true;
        }
        int number = sigtimedwait(signals, NULL, &look);
        if (number == SIGTERM || number == SIGINT)
            return false;
    }
    return true;
}

/* --- the program -------------------------------------------------------------------------------------------------- */

/* Standard input, output and error must be open, or a socket would take their place and get what is printed. And each
 * peer takes two descriptors. */
static void descriptors_prepare(void)
{
    struct rlimit limit;
    int fd;
    do
        fd = open("/dev/null", O_RDWR);
    while (fd >= 0 && fd <= 2);
    if (fd > 2)
        close(fd);
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < limit.rlim_max) {
        limit.rlim_cur = limit.rlim_max;
        setrlimit(RLIMIT_NOFILE, &limit);
    }
}

static int fail(const char *what)
{
    fprintf(stderr, "musterd: %s\n", what);
    return 1;
}

/* A socket file was made: the guard must know it. */
static void file_made(void *arg, const char *path)
{
    if (guard_watch(arg, path) != 0)
        log_warning("%s would be left behind if this process were killed: %s", path, muster_last_error());
}

static volatile sig_atomic_t exit_status;

static void closing_hangs(int signal)
{
    (void)signal;
    _exit(exit_status);
}

/* NNG 1.5 can wait for ever in nng_close() if a peer sends at that very moment. All that counts is done by then, and
 * the guard removes the socket files of a musterd that just ends. */
static void close_in_time(struct server *server, int status)
{
    exit_status = status;
    signal(SIGALRM, closing_hangs);
    alarm(CLOSE_S);
    server_stop(server);
    alarm(0);
}

/* Serves until a signal. Returns the exit status. */
static int serve(struct guard *guard, const sigset_t *signals)
{
    struct server *server;
    settings.server.file_made = file_made;
    settings.server.arg = guard;
    if (server_start(&server, &settings.server) != 0)
        return fail(muster_last_error());
    for (size_t i = 0; server_url(server, i); i++)
        printf("listening on %s\n", server_url(server, i));
    fflush(stdout);
    systemd_tell("READY=1");
    wait_for_end(signals);
    systemd_tell("STOPPING=1");
    bool orderly = drain(server, signals);
    pthread_mutex_lock(server_mutex(server));
    hub_shutdown(server_hub(server), clock_now_ns());
    pthread_mutex_unlock(server_mutex(server));
    close_in_time(server, orderly ? 0 : 1);
    return orderly ? 0 : 1;
}

/* From the options on. Returns the exit status. */
static int run(void)
{
    struct guard guard = {0};
    sigset_t signals;
    char url[LISTENER_URL_BYTES];
    const char *only[] = {url, NULL};
    int pid_fd = -1, status;

    if (authkey_load(&settings.server.hub.authkey, settings.authkey_file) != 0)
        return fail(muster_last_error());
    if (!settings.listen) {
        if (default_url(url, sizeof url) != 0)
            return fail(muster_last_error());
        settings.server.listen = only;
    }
    if (settings.pid_file && pid_file_write(settings.pid_file, &pid_fd) != 0)
        return fail(muster_last_error());
    if (guard_start(&guard) == 0 && (!settings.pid_file || guard_watch(&guard, settings.pid_file) == 0)) {
        signals_block(&signals);
        status = serve(&guard, &signals);
    } else {
        status = fail(muster_last_error());
    }
    if (settings.pid_file)
        unlink(settings.pid_file);
    guard_end(&guard);
    return status;
}

int main(int argc, char **argv)
{
    log_program = "musterd";
    descriptors_prepare();
    settings_defaults();
    int status = parse(argc, argv);
    if (status == OPTIONS_GO_ON) {
        settings_apply();
        status = run();
    }
    explicit_bzero(&settings.server.hub.authkey, sizeof settings.server.hub.authkey);
    options_free_texts(&settings.listen);
    return status;
}
