/*
 * The conversation between a supervisor and a fork server, both halves.
 *
 * The fork is a bare system call, because the C library's fork() cannot make a child of the parent's parent. Of what
 * fork() does besides, two things matter in a process of one thread, and are done here: the library's record of the
 * thread's number, which the kernel writes where the library keeps it, and the list of robust mutexes.
 */
#include "workers/forkserver.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "core/errors.h"
#include "workers/launch.h"
#include "workers/spawn.h"

#define VERSION 1
#define REASON_BYTES 200
#define EXIT_BROKEN 1
#define THREAD_WORDS 256 /* the C library's record of a thread is looked through so far */

#if defined(__SANITIZE_THREAD__)
#define THREAD_SANITIZER
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define THREAD_SANITIZER
#endif
#endif

struct request {
    uint32_t version, number;
};

struct answer {
    uint32_t number;
    int32_t error;
    char reason[REASON_BYTES]; /* not terminated, may be shorter */
};

#define ANSWER_HEAD offsetof(struct answer, reason)
#define RIGHTS_BYTES CMSG_SPACE(FORKSERVER_DESCRIPTORS * sizeof(int))

/* --- the fork server's half: requests and answers ----------------------------------------------------------------- */

static void close_all(const int descriptors[FORKSERVER_DESCRIPTORS])
{
    for (int i = 0; i < FORKSERVER_DESCRIPTORS; i++)
        if (descriptors[i] >= 0)
            close(descriptors[i]);
}

/* Takes the descriptors out of a message. False if they are not the six; those that came are closed. */
static bool take_descriptors(struct msghdr *message, int descriptors[FORKSERVER_DESCRIPTORS])
{
    size_t count = 0;
    for (int i = 0; i < FORKSERVER_DESCRIPTORS; i++)
        descriptors[i] = -1;
    for (struct cmsghdr *head = CMSG_FIRSTHDR(message); head; head = CMSG_NXTHDR(message, head)) {
        if (head->cmsg_level != SOL_SOCKET || head->cmsg_type != SCM_RIGHTS)
            continue;
        count = (head->cmsg_len - CMSG_LEN(0)) / sizeof(int);
        memcpy(descriptors, CMSG_DATA(head),
               (count < FORKSERVER_DESCRIPTORS ? count : FORKSERVER_DESCRIPTORS) * sizeof(int));
    }
    if (count == FORKSERVER_DESCRIPTORS && !(message->msg_flags & MSG_CTRUNC))
        return true;
    close_all(descriptors);
    return false;
}

/* The next request. False: there will be none. */
static bool receive(int fd, struct request *request, int descriptors[FORKSERVER_DESCRIPTORS])
{
    _Alignas(struct cmsghdr) unsigned char control[RIGHTS_BYTES];
    struct iovec part = {request, sizeof *request};
    ssize_t got;
    for (;;) {
        struct msghdr message = {
            .msg_iov = &part, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control};
        got = recvmsg(fd, &message, MSG_CMSG_CLOEXEC);
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0)
            return false;
        return take_descriptors(&message, descriptors) && got == (ssize_t)sizeof *request;
    }
}

static void answer(int fd, uint32_t number, int error, const char *reason)
{
    struct answer answer = {.number = number, .error = error};
    size_t length = strnlen(reason, REASON_BYTES);
    memcpy(answer.reason, reason, length);
    while (send(fd, &answer, ANSWER_HEAD + length, MSG_NOSIGNAL) < 0 && errno == EINTR)
        continue;
}

/* --- the fork server's half: the fork ----------------------------------------------------------------------------- */

/* Where the C library keeps the number of this thread, which is the main thread: the place that the kernel clears when
 * the thread ends. Kernels that do not tell are rare; then the thread's record, which pthread_self() points to, is
 * looked through. NULL: not found. */
static pid_t *thread_number(void)
{
    pid_t own = (pid_t)syscall(SYS_gettid), *place = NULL;
    if (prctl(PR_GET_TID_ADDRESS, &place) == 0 && place && *place == own)
        return place;
    place = (pid_t *)pthread_self();
    for (size_t i = 0; i < THREAD_WORDS; i++)
        if (place[i] == own)
            return &place[i];
    return NULL;
}

static unsigned thread_count(void)
{
    struct stat info;
    unsigned count = stat("/proc/self/task", &info) == 0 && info.st_nlink > 2 ? (unsigned)info.st_nlink - 2 : 1;
#ifdef THREAD_SANITIZER
    count -= count > 1; /* it has one of its own */
#endif
    return count;
}

/* fork(), but the child's parent is our parent. */
static pid_t fork_sibling(void)
{
    pid_t *number = thread_number();
    void *robust = NULL;
    size_t robust_bytes = 0;
    if (!number) {
        errno = ENOSYS;
        return -1;
    }
    syscall(SYS_get_robust_list, 0, &robust, &robust_bytes);
    /* The fourth or the fifth argument is the child's place for its number, depending on the machine; the other one is
     * not looked at. */
    unsigned long flags = CLONE_PARENT | CLONE_CHILD_SETTID | CLONE_CHILD_CLEARTID | SIGCHLD;
    pid_t child = (pid_t)syscall(SYS_clone, flags, NULL, NULL, number, number);
    if (child == 0 && robust)
        syscall(SYS_set_robust_list, robust, robust_bytes);
    return child;
}

static void reset_signals(void)
{
    struct sigaction standard = {.sa_handler = SIG_DFL};
    sigset_t none;
    for (int number = 1; number < NSIG; number++)
        sigaction(number, &standard, NULL);
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
}

__attribute__((noreturn)) static void give_up(const char *reason)
{
    fprintf(stderr, "muster: %s\n", reason);
    _exit(EXIT_BROKEN);
}

/* In the hand-over stand the numbers that the descriptors had in the supervisor: writes one with those that they have
 * here. */
static int renumber(const int descriptors[FORKSERVER_DESCRIPTORS])
{
    struct launch launch;
    int fd;
    if (launch_read(descriptors[FORKSERVER_LAUNCH], &launch) != 0)
        give_up(muster_last_error());
    launch.page_fd = (uint64_t)descriptors[FORKSERVER_PAGE];
    launch.lifeline_fd = (uint64_t)descriptors[FORKSERVER_LIFELINE];
    if (launch_write(&launch, &fd) != 0)
        give_up(muster_last_error());
    explicit_bzero(&launch.authkey, sizeof launch.authkey);
    launch_free(&launch);
    return fd;
}

/* The new process becomes a worker. The answer comes first, and before it nothing that could fail. */
static int settle(int fd, uint32_t number, int descriptors[FORKSERVER_DESCRIPTORS])
{
    answer(fd, number, 0, "");
    close(fd);
    prctl(PR_SET_PDEATHSIG, SIGCONT); /* runtime.c looks whether the supervisor is still there */
    setpgid(0, 0);
    reset_signals();
    for (int i = 0; i < FORKSERVER_DESCRIPTORS; i++)
        descriptors[i] = spawn_lift(descriptors[i]);
    for (int i = 0; i < 3; i++) {
        int own = descriptors[FORKSERVER_STDIN + i];
        if (own < 0 || dup2(own, i) < 0)
            _exit(EXIT_BROKEN);
        close(own);
    }
    return renumber(descriptors);
}

static void call(void (*hook)(void *), void *arg)
{
    if (hook)
        hook(arg);
}

/* The descriptor of the hand-over in the worker, -1 in the fork server. */
static int fork_worker(int fd, uint32_t number, int descriptors[FORKSERVER_DESCRIPTORS],
                       const struct forkserver_hooks *hooks)
{
    char reason[REASON_BYTES];
    unsigned threads = thread_count();
    if (threads > 1) {
        snprintf(reason, sizeof reason,
                 "the fork server has %u threads, and only a process with one can be forked: do not load there what "
                 "starts threads",
                 threads);
        answer(fd, number, EBUSY, reason);
        return -1;
    }
    fflush(NULL); /* what is buffered must not be written twice */
    call(hooks->before, hooks->arg);
    pid_t child = fork_sibling();
    int error = errno;
    if (child == 0) {
        int launch = settle(fd, number, descriptors);
        call(hooks->child, hooks->arg);
        return launch;
    }
    call(hooks->after, hooks->arg);
    if (child < 0)
        answer(fd, number, error, strerror(error));
    return -1;
}

int forkserver_run(int fd, const struct forkserver_hooks *hooks)
{
    static const struct forkserver_hooks none;
    struct request request;
    int descriptors[FORKSERVER_DESCRIPTORS];
    unsetenv(FORKSERVER_VARIABLE);
    fcntl(fd, F_SETFD, FD_CLOEXEC);
    while (receive(fd, &request, descriptors)) {
        if (request.version != VERSION) {
            answer(fd, request.number, EPROTO, "the supervisor is of another release than the fork server");
        } else {
            int launch = fork_worker(fd, request.number, descriptors, hooks ? hooks : &none);
            if (launch >= 0)
                return launch;
        }
        close_all(descriptors);
    }
    fflush(NULL);
    _exit(0);
}

/* --- the supervisor's half ---------------------------------------------------------------------------------------- */

int forkserver_sockets(int *supervisor, int *fork_server)
{
    static const int on = 1;
    int pair[2];
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) != 0)
        return error_errno("cannot make a socket to a fork server");
    *supervisor = spawn_lift(pair[0]);
    *fork_server = spawn_lift(pair[1]);
    if (*supervisor >= 0 && *fork_server >= 0 &&
        setsockopt(*supervisor, SOL_SOCKET, SO_PASSCRED, &on, sizeof on) == 0 &&
        fcntl(*supervisor, F_SETFL, O_NONBLOCK) == 0)
        return 0;
    return error_errno("cannot make a socket to a fork server");
}

int forkserver_ask(int socket, uint32_t number, const int descriptors[FORKSERVER_DESCRIPTORS])
{
    _Alignas(struct cmsghdr) unsigned char control[RIGHTS_BYTES] = {0};
    struct request request = {VERSION, number};
    struct iovec part = {&request, sizeof request};
    struct msghdr message = {
        .msg_iov = &part, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control};
    struct cmsghdr *head = CMSG_FIRSTHDR(&message);
    head->cmsg_level = SOL_SOCKET;
    head->cmsg_type = SCM_RIGHTS;
    head->cmsg_len = CMSG_LEN(FORKSERVER_DESCRIPTORS * sizeof(int));
    memcpy(CMSG_DATA(head), descriptors, FORKSERVER_DESCRIPTORS * sizeof(int));
    ssize_t sent;
    do
        sent = sendmsg(socket, &message, MSG_NOSIGNAL);
    while (sent < 0 && errno == EINTR);
    if (sent == (ssize_t)sizeof request)
        return 0;
    if (errno == EPIPE || errno == ECONNRESET)
        return error_set(MUSTER_EWORKERS, "the fork server has ended");
    return error_errno("cannot ask the fork server for a worker");
}

/* The sender of a message, 0 if it did not say. */
static pid_t sender(struct msghdr *message)
{
    struct ucred credentials = {.pid = 0};
    for (struct cmsghdr *head = CMSG_FIRSTHDR(message); head; head = CMSG_NXTHDR(message, head))
        if (head->cmsg_level == SOL_SOCKET && head->cmsg_type == SCM_CREDENTIALS &&
            head->cmsg_len == CMSG_LEN(sizeof credentials))
            memcpy(&credentials, CMSG_DATA(head), sizeof credentials);
    return credentials.pid;
}

static int understand(const struct answer *raw, size_t length, pid_t from, struct forkserver_answer *answer)
{
    if (length < ANSWER_HEAD || (raw->error == 0 && from <= 0))
        return error_set(MUSTER_EWORKERS, "the fork server does not speak as a fork server of muster's does");
    *answer = (struct forkserver_answer){.number = raw->number};
    if (raw->error == 0)
        answer->pid = from;
    else
        snprintf(answer->reason, sizeof answer->reason, "the fork server cannot fork a worker: %.*s",
                 (int)(length - ANSWER_HEAD), raw->reason);
    return 1;
}

int forkserver_answer(int socket, struct forkserver_answer *answer)
{
    /* Descriptors that somebody might send are not taken: there is no room for them. */
    _Alignas(struct cmsghdr) unsigned char control[CMSG_SPACE(sizeof(struct ucred))];
    struct answer raw;
    struct iovec part = {&raw, sizeof raw};
    struct msghdr message = {
        .msg_iov = &part, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control};
    ssize_t got;
    do
        got = recvmsg(socket, &message, MSG_CMSG_CLOEXEC);
    while (got < 0 && errno == EINTR);
    if (got < 0 && errno == EAGAIN)
        return 0;
    if (got <= 0)
        return error_set(MUSTER_EWORKERS, "the fork server has ended");
    return understand(&raw, (size_t)got, sender(&message), answer);
}
