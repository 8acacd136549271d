/*
 * Tasks that do to their worker what tasks should not do, and a few that behave.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "muster.h"

static int identity(muster_task *task)
{
    muster_value value;
    int status = muster_arg(task, 0, &value);
    return status ? status : muster_return(task, value);
}

static int add(muster_task *task)
{
    int64_t sum = 0, number;
    for (size_t i = 0; i < muster_arg_count(task); i++) {
        int status = muster_arg_int(task, i, &number);
        if (status != 0)
            return status;
        sum += number;
    }
    return muster_return_int(task, sum);
}

static int nothing(muster_task *task)
{
    (void)task;
    return 0;
}

static int pid(muster_task *task)
{
    return muster_return_int(task, getpid());
}

static int refuse(muster_task *task)
{
    return muster_fail(task, "Refusal", "no, %s", "never");
}

/* Fails for odd numbers. */
static int even(muster_task *task)
{
    int64_t number;
    int status = muster_arg_int(task, 0, &number);
    if (status == 0 && number % 2 != 0)
        return muster_fail(task, "OddError", "%lld is odd", (long long)number);
    return status ? status : muster_return_int(task, number);
}

static int segfault(muster_task *task)
{
    volatile int *nowhere = NULL;
    (void)task;
    fprintf(stderr, "about to fault\n");
    raise(SIGSEGV); /* also where a sanitizer watches the store below */
    *nowhere = 1;
    return 0;
}

static int abort_it(muster_task *task)
{
    (void)task;
    abort();
}

static int call_exit(muster_task *task)
{
    int64_t status = 0;
    muster_arg_int(task, 0, &status);
    exit((int)status);
}

static int call_exit_at_once(muster_task *task)
{
    int64_t status = 0;
    muster_arg_int(task, 0, &status);
    _exit((int)status);
}

/* Takes memory until there is none, and says how it went. */
static int eat_memory(muster_task *task)
{
    static void *volatile latest; /* a compiler leaves out memory that nobody looks at */
    size_t eaten = 0;
    for (void *piece; (piece = malloc(1 << 20)) != NULL; eaten++)
        latest = memset(piece, 1, 1 << 20);
    (void)latest;
    return muster_fail(task, "MemoryError", "no more memory after %zu MiB", eaten);
}

static int close_everything(muster_task *task)
{
    for (int fd = 0; fd < 1024; fd++)
        close(fd);
    return muster_return_string(task, "closed");
}

/* The child comes back from the function too. */
static int fork_and_return(muster_task *task)
{
    pid_t child = fork();
    if (child > 0)
        waitpid(child, NULL, 0);
    return muster_return_int(task, getpid());
}

/* Leaves a child behind that would live for long. */
static int leave_child(muster_task *task)
{
    pid_t child = fork();
    if (child == 0)
        for (;;)
            pause();
    return muster_return_int(task, child);
}

static int print_much(muster_task *task)
{
    int64_t bytes = 0;
    int status = muster_arg_int(task, 0, &bytes);
    static char piece[4096];
    memset(piece, 'x', sizeof piece);
    for (int64_t done = 0; status == 0 && done < bytes; done += (int64_t)sizeof piece)
        fwrite(piece, 1, sizeof piece, stdout);
    fflush(stdout);
    return status;
}

static int print(muster_task *task)
{
    const char *text;
    size_t size;
    int status = muster_arg_string(task, 0, &text, &size);
    if (status == 0)
        printf("%.*s\n", (int)size, text);
    return status;
}

static int loop(muster_task *task)
{
    const struct timespec second = {1, 0};
    (void)task;
    while (nanosleep(&second, NULL) <= 0)
        continue; /* interrupted or not */
    return 0;
}

static int ignore_signals(muster_task *task)
{
    sigset_t all;
    sigfillset(&all);
    signal(SIGTERM, SIG_IGN);
    pthread_sigmask(SIG_SETMASK, &all, NULL);
    return loop(task);
}

/* Returns, and has changed what the signal does. */
static int ignore_terminate(muster_task *task)
{
    (void)task;
    return signal(SIGTERM, SIG_IGN) == SIG_ERR ? MUSTER_ESYSTEM : 0;
}

/* Sleeps until asked to stop. */
static int wait_for_stop(muster_task *task)
{
    while (!muster_cancelled(task)) {
        struct timespec hour = {3600, 0};
        nanosleep(&hour, NULL); /* interrupted when the task is to stop */
    }
    return MUSTER_ECANCELED;
}

static int sleep_ms(muster_task *task)
{
    int64_t ms;
    int status = muster_arg_int(task, 0, &ms);
    struct timespec left = {status ? 0 : ms / 1000, status ? 0 : ms % 1000 * 1000000};
    while (nanosleep(&left, &left) != 0 && errno == EINTR && !muster_cancelled(task))
        continue;
    return status;
}

/* Says on stdout that it has begun. */
static int announce_and_sleep_ms(muster_task *task)
{
    printf("begun\n");
    return sleep_ms(task);
}

static int change_directory(muster_task *task)
{
    char where[256];
    if (chdir("/") != 0)
        return MUSTER_ESYSTEM;
    return muster_return_string(task, getcwd(where, sizeof where));
}

static void *spin(void *arg)
{
    for (;;)
        pause();
    return arg;
}

static int leave_thread(muster_task *task)
{
    pthread_t thread;
    (void)task;
    return pthread_create(&thread, NULL, spin, NULL) == 0 ? 0 : MUSTER_ESYSTEM;
}

/* Writes over everything that it shares with its supervisor, as far as it can find it. */
static int scribble(muster_task *task)
{
    FILE *maps = fopen("/proc/self/maps", "r");
    char line[512];
    (void)task;
    while (maps && fgets(line, sizeof line, maps)) {
        unsigned long start, end;
        if (strstr(line, "muster-page") && sscanf(line, "%lx-%lx", &start, &end) == 2)
            memset((void *)start, 0xa5, end - start);
    }
    abort();
}

static int report(muster_task *task)
{
    for (int i = 0; i < 10; i++)
        muster_progress(task, i, 10, "working");
    muster_log(task, 6, "said by %s on %s", muster_task_function(task), muster_task_worker(task));
    return 0;
}

static int large(muster_task *task)
{
    int64_t bytes;
    int status = muster_arg_int(task, 0, &bytes);
    char *data = status == 0 ? malloc((size_t)bytes) : NULL;
    if (!data)
        return status ? status : MUSTER_ENOMEM;
    memset(data, 'L', (size_t)bytes);
    status = muster_return_bytes(task, data, (size_t)bytes);
    free(data);
    return status;
}

static int initialized;

static int initialize(muster_task *task)
{
    int64_t value;
    int status = muster_arg_int(task, 0, &value);
    initialized += (int)value;
    return status;
}

static int bad_initialize(muster_task *task)
{
    return muster_fail(task, "SetupError", "the licence server is down");
}

static int initialized_with(muster_task *task)
{
    return muster_return_int(task, initialized);
}

static const muster_function functions[] = {{"identity", identity},
                                            {"add", add},
                                            {"nothing", nothing},
                                            {"pid", pid},
                                            {"refuse", refuse},
                                            {"even", even},
                                            {"segfault", segfault},
                                            {"abort", abort_it},
                                            {"exit", call_exit},
                                            {"exit_at_once", call_exit_at_once},
                                            {"eat_memory", eat_memory},
                                            {"close_everything", close_everything},
                                            {"fork_and_return", fork_and_return},
                                            {"leave_child", leave_child},
                                            {"print_much", print_much},
                                            {"print", print},
                                            {"loop", loop},
                                            {"ignore_signals", ignore_signals},
                                            {"ignore_terminate", ignore_terminate},
                                            {"wait_for_stop", wait_for_stop},
                                            {"sleep_ms", sleep_ms},
                                            {"announce_and_sleep_ms", announce_and_sleep_ms},
                                            {"change_directory", change_directory},
                                            {"leave_thread", leave_thread},
                                            {"scribble", scribble},
                                            {"report", report},
                                            {"large", large},
                                            {"initialize", initialize},
                                            {"bad_initialize", bad_initialize},
                                            {"initialized_with", initialized_with},
                                            {NULL, NULL}};

MUSTER_PLUGIN(functions);
