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

/* A process that was started. The caller owns all of it. */
struct hatchling {
    pid_t pid;
    int pidfd;      /* readable once it has ended */
    int lifeline;   /* its end of the pipe tells it to drain ('d') or to die (closed) */
    int outputs[2]; /* to read its stdout and stderr; -1: not captured */
    struct page *page;
};
/* ESYSTEM with detail, ENOMEM. To be called in the thread with which the worker is to die. */
int recipe_start(const struct recipe *recipe, unsigned slot, uint64_t identity, struct hatchling *hatchling);
void page_unmap(struct page *page);

/* Loads the plugins and looks for the initializer in a process that does nothing else. 0, EPLUGIN with detail,
 * EWORKERS, ESYSTEM. */
int recipe_try(const struct recipe *recipe);

#endif
