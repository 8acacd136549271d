/*
 * One process for each item: `true` started over and over by xargs, GNU parallel and muster map, two at a time. The
 * items come from a file on standard input. The line's argument says which, its number how many items.
 */
#include "bench/bench.h"
#include "bench/helper.h"
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { PATIENCE_MS = 60 * 1000 };

struct commands_state {
    char program[4096];
    char items[200]; /* the file */
};

static enum bench_status find_command(struct bench_run *run, struct commands_state *state)
{
    char *path = state->program;
    if (strcmp(run->line->argument, "muster") == 0)
        return bench_own_program(path, sizeof state->program, "muster")
                   ? BENCH_OK
                   : bench_stop(run, BENCH_MISSING, "the program muster is not built beside muster-bench");
    if (!bench_find_program(path, sizeof state->program, run->line->argument))
        return bench_stop(run, BENCH_MISSING, "%s is not installed (apt install %s)", run->line->argument,
                          strcmp(run->line->argument, "xargs") == 0 ? "findutils" : run->line->argument);
    return BENCH_OK;
}

static enum bench_status commands_open(struct bench_run *run)
{
    struct commands_state *state = run->state = calloc(1, sizeof *state);
    if (!state)
        return bench_stop(run, BENCH_FAILED, "out of memory");
    enum bench_status status = find_command(run, state);
    if (status != BENCH_OK)
        return status;
    /* GNU parallel prints a request for citation to a terminal or file unless it has been told that it was seen. */
    setenv("PARALLEL_HOME", run->directory, 1);
    char path[300];
    snprintf(path, sizeof path, "%s/will-cite", run->directory);
    FILE *file = fopen(path, "we");
    if (file)
        fclose(file);
    snprintf(state->items, sizeof state->items, "%s/items", run->directory);
    if (!(file = fopen(state->items, "we")))
        return bench_stop(run, BENCH_FAILED, "cannot write %s", state->items);
    for (long i = 0; i < run->line->number; i++)
        fprintf(file, "%ld\n", i);
    if (fclose(file) != 0)
        return bench_stop(run, BENCH_FAILED, "cannot write %s", state->items);
    double ignored;
    return run->line->kind->sample(run, &ignored);
}

static enum bench_status commands_sample(struct bench_run *run, double *value)
{
    struct commands_state *state = run->state;
    char *xargs[] = {state->program, "-a", state->items, "-P2", "-n1", "true", NULL};
    char *parallel[] = {state->program, "-a", state->items, "-j2", "true", NULL};
    char *muster[] = {state->program, "map", "-j2", "--arg-file", state->items, "--", "true", NULL};
    char **argv = strcmp(run->line->argument, "xargs") == 0      ? xargs
                  : strcmp(run->line->argument, "parallel") == 0 ? parallel
                                                                 : muster;
    struct helper helper;
    double start = bench_now_us();
    if (helper_start(&helper, argv, 0, NULL) != 0)
        return bench_stop(run, BENCH_FAILED, "%s does not start", state->program);
    int status = helper_wait(&helper, PATIENCE_MS);
    double elapsed = bench_now_us() - start;
    if (status < 0)
        helper_kill(&helper);
    if (status != 0)
        return bench_stop(run, BENCH_FAILED, "%s: exit status %d", run->line->argument, status);
    *value = (double)run->line->number / elapsed * 1e6;
    return BENCH_OK;
}

static void commands_close(struct bench_run *run)
{
    free(run->state);
}

const struct bench_kind commands_kind = {commands_open, commands_sample, commands_close};
