/*
 * A worker process. Three kinds of threads meet here. The main thread takes a task from workers/worker.h, runs the
 * function and hands in the outcome; no other runs the user's code. NNG's threads bring frames in and take frames out,
 * with the mutex held. The watch thread waits for the supervisor's end, for its word to drain, and for signals, and
 * ends the process when it cannot go on.
 *
 * A task may do anything to its process. It may close our descriptors (then the worker says so and ends), fork (the
 * child must not come back into this loop), call exit() (then the process ends with that status and no handler of ours
 * can hang), or be killed. Whatever it does, the supervisor reads the page.
 *
 * Between two short tasks there is no system call but the clock's: the mutex is free most of the time, and a frame is
 * sent only when the line is idle.
 */
#include "workers/runtime.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "core/clock.h"
#include "core/errors.h"
#include "core/log.h"
#include "core/transport.h"
#include "workers/exec.h"
#include "workers/home.h"
#include "workers/launch.h"
#include "workers/plugin.h"
#include "workers/task.h"

#define EXIT_BROKEN 1     /* status of a worker that gave up; the page says why */
#define WATCH_NS NS_PER_S /* between looks at our descriptors */
#define REPEAT_NS                                                                                                   \
    (50 * NS_PER_MS) /* the stop signal is sent again until the task has ended: it may have come just before a call \
                        that blocks */
#define ASK_AGAIN_NS (20 * NS_PER_MS) /* while something is held that may not start yet */
#define LEAVE_NS (10 * NS_PER_S)      /* a worker that drains waits so long for a coordinator that is not there */
#define LOOK_AFTER_NS NS_PER_MS       /* after a task that took so long our descriptors are looked at */
#define SHORT_NS (20 * NS_PER_US)     /* a task that took no longer is likely to be followed by others like it */
#define LONG_BYTES (64 * 1024)        /* to encode a value of so many bytes takes long enough to let others run */
#define ORPHAN_WAIT_MS 2000

struct runtime {
    pthread_mutex_t mutex;
    pthread_cond_t wake;
    bool waiting; /* the main thread waits for `wake` */
    struct launch launch;
    struct page *page;
    struct functions functions;
    char name[256], host[200], domain[SEGMENT_DOMAIN_BYTES];
    struct worker *worker;
    struct link link;
    struct transport *transport;
    struct task_host task_host;
    struct muster_task task;
    _Atomic(const char *) running; /* function of the task that runs, or NULL */
    atomic_bool stop;              /* the running task is to stop */
    atomic_bool drain;             /* SIGTERM came */
    atomic_bool watching;          /* `watch` can be signalled */
    atomic_bool serving;           /* worker and transport are there */
    const struct runtime_language *language;
    bool away; /* between the language's wait_begin and wait_end */
    pthread_t main, watch;
    int lifeline, supervisor; /* descriptors: the pipe, the supervisor's pidfd (-1: not to be had) */
    dev_t lifeline_device;
    ino_t lifeline_file;
    bool lifeline_broken;
    uint64_t drain_ns;             /* when draining began, 0: not yet */
    const unsigned char *original; /* reads 1 in this process and 0 in a fork of it */
};

static struct {
    struct runtime_language language;
    const char *name;
    bool called;
} program = {.language = {.name = "c"}};

static struct runtime runtime;

bool runtime_can_restart(void)
{
    return program.called;
}

const char *runtime_program_name(void)
{
    return program.name ? program.name : "muster-worker";
}

int runtime_stop_signal(void)
{
    return SIGRTMIN + 5;
}

/* --- the end ------------------------------------------------------------------------------------------------------ */

__attribute__((noreturn)) static void give_up(int status, const char *reason)
{
    page_break(runtime.page, status, reason);
    fflush(NULL);
    _exit(EXIT_BROKEN);
}

static bool is_fork(void)
{
    return runtime.original && !*runtime.original;
}

/* exit(), called by a task: the handlers registered before ours, NNG's among them, could wait for ever. */
static void leave_at_once(int status, void *arg)
{
    (void)arg;
    fflush(NULL);
    _exit(status);
}

/* Removes the files of the embedded pool's directory, and it. */
static void remove_directory(const char *path)
{
    DIR *directory = *path ? opendir(path) : NULL;
    struct dirent *entry;
    while (directory && (entry = readdir(directory)) != NULL)
        unlinkat(dirfd(directory), entry->d_name, 0);
    if (directory)
        closedir(directory);
    if (*path)
        rmdir(path);
}

/* Its segments can be told from a living process's only when it has ended altogether, which is awaited. False: it
 * lives, and has only given us up, as it does with a worker of whose start it has heard nothing. */
static bool supervisor_ended(void)
{
    struct pollfd ended = {runtime.supervisor, POLLIN, 0};
    if (runtime.supervisor >= 0)
        poll(&ended, 1, ORPHAN_WAIT_MS);
    return getppid() != (pid_t)runtime.launch.supervisor;
}

/* The supervisor is gone: nobody else will clean up. Ends this process group, us included. */
__attribute__((noreturn)) static void orphaned(void)
{
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec++;
    pthread_mutex_timedlock(&runtime.mutex, &until); /* for good: a command that we kill must not count as finished */
    int32_t group = atomic_load(&runtime.page->command_group);
    if (group > 1)
        kill(-group, SIGKILL);
    if (supervisor_ended()) {
        remove_directory(runtime.launch.directory);
        segment_sweep();
    }
    kill(0, SIGKILL);
    _exit(EXIT_BROKEN);
}

/* Still the pipe that we were started with? */
static bool lifeline_intact(void)
{
    struct stat info;
    return fstat(runtime.lifeline, &info) == 0 && info.st_dev == runtime.lifeline_device &&
           info.st_ino == runtime.lifeline_file;
}

__attribute__((noreturn)) static void descriptors_closed(const char *function)
{
    char reason[400];
    snprintf(reason, sizeof reason, "%s closed descriptors that belong to its worker: a task may close only its own",
             function ? function : "a task");
    give_up(MUSTER_ESYSTEM, reason);
}

/* --- the language ------------------------------------------------------------------------------------------------- */

/* Lets others use the interpreter until come_back(). Mutex not held; main thread. */
static void go_away(void *arg)
{
    const struct runtime_language *language = runtime.language;
    (void)arg;
    if (runtime.away || !language->wait_begin)
        return;
    runtime.away = true;
    language->wait_begin(language->arg);
}

static void come_back(void *arg)
{
    const struct runtime_language *language = runtime.language;
    (void)arg;
    if (!runtime.away)
        return;
    runtime.away = false;
    language->wait_end(language->arg);
}

static void end_language(void)
{
    come_back(NULL);
    if (runtime.language->end)
        runtime.language->end(runtime.language->arg);
    fflush(NULL);
}

/* --- the watch thread --------------------------------------------------------------------------------------------- */

static void on_signal(int number)
{
    int error = errno;
    if (number == SIGTERM)
        atomic_store(&runtime.drain, true);
    if (atomic_load(&runtime.watching) && !pthread_equal(pthread_self(), runtime.watch))
        pthread_kill(runtime.watch, runtime_stop_signal());
    errno = error;
}

static void on_stop_signal(int number)
{
    (void)number; /* a call that blocks gives EINTR: that is all */
}

static void drain(void)
{
    pthread_mutex_lock(&runtime.mutex);
    if (!worker_draining(runtime.worker) && worker_drain(runtime.worker) != 0)
        give_up(MUSTER_ENOMEM, "memory ran out while the worker drained");
    transport_flush(runtime.transport);
    pthread_mutex_unlock(&runtime.mutex);
}

static void read_lifeline(void)
{
    char order;
    ssize_t got = read(runtime.lifeline, &order, 1);
    if (got == 0)
        orphaned();
    if (got == 1 && order == 'd')
        atomic_store(&runtime.drain, true);
}

static void *watch(void *arg)
{
    sigset_t none;
    sigemptyset(&none);
    (void)arg;
    for (bool draining = false;;) {
        struct pollfd polls[2] = {{runtime.lifeline, POLLIN, 0}, {runtime.supervisor, POLLIN, 0}};
        uint64_t wait_ns = atomic_load(&runtime.stop) ? REPEAT_NS : WATCH_NS;
        struct timespec wait = {(time_t)(wait_ns / NS_PER_S), (long)(wait_ns % NS_PER_S)};
        if (atomic_load(&runtime.drain) && !draining && atomic_load(&runtime.serving)) {
            draining = true;
            drain();
        }
        int count = ppoll(polls, 2, &wait, &none);
        if (atomic_load(&runtime.stop))
            pthread_kill(runtime.main, runtime_stop_signal());
        if (count < 0)
            continue;
        if ((polls[0].revents & POLLNVAL) || !lifeline_intact())
            descriptors_closed(runtime.running);
        if (polls[0].revents != 0)
            read_lifeline();
        if ((polls[1].revents & POLLIN) && getppid() != (pid_t)runtime.launch.supervisor)
            orphaned();
    }
    return NULL;
}

static void start_watch(void)
{
    sigset_t all, before;
    pthread_attr_t attributes;
    struct stat info;
    if (fstat(runtime.lifeline, &info) != 0)
        give_up(MUSTER_ESYSTEM, "the worker was started without its lifeline");
    runtime.lifeline_device = info.st_dev;
    runtime.lifeline_file = info.st_ino;
    /* All signals are blocked there except while it waits, so none can slip in between its looks at the flags. */
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    pthread_attr_init(&attributes);
    pthread_attr_setstacksize(&attributes, 256 * 1024);
    int error = pthread_create(&runtime.watch, &attributes, watch, NULL);
    pthread_attr_destroy(&attributes);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (error != 0)
        give_up(MUSTER_ESYSTEM, "the worker could not start its watching thread");
    atomic_store(&runtime.watching, true);
}

/* --- the protocol's callbacks, mutex held ------------------------------------------------------------------------- */

/* Called for each task that arrives: only the first of them has somebody to wake. */
static void on_ready(void *arg)
{
    (void)arg;
    if (!runtime.waiting)
        return;
    runtime.waiting = false;
    pthread_cond_signal(&runtime.wake);
}

static void on_stop(void *arg, uint64_t ticket)
{
    (void)arg;
    atomic_store(&runtime.stop, true);
    worker_home_wake();
    if (runtime.language->stop)
        runtime.language->stop(runtime.language->arg, ticket);
    pthread_kill(runtime.main, runtime_stop_signal());
    pthread_kill(runtime.watch, runtime_stop_signal());
}

static void on_failed(void *arg, int status, const char *reason)
{
    (void)arg;
    page_break(runtime.page, status, reason);
    log_error("%s", reason);
    pthread_cond_signal(&runtime.wake);
}

static const struct worker_events worker_events = {on_ready, on_stop, on_failed};

/* --- what tasks send while they run ------------------------------------------------------------------------------- */

static int send_progress(void *arg, const struct muster_task *task, double done, double total, struct bytes text)
{
    (void)arg;
    if (is_fork())
        return error_set(MUSTER_EINVAL, "a process that a task forked cannot report for it");
    pthread_mutex_lock(&runtime.mutex);
    int status = worker_progress(runtime.worker, task->held, task->item, done, total, text);
    transport_flush(runtime.transport);
    pthread_mutex_unlock(&runtime.mutex);
    return status;
}

static int send_log(void *arg, const struct muster_task *task, int level, struct bytes text)
{
    (void)arg;
    if (is_fork())
        return error_set(MUSTER_EINVAL, "a process that a task forked cannot report for it");
    pthread_mutex_lock(&runtime.mutex);
    int status = worker_log(runtime.worker, task->held, (uint64_t)level, text);
    transport_flush(runtime.transport);
    pthread_mutex_unlock(&runtime.mutex);
    return status;
}

/* --- running tasks ------------------------------------------------------------------------------------------------ */

/* Waits for a signal of the protocol; for a short time only, if something could change without one. */
static void wait_for_work(bool for_long)
{
    runtime.waiting = true;
    if (for_long) {
        pthread_cond_wait(&runtime.wake, &runtime.mutex);
        return;
    }
    struct timespec until;
    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_nsec += (long)ASK_AGAIN_NS;
    if (until.tv_nsec >= (long)NS_PER_S) {
        until.tv_nsec -= (long)NS_PER_S;
        until.tv_sec++;
    }
    pthread_cond_timedwait(&runtime.wake, &runtime.mutex, &until);
}

/* Draining, and no coordinator in sight: what is not delivered yet has nobody to go to. */
static bool leave_alone(uint64_t now_ns)
{
    if (!worker_draining(runtime.worker))
        return false;
    bool open = runtime.link.state == LINK_OPEN && !link_silent(&runtime.link, now_ns);
    if (runtime.drain_ns == 0 || open)
        runtime.drain_ns = now_ns;
    return now_ns - runtime.drain_ns > LEAVE_NS;
}

/* Mutex held on entry and return. False if it was away already. */
static bool leave_interpreter(void)
{
    if (runtime.away || !runtime.language->wait_begin)
        return false;
    pthread_mutex_unlock(&runtime.mutex);
    go_away(NULL);
    pthread_mutex_lock(&runtime.mutex);
    return true;
}

/* The next task, or NULL when the process is to end. Mutex held. */
static struct held_task *next_task(uint64_t *now_ns)
{
    struct held_task *held;
    while (!(held = worker_take(runtime.worker, *now_ns))) {
        if (worker_over(runtime.worker) || leave_alone(*now_ns))
            return NULL;
        if (!leave_interpreter())
            wait_for_work(!worker_holding(runtime.worker) && !worker_draining(runtime.worker));
        *now_ns = clock_now_ns();
    }
    atomic_store_explicit(&runtime.stop, false, memory_order_relaxed);
    if (held->flags & TASK_REPORT_START)
        transport_flush(runtime.transport);
    runtime.running = runtime.functions.names[held->function];
    runtime.task_host.payload_limit = runtime.link.welcome.payload_limit;
    return held;
}

__attribute__((noreturn)) static void end_fork(void)
{
    static const char text[] = "muster: a process that a task forked returned from the task's function; it ends here\n";
    ssize_t ignored = write(STDERR_FILENO, text, sizeof text - 1);
    (void)ignored;
    _exit(EXIT_BROKEN);
}

static void serve(void)
{
    struct outcome outcome;
    pthread_mutex_lock(&runtime.mutex);
    uint64_t now_ns = clock_now_ns();
    for (struct held_task *held; (held = next_task(&now_ns)) != NULL;) {
        pthread_mutex_unlock(&runtime.mutex);
        come_back(NULL);
        task_run(&runtime.task, held, runtime.running, runtime.functions.calls[held->function], &outcome);
        if (is_fork())
            end_fork();
        uint64_t ended_ns = clock_now_ns();
        outcome.run_ns = ended_ns - now_ns;
        now_ns = ended_ns;
        if (outcome.run_ns > LOOK_AFTER_NS && !lifeline_intact())
            descriptors_closed(runtime.running);
        if (outcome.value.length >= LONG_BYTES)
            go_away(NULL);
        pthread_mutex_lock(&runtime.mutex);
        runtime.running = NULL;
        int status = worker_finish(runtime.worker, held, &outcome);
        task_end(&runtime.task);
        atomic_store_explicit(&runtime.stop, false, memory_order_relaxed);
        if (status != 0)
            give_up(status, "memory ran out: the outcome of a task could not be sent");
        /* While short tasks follow, outcomes go out many at a time. Their sending is no task's time. */
        if (outcome.run_ns < SHORT_NS && worker_holding(runtime.worker)) {
            transport_flush_later(runtime.transport, true);
        } else {
            transport_flush(runtime.transport);
            now_ns = clock_now_ns();
        }
    }
    pthread_mutex_unlock(&runtime.mutex);
}

/* --- the start ---------------------------------------------------------------------------------------------------- */

static void map_page(void)
{
    struct launch *launch = &runtime.launch;
    void *page = mmap(NULL, sizeof(struct page), PROT_READ | PROT_WRITE, MAP_SHARED, (int)launch->page_fd, 0);
    if (page == MAP_FAILED || ((struct page *)page)->magic != PAGE_MAGIC) {
        fprintf(stderr, "muster: a worker was started without its page\n");
        _exit(EXIT_BROKEN);
    }
    close((int)launch->page_fd);
    runtime.page = page;
    fcntl((int)launch->lifeline_fd, F_SETFD, FD_CLOEXEC);
    runtime.lifeline = (int)launch->lifeline_fd;
}

/* A page of memory that the kernel empties in every fork. */
static void mark_original(void)
{
    unsigned char *mark = mmap(NULL, 1, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (mark == MAP_FAILED || madvise(mark, 1, MADV_WIPEONFORK) != 0)
        return;
    *mark = 1;
    runtime.original = mark;
}

static void watch_supervisor(void)
{
    runtime.supervisor = (int)syscall(SYS_pidfd_open, (pid_t)runtime.launch.supervisor, 0u);
    if (getppid() != (pid_t)runtime.launch.supervisor)
        orphaned();
}

static void load_functions(void)
{
    struct functions *functions = &runtime.functions;
    const muster_function *own = runtime.language->functions;
    int status = own ? functions_add(functions, own, "this program") : 0;
    for (const char *const *plugin = runtime.launch.plugins; status == 0 && *plugin; plugin++)
        status = plugin_load(*plugin, functions);
    if (status == 0 && runtime.launch.exec)
        status = functions_add_own(functions, EXEC_NAME, exec_command);
    if (status == 0 && *runtime.launch.initializer && !functions_find(functions, runtime.launch.initializer))
        status = error_set(MUSTER_EPLUGIN, "the initializer \"%s\" is not among the functions of these workers",
                           runtime.launch.initializer);
    if (status != 0)
        give_up(status, muster_last_error());
}

static void limit_memory(void)
{
    struct rlimit limit = {runtime.launch.memory_limit, runtime.launch.memory_limit};
    if (runtime.launch.memory_limit != 0 && setrlimit(RLIMIT_AS, &limit) != 0)
        log_warning("the memory limit of %" PRIu64 " bytes cannot be set: %s", runtime.launch.memory_limit,
                    strerror(errno));
}

static void initialize(void)
{
    char reason[480];
    const struct launch *launch = &runtime.launch;
    if (!*launch->initializer)
        return;
    int status =
        task_run_alone(&runtime.task, launch->initializer, functions_find(&runtime.functions, launch->initializer),
                       (enum muster_encoding)launch->initializer_encoding, launch->initializer_args);
    if (is_fork())
        end_fork();
    if (status == 0)
        return;
    snprintf(reason, sizeof reason, "the initializer %s failed: %.380s", launch->initializer, muster_last_error());
    end_language();
    give_up(status, reason);
}

static void install_signals(void)
{
    struct sigaction on_end = {.sa_handler = on_signal, .sa_flags = SA_RESTART};
    struct sigaction on_stop_action = {.sa_handler = on_stop_signal};
    sigaction(SIGTERM, &on_end, NULL);
    sigaction(runtime_stop_signal(), &on_stop_action, NULL); /* without SA_RESTART, that is its purpose */
}

static void name_process(void)
{
    snprintf(runtime.host, sizeof runtime.host, "%s", runtime.launch.host);
    snprintf(runtime.name, sizeof runtime.name, "%s/%" PRIu64, runtime.host, runtime.launch.slot);
    const char *base = program.name ? strrchr(program.name, '/') : NULL;
    if (program.name)
        prctl(PR_SET_NAME, base ? base + 1 : program.name);
    log_program = "muster-worker";
    log_threshold = (enum log_level)runtime.launch.log_level;
}

static void connect_worker(void)
{
    struct random seed;
    const struct launch *launch = &runtime.launch;
    size_t labels = 0;
    while (launch->labels[labels])
        labels++;
    struct worker_config config = {.functions = runtime.functions.names,
                                   .function_count = runtime.functions.count,
                                   .labels = launch->labels,
                                   .label_count = labels,
                                   .max_tasks = launch->max_tasks};
    struct link_config link = {.role = ROLE_WORKER,
                               .identity = launch->identity,
                               .group = launch->group,
                               .language = runtime.language->name,
                               .host = runtime.host,
                               .domain = runtime.domain,
                               .name = runtime.name,
                               .pid = (uint64_t)getpid(),
                               .authkey = launch->authkey,
                               .events = &worker_home_link_events};
    segment_domain(runtime.domain, sizeof runtime.domain);
    int status = worker_create(&runtime.worker, &config, runtime.page, &runtime.link, &worker_events, NULL);
    link.arg = runtime.worker;
    if (status == 0)
        status = worker_home_open(&runtime.mutex, &runtime.link, &runtime.stop, is_fork);
    if (status == 0)
        status = random_seed_system(&seed);
    if (status == 0)
        status = link_init(&runtime.link, &link, &seed, clock_now_ns());
    if (status != 0)
        give_up(status, muster_last_error());
    explicit_bzero(&link.authkey, sizeof link.authkey);
    explicit_bzero(&runtime.launch.authkey, sizeof runtime.launch.authkey);
}

static void prepare(void)
{
    pthread_condattr_t monotonic;
    pthread_mutex_init(&runtime.mutex, NULL);
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&runtime.wake, &monotonic);
    pthread_condattr_destroy(&monotonic);
    runtime.main = pthread_self();
    runtime.task_host = (struct task_host){.progress = send_progress,
                                           .log = send_log,
                                           .wait_begin = go_away,
                                           .wait_end = come_back,
                                           .worker = runtime.name,
                                           .page = runtime.page,
                                           .stop = &runtime.stop};
    runtime.task.host = &runtime.task_host;
    setvbuf(stdout, NULL, _IOLBF, 0); /* a line that a task prints is seen when it is printed */
}

void runtime_serve(int launch_fd, const struct runtime_language *language)
{
    runtime.language = language;
    if (launch_read(launch_fd, &runtime.launch) != 0) {
        fprintf(stderr, "muster: %s\n", muster_last_error());
        _exit(EXIT_BROKEN);
    }
    map_page();
    watch_supervisor();
    name_process();
    prepare();
    if (runtime.launch.trial) {
        load_functions();
        fflush(NULL);
        _exit(0);
    }
    mark_original();
    start_watch();
    install_signals();
    load_functions();
    connect_worker();
    limit_memory();
    initialize();
    if (transport_start(&runtime.transport, runtime.launch.url, &runtime.link, &runtime.mutex) != 0)
        give_up(MUSTER_ESYSTEM, muster_last_error());
    worker_home_started(runtime.transport);
    on_exit(leave_at_once, NULL);
    atomic_store(&runtime.serving, true);
    pthread_kill(runtime.watch, runtime_stop_signal()); /* it may have been told to drain meanwhile */
    serve();
    end_language();
    _exit(atomic_load(&runtime.page->broken) != 0 ? EXIT_BROKEN : 0);
}

void muster_init(int argc, char **argv, const muster_function *functions)
{
    const char *fd = getenv(LAUNCH_VARIABLE);
    program.language.functions = functions;
    program.name = argc > 0 ? argv[0] : NULL;
    program.called = true;
    if (!fd || !*fd)
        return;
    int launch_fd = atoi(fd);
    unsetenv(LAUNCH_VARIABLE); /* not for the commands that tasks run */
    runtime_serve(launch_fd, &program.language);
}
