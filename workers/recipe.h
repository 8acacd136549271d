/*
 * How the workers of a pool are made: program, environment and hand-over, put together once, used for each start.
 */
#ifndef WORKERS_RECIPE_H
#define WORKERS_RECIPE_H

#include <sys/types.h>

#include "workers/launch.h"
#include "workers/page.h"
#include "workers/processes.h"

struct recipe;

/* EPLUGIN (no such file), EWORKERS (no program), EINVAL, EENCODING, ENOMEM. */
int recipe_make(struct recipe **recipe, const struct processes_config *config, uint64_t group);
void recipe_free(struct recipe *recipe);
const char *recipe_host(const struct recipe *recipe);

/* A process that was started, or is going to be. The caller owns all of it. */
struct hatchling {
    pid_t pid;
    int pidfd;      /* readable once it has ended */
    int lifeline;   /* its end of the pipe tells it to drain ('d') or to die (closed) */
    int outputs[2]; /* to read its stdout and stderr; -1: not captured */
    int page_fd;    /* until it is started */
    struct page *page;
};
extern const struct hatchling hatchling_none;

/* Makes the page of a worker: the first step, after which it counts as alive. ESYSTEM with detail. */
int recipe_begin(struct hatchling *hatchling);
/* The second step: starts it. ESYSTEM with detail, ENOMEM. To be called in the thread with which the worker is to die.
 */
int recipe_start(const struct recipe *recipe, unsigned slot, uint64_t identity, struct hatchling *hatchling);
/* The same by a fork server, who is asked and not waited for. */
int recipe_ask(const struct recipe *recipe, int socket, uint32_t number, unsigned slot, uint64_t identity,
               struct hatchling *hatchling);
/* Its pid is known: watches it. ESYSTEM with detail; EWORKERS: it is no child of this process. */
int recipe_watch(struct hatchling *hatchling);
/* Closes and unmaps what is there, but the page. */
void recipe_forget(struct hatchling *hatchling);
void page_unmap(struct page *page);

/* Are the workers forked? */
bool recipe_forks(const struct recipe *recipe);
/* Starts the fork server; *socket is the end of it that the supervisor talks to. As recipe_start(). */
int recipe_start_fork_server(const struct recipe *recipe, int *socket, struct hatchling *hatchling);

/* Loads the plugins and looks for the initializer in a process that does nothing else. 0, EPLUGIN with detail,
 * EWORKERS, ESYSTEM. */
int recipe_try(const struct recipe *recipe);

#endif
