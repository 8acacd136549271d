/*
 * The watching thread: one poll over everything that its workers can do.
 *
 * A worker's end is seen by its pidfd. Then, in this order: what it still wrote is read; its command's process group
 * and its own are killed, while the worker is a zombie and its number cannot be another process's; it is waited for;
 * the supervisor is told, and reads the page.
 */
#include "workers/processes.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "core/clock.h"
#include "core/errors.h"
#include "core/log.h"
#include "workers/cpus.h"
#include "workers/forks.h"
#include "workers/lines.h"
#include "workers/printer.h"
#include "workers/recipe.h"

#define LAST_WORDS_BYTES 256
#define READ_BYTES (64 * 1024)
#define NAME_BYTES 256
#define FORK_SERVER_NAME "forks" /* its lines are tagged "[host/forks]" */
#define FIRST_PROCESS 4          /* of the entries in `polls` */

/* One slot's process. Changed by the watching thread only; read by others with the mutex held. */
struct process {
    struct processes *processes;
    struct hatchling hatchling; /* pid 0: none */
    uint64_t identity;
    bool wanted;           /* the fork server is to be asked for it */
    bool ended;            /* its pidfd said so */
    bool killed;           /* we sent it SIGKILL */
    char name[NAME_BYTES]; /* "host/slot" */
    struct lines lines[2];
    char last_words[LAST_WORDS_BYTES];
};

struct processes {
    pthread_mutex_t *mutex;
    struct supervisor *supervisor;
    struct recipe *recipe;
    struct processes_events events;
    void *arg;
    pthread_t thread;
    int wake; /* eventfd */
    bool subreaper, stopping, gave_up, over_told, quit;
    int last_status; /* why the last start failed */
    uint64_t memory_kills;
    struct printer printer; /* for lines that go to no callback */
    struct pollfd *polls;   /* wake, the fork server's socket, two of the printer's, then three for each process */
    struct forks forks;
    struct process fork_server; /* if there is one */
    bool strays;                /* a worker may have been forked that is none of ours */
    unsigned slots;
    struct process process[];
};

unsigned processes_cpus(void)
{
    return cpus_available();
}

static void wake(const struct processes *processes)
{
    uint64_t one = 1;
    ssize_t ignored = write(processes->wake, &one, sizeof one);
    (void)ignored;
}

/* --- what the supervisor orders, mutex held ----------------------------------------------------------------------- */

static int spawn(void *arg, unsigned slot, uint64_t identity, struct page **page)
{
    struct processes *processes = arg;
    struct process *process = &processes->process[slot];
    struct hatchling *hatchling = &process->hatchling;
    bool forked = recipe_forks(processes->recipe);
    int status = recipe_begin(hatchling);
    if (status == 0 && !forked && (status = recipe_start(processes->recipe, slot, identity, hatchling)) != 0)
        page_unmap(hatchling->page);
    if (status != 0) {
        processes->last_status = status;
        return status;
    }
    process->identity = identity;
    process->wanted = forked;
    process->ended = process->killed = false;
    process->last_words[0] = '\0';
    *page = hatchling->page;
    if (!forked)
        log_debug("worker %s is process %d", process->name, (int)hatchling->pid);
    return 0;
}

static void kill_process(void *arg, unsigned slot, int signal)
{
    struct processes *processes = arg;
    struct process *process = &processes->process[slot];
    if (process->wanted || processes->forks.asked == &process->hatchling) {
        process->killed = true; /* as soon as there is anything to kill */
        wake(processes);
    }
    if (process->hatchling.pid == 0)
        return;
    /* SIGTERM means drain. A task may have changed what the signal does, so it is said in the pipe; one that is not
     * connected has nothing to finish. */
    bool drain = signal == SIGTERM && atomic_load(&process->hatchling.page->ready) != 0;
    if (drain && write(process->hatchling.lifeline, "d", 1) == 1)
        return;
    process->killed = true;
    syscall(SYS_pidfd_send_signal, process->hatchling.pidfd, SIGKILL, NULL, 0u);
}

static void release(void *arg, unsigned slot, struct page *page)
{
    (void)arg;
    (void)slot;
    page_unmap(page);
}

static int send_message(void *arg, const struct message *message)
{
    struct processes *processes = arg;
    return processes->events.send(processes->arg, message);
}

static void gave_up(void *arg, const char *reason)
{
    struct processes *processes = arg;
    processes->gave_up = true;
    processes->events.gave_up(processes->arg, processes->last_status, reason);
}

static const struct supervisor_events supervisor_events = {spawn, kill_process, release, send_message, gave_up};

/* --- what workers print, mutex not held --------------------------------------------------------------------------- */

static void give_line(struct process *process, int stream, struct bytes line)
{
    struct processes *processes = process->processes;
    if (stream == STDERR_FILENO && line.length > 0)
        snprintf(process->last_words, sizeof process->last_words, "%.*s",
                 (int)(line.length < LAST_WORDS_BYTES ? line.length : LAST_WORDS_BYTES), (const char *)line.data);
    if (processes->events.output)
        processes->events.output(processes->arg, stream, process->name, line.data ? line.data : "", line.length);
    else
        printer_add(&processes->printer, stream, process->name, line);
}

static void give_stdout(void *arg, struct bytes line)
{
    give_line(arg, STDOUT_FILENO, line);
}

static void give_stderr(void *arg, struct bytes line)
{
    give_line(arg, STDERR_FILENO, line);
}

static line_fn *const give_stream[2] = {give_stdout, give_stderr};

/* Reads once, or all that is there. */
static void read_output(struct process *process, int which, bool all)
{
    char bytes[READ_BYTES];
    int *fd = &process->hatchling.outputs[which];
    while (*fd >= 0) {
        ssize_t got = read(*fd, bytes, sizeof bytes);
        if (got > 0)
            lines_add(&process->lines[which], (struct bytes){bytes, (size_t)got}, give_stream[which], process);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0 && errno == EAGAIN)
            return;
        if (got <= 0) {
            close(*fd);
            *fd = -1;
        }
        if (!all)
            return;
    }
}

/* The worker has ended: what its children may still write is nobody's. */
static void end_output(struct process *process)
{
    for (int i = 0; i < 2; i++) {
        int *fd = &process->hatchling.outputs[i];
        read_output(process, i, true);
        if (*fd >= 0)
            close(*fd);
        *fd = -1;
        lines_end(&process->lines[i], give_stream[i], process);
    }
}

/* --- ends --------------------------------------------------------------------------------------------------------- */

/* A task may have written anything into the page, so the number is not trusted far. */
static void kill_groups(const struct process *process)
{
    int32_t group = atomic_load(&process->hatchling.page->command_group);
    if (group > 1 && group != getpgrp())
        kill(-group, SIGKILL);
    kill(-process->hatchling.pid, SIGKILL);
}

/* The kernel has killed in our control group since the last look. */
static bool killed_for_memory(struct processes *processes, const struct process *process, int wait_status)
{
    if (!WIFSIGNALED(wait_status) || WTERMSIG(wait_status) != SIGKILL || process->killed)
        return false;
    uint64_t kills = cgroup_memory_kills("");
    bool grew = kills > processes->memory_kills;
    processes->memory_kills = kills;
    return grew;
}

/* Waits for it and tells the supervisor. Mutex held. */
static void bury(struct processes *processes, struct process *process)
{
    int wait_status = 0;
    struct hatchling *hatchling = &process->hatchling;
    kill_groups(process);
    while (waitpid(hatchling->pid, &wait_status, 0) < 0 && errno == EINTR)
        continue;
    struct worker_end end = {.pid = hatchling->pid,
                             .signal = WIFSIGNALED(wait_status) ? WTERMSIG(wait_status) : 0,
                             .exit_status = WIFEXITED(wait_status) ? WEXITSTATUS(wait_status) : -1,
                             .memory = killed_for_memory(processes, process, wait_status),
                             .last_words = process->last_words};
    uint32_t broken = atomic_load(&hatchling->page->broken);
    processes->last_status = broken > 0 && broken <= (uint32_t)-MUSTER_EINTERNAL ? -(int)broken : MUSTER_EWORKERS;
    log_debug("worker %s ended: signal %d, exit status %d", process->name, end.signal, end.exit_status);
    close(hatchling->pidfd);
    close(hatchling->lifeline);
    hatchling->pid = 0;
    hatchling->pidfd = hatchling->lifeline = -1;
    process->ended = false;
    supervisor_worker_ended(processes->supervisor, (unsigned)(process - processes->process), &end, clock_now_ns());
}

static bool is_worker(const struct processes *processes, pid_t pid)
{
    for (unsigned i = 0; i < processes->slots; i++)
        if (processes->process[i].hatchling.pid == pid)
            return true;
    return processes->fork_server.hatchling.pid == pid;
}

/* Processes that workers left behind come to a subreaper, and workers whose fork server died before it was known that
 * they are there to this thread. A worker that is known is left to bury(), one that may just be answering is too. */
static void reap_orphans(const struct processes *processes)
{
    siginfo_t info = {0};
    int whose = processes->subreaper ? 0 : __WNOTHREAD;
    if (processes->forks.asked || (!processes->subreaper && !processes->strays))
        return;
    while (waitid(P_ALL, 0, &info, WEXITED | WNOHANG | WNOWAIT | whose) == 0 && info.si_pid != 0 &&
           !is_worker(processes, info.si_pid)) {
        waitpid(info.si_pid, NULL, WNOHANG);
        info.si_pid = 0;
    }
}

/* --- the fork server, mutex held ---------------------------------------------------------------------------------- */

/* A worker that will not be there: `status` and the error's detail say why. */
static void not_forked(struct processes *processes, struct process *process, int status)
{
    struct worker_end end = {.exit_status = -1, .last_words = ""};
    page_break(process->hatchling.page, status, muster_last_error());
    recipe_forget(&process->hatchling);
    process->wanted = false;
    processes->last_status = status;
    supervisor_worker_ended(processes->supervisor, (unsigned)(process - processes->process), &end, clock_now_ns());
}

static void ask(struct processes *processes, struct process *process)
{
    int status;
    if (processes->stopping || processes->gave_up || process->killed)
        status = error_set(MUSTER_EWORKERS, "no worker is wanted any more");
    else
        status = forks_ask(&processes->forks, processes->recipe, (unsigned)(process - processes->process),
                           process->identity, &process->hatchling, clock_now_ns());
    process->wanted = false;
    if (status != 0)
        not_forked(processes, process, status);
}

static void hear(struct processes *processes)
{
    struct forks *forks = &processes->forks;
    struct hatchling *asked = forks->asked;
    int got = forks_hear(forks, clock_now_ns());
    if (got == 0 || !asked)
        return;
    struct process *process = (struct process *)((char *)asked - offsetof(struct process, hatchling));
    if (got < 0) {
        processes->strays = true;
        not_forked(processes, process, got);
        return;
    }
    log_debug("worker %s is process %d", process->name, (int)asked->pid);
    if (process->killed)
        syscall(SYS_pidfd_send_signal, asked->pidfd, SIGKILL, NULL, 0u);
}

static void tend_fork_server(struct processes *processes)
{
    struct process *server = &processes->fork_server;
    if (server->ended)
        forks_server_ended(&processes->forks, server->last_words, clock_now_ns());
    server->ended = false;
    if (processes->stopping)
        forks_kill(&processes->forks);
    hear(processes);
    for (unsigned i = 0; i < processes->slots && forks_ready(&processes->forks); i++)
        if (processes->process[i].wanted)
            ask(processes, &processes->process[i]);
}

/* --- the watching thread ------------------------------------------------------------------------------------------ */

static int wait_ms(const struct processes *processes)
{
    uint64_t deadline = supervisor_deadline(processes->supervisor), now_ns = clock_now_ns();
    deadline = deadline_min(deadline, processes->forks.deadline_ns);
    if (deadline == NEVER_NS)
        return -1;
    if (deadline <= now_ns)
        return 0;
    uint64_t wait = (deadline - now_ns + NS_PER_MS - 1) / NS_PER_MS;
    return wait < 3600000 ? (int)wait : 3600000;
}

/* Three entries: its end, and its two outputs. */
static void fill_process(const struct processes *processes, const struct process *process, struct pollfd *polls)
{
    const struct hatchling *hatchling = &process->hatchling;
    bool lives = hatchling->pid != 0;
    polls[0] = (struct pollfd){lives ? hatchling->pidfd : -1, POLLIN, 0};
    for (int which = 0; which < 2; which++) {
        bool reads = lives && !printer_full(&processes->printer, which + 1);
        polls[1 + which] = (struct pollfd){reads ? hatchling->outputs[which] : -1, POLLIN, 0};
    }
}

static nfds_t fill_polls(struct processes *processes)
{
    const struct forks *forks = &processes->forks;
    struct pollfd *at = processes->polls;
    *at++ = (struct pollfd){processes->wake, POLLIN, 0};
    *at++ = (struct pollfd){forks->silent ? -1 : forks->socket, POLLIN, 0};
    printer_poll(&processes->printer, at);
    at += 2;
    for (unsigned i = 0; i < processes->slots; i++, at += 3)
        fill_process(processes, &processes->process[i], at);
    fill_process(processes, &processes->fork_server, at);
    return (nfds_t)(at + 3 - processes->polls);
}

static void look_at(struct process *process, const struct pollfd *polls)
{
    for (int which = 0; which < 2; which++)
        if (polls[1 + which].revents != 0)
            read_output(process, which, false);
    if (polls[0].revents != 0) {
        end_output(process);
        process->ended = true;
    }
}

/* Reads what was printed and notes who has ended. Mutex not held. */
static void look(struct processes *processes)
{
    uint64_t count;
    const struct pollfd *polls = processes->polls + FIRST_PROCESS;
    if (processes->polls[0].revents != 0 && read(processes->wake, &count, sizeof count) < 0)
        log_debug("the event descriptor is empty");
    for (unsigned i = 0; i < processes->slots; i++, polls += 3)
        look_at(&processes->process[i], polls);
    look_at(&processes->fork_server, polls);
    printer_flush(&processes->printer);
}

static void *run(void *arg)
{
    struct processes *processes = arg;
    pthread_mutex_lock(processes->mutex);
    for (;;) {
        for (unsigned i = 0; i < processes->slots; i++)
            if (processes->process[i].ended)
                bury(processes, &processes->process[i]);
        reap_orphans(processes);
        supervisor_tick(processes->supervisor, clock_now_ns());
        if (recipe_forks(processes->recipe))
            tend_fork_server(processes);
        if (supervisor_over(processes->supervisor) && !processes->over_told) {
            processes->over_told = true;
            processes->events.over(processes->arg);
        }
        if (processes->quit && supervisor_over(processes->supervisor))
            break;
        int wait = wait_ms(processes);
        nfds_t count = fill_polls(processes);
        pthread_mutex_unlock(processes->mutex);
        if (poll(processes->polls, count, wait) > 0)
            look(processes);
        pthread_mutex_lock(processes->mutex);
    }
    pthread_mutex_unlock(processes->mutex);
    forks_end(&processes->forks);
    return NULL;
}

/* --- start and end ------------------------------------------------------------------------------------------------ */

static void forget_lines(struct process *process)
{
    lines_free(&process->lines[0]);
    lines_free(&process->lines[1]);
}

static void forget(struct processes *processes)
{
    supervisor_free(processes->supervisor);
    recipe_free(processes->recipe);
    for (unsigned i = 0; i < processes->slots; i++)
        forget_lines(&processes->process[i]);
    forget_lines(&processes->fork_server);
    printer_end(&processes->printer);
    if (processes->wake >= 0)
        close(processes->wake);
    memory_free(processes->polls);
    memory_free(processes);
}

static int prepare(struct processes *processes, const struct processes_config *config)
{
    struct random random;
    struct supervisor_config supervisor;
    int status = random_seed_system(&random);
    if (status != 0)
        return status;
    if (config->supervisor)
        supervisor = *config->supervisor;
    else
        supervisor_config_defaults(&supervisor);
    supervisor.slots = config->slots;
    supervisor.identity = config->identity ? config->identity : random_u64(&random);
    processes->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    processes->polls = memory_alloc((FIRST_PROCESS + 3 * (size_t)config->slots + 3) * sizeof *processes->polls);
    if (processes->wake < 0)
        return error_errno("cannot make an event descriptor");
    if (!processes->polls)
        return error_memory();
    status = recipe_make(&processes->recipe, config, supervisor.identity);
    if (status == 0)
        status = recipe_try(processes->recipe);
    if (status == 0)
        status = supervisor_create(&processes->supervisor, &supervisor, &random, &supervisor_events, processes,
                                   clock_now_ns());
    return status;
}

static int start_thread(struct processes *processes)
{
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before); /* the host's handlers run in the host's threads */
    int error = pthread_create(&processes->thread, NULL, run, processes);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (error == 0)
        return 0;
    errno = error;
    return error_errno("cannot start the thread that watches workers");
}

int processes_start(struct processes **processes, const struct processes_config *config,
                    const struct processes_events *events, void *arg, pthread_mutex_t *mutex)
{
    if (config->slots == 0)
        return error_set(MUSTER_EINVAL, "a pool needs at least one worker");
    struct processes *made = memory_zero(sizeof *made + config->slots * sizeof *made->process);
    if (!made)
        return error_memory();
    *made = (struct processes){.mutex = mutex,
                               .events = *events,
                               .arg = arg,
                               .wake = -1,
                               .subreaper = config->subreaper,
                               .last_status = MUSTER_EWORKERS,
                               .memory_kills = cgroup_memory_kills(""),
                               .slots = config->slots};
    forks_init(&made->forks, &made->fork_server.hatchling, config->answer_ns ? config->answer_ns : FORKS_PATIENCE_NS);
    int status = prepare(made, config);
    for (unsigned i = 0; status == 0 && i < config->slots; i++) {
        made->process[i].processes = made;
        snprintf(made->process[i].name, NAME_BYTES, "%s/%u", recipe_host(made->recipe), i);
    }
    made->fork_server.processes = made;
    if (status == 0)
        snprintf(made->fork_server.name, NAME_BYTES, "%s/" FORK_SERVER_NAME, recipe_host(made->recipe));
    if (status == 0) {
        *processes = made; /* before the thread's first callback */
        status = start_thread(made);
    }
    if (status != 0) {
        *processes = NULL;
        forget(made);
    }
    return status;
}

void processes_connected(struct processes *processes, bool restarted)
{
    supervisor_connected(processes->supervisor, restarted, clock_now_ns());
}

int processes_message(struct processes *processes, const struct message *message)
{
    return supervisor_message(processes->supervisor, message, clock_now_ns());
}

void processes_stop(struct processes *processes, bool now)
{
    processes->stopping = true;
    supervisor_stop(processes->supervisor, now);
    wake(processes);
}

bool processes_over(const struct processes *processes)
{
    return supervisor_over(processes->supervisor);
}

unsigned processes_alive(const struct processes *processes)
{
    return supervisor_alive(processes->supervisor);
}

void processes_reap(struct processes *processes)
{
    wake(processes);
}

void processes_free(struct processes **processes)
{
    struct processes *ended = *processes;
    if (!ended)
        return;
    pthread_mutex_lock(ended->mutex);
    ended->quit = ended->stopping = true;
    supervisor_stop(ended->supervisor, true);
    wake(ended);
    pthread_mutex_unlock(ended->mutex);
    pthread_join(ended->thread, NULL);
    pthread_mutex_lock(ended->mutex);
    *processes = NULL;
    pthread_mutex_unlock(ended->mutex);
    forget(ended);
}
