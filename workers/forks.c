/*
 * One fork server after the other, and one request after the other. Nothing here waits, except for a process that has
 * been killed.
 */
#include "workers/forks.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "core/clock.h"
#include "core/errors.h"
#include "core/log.h"
#include "workers/forkserver.h"

#define LAST_ANSWER_NS (5 * NS_PER_S) /* for a worker whose fork server has died; it answers before all else */

void forks_init(struct forks *forks, struct hatchling *server, uint64_t patience_ns)
{
    *server = hatchling_none;
    *forks = (struct forks){.server = server, .socket = -1, .deadline_ns = NEVER_NS, .patience_ns = patience_ns};
}

bool forks_ready(const struct forks *forks)
{
    return !forks->asked && (forks->socket >= 0 ? !forks->silent : forks->server->pid == 0);
}

static void close_socket(struct forks *forks)
{
    if (forks->socket >= 0)
        close(forks->socket);
    forks->socket = -1;
}

void forks_kill(struct forks *forks)
{
    if (forks->server->pid != 0)
        syscall(SYS_pidfd_send_signal, forks->server->pidfd, SIGKILL, NULL, 0u);
}

int forks_ask(struct forks *forks, const struct recipe *recipe, unsigned slot, uint64_t identity,
              struct hatchling *hatchling, uint64_t now_ns)
{
    int status = 0;
    if (forks->socket < 0)
        status = recipe_start_fork_server(recipe, &forks->socket, forks->server);
    if (status == 0)
        status = recipe_ask(recipe, forks->socket, ++forks->number, slot, identity, hatchling);
    if (status != 0 && status != MUSTER_EWORKERS)
        return status;
    forks->silent = status != 0; /* how it ended is going to be known, and says more */
    forks->asked = hatchling;
    forks->deadline_ns = now_ns + forks->patience_ns;
    return 0;
}

/* --- answers ------------------------------------------------------------------------------------------------------ */

static int finish(struct forks *forks, int status)
{
    forks->asked = NULL;
    forks->deadline_ns = NEVER_NS;
    return status;
}

static int take(struct forks *forks, const struct forkserver_answer *answer)
{
    struct hatchling *hatchling = forks->asked;
    if (answer->pid == 0)
        return finish(forks, error_set(MUSTER_EWORKERS, "%s", answer->reason));
    hatchling->pid = answer->pid;
    int status = recipe_watch(hatchling);
    return finish(forks, status == 0 ? 1 : status);
}

/* Nobody can answer any more. A server that still runs has gone mad, and how it ends is worth knowing. */
static int hear_nothing(struct forks *forks)
{
    forks->silent = true;
    if (forks->server->pid != 0) {
        forks_kill(forks);
        return 0;
    }
    close_socket(forks);
    if (!forks->asked)
        return 0;
    return finish(forks, error_set(MUSTER_EWORKERS, "%s before it had forked the worker", forks->ended));
}

static int hear_late(struct forks *forks)
{
    close_socket(forks);
    if (forks->server->pid == 0)
        return finish(forks, error_set(MUSTER_EWORKERS, "%s before it had forked the worker", forks->ended));
    forks_kill(forks);
    return finish(forks, error_set(MUSTER_EWORKERS, "the fork server has not answered for %.3g s, and was killed",
                                   (double)forks->patience_ns / (double)NS_PER_S));
}

int forks_hear(struct forks *forks, uint64_t now_ns)
{
    struct forkserver_answer answer;
    int got = forks->socket < 0 ? 0 : forks->silent ? MUSTER_EWORKERS : forkserver_answer(forks->socket, &answer);
    if (got == 1 && forks->asked && answer.number == forks->number)
        return take(forks, &answer);
    if (got != 0)
        return hear_nothing(forks);
    return now_ns >= forks->deadline_ns ? hear_late(forks) : 0;
}

/* --- ends --------------------------------------------------------------------------------------------------------- */

static void say_how(struct forks *forks, int wait_status, const char *words)
{
    const char *between = *words ? ": " : "";
    if (WIFSIGNALED(wait_status))
        snprintf(forks->ended, sizeof forks->ended, "the fork server was killed by signal %d%s%.512s",
                 WTERMSIG(wait_status), between, words);
    else
        snprintf(forks->ended, sizeof forks->ended, "the fork server ended with exit status %d%s%.512s",
                 WEXITSTATUS(wait_status), between, words);
}

static int wait_for_server(struct forks *forks)
{
    int wait_status = 0;
    while (waitpid(forks->server->pid, &wait_status, 0) < 0 && errno == EINTR)
        continue;
    recipe_forget(forks->server);
    return wait_status;
}

void forks_server_ended(struct forks *forks, const char *words, uint64_t now_ns)
{
    say_how(forks, wait_for_server(forks), words);
    log_info("%s", forks->ended);
    if (!forks->asked)
        close_socket(forks);
    else if (forks->deadline_ns > now_ns + LAST_ANSWER_NS)
        forks->deadline_ns = now_ns + LAST_ANSWER_NS;
}

void forks_end(struct forks *forks)
{
    forks_kill(forks);
    if (forks->server->pid != 0)
        wait_for_server(forks);
    close_socket(forks);
    finish(forks, 0);
}
