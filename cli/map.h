/*
 * `muster map`: its options (map_options.c) and the engine that runs the jobs (map.c).
 */
#ifndef CLI_MAP_H
#define CLI_MAP_H

#include "cli/gate.h"
#include "cli/halt.h"
#include "cli/source.h"
#include "cli/template.h"
#include "muster.h"

/* The command line, checked. Strings are those of argv or the environment. */
struct map_options {
    const char *pool_url; /* NULL: local workers */
    size_t jobs;          /* at a time; 0: as many as the pool has workers */
    size_t retries;       /* runs of a job, at most */
    double time_limit;    /* s; 0: none */
    bool pipe, keep_order, dry_run, bar, verbose, shell;
    const char *tag;     /* a template; NULL: no tags */
    const char *results; /* a template; NULL: none */
    const char *joblog;  /* NULL: none */
    bool resume, resume_failed;
    struct halt halt;
    struct gate gate;
    const char **labels; /* NULL-terminated; may be NULL */
    char **environment;  /* "NAME=value" for the commands, NULL-terminated; may be NULL */
    char *workdir;       /* absolute; NULL: where the worker is */
    struct template template;
    char *shell_words[3]; /* shell, "-c", the command */
    struct source source;
};

/* Reads the command line into *options. OPTIONS_GO_ON, or the exit status. */
int map_options_read(struct map_options *options, int argc, char **argv);
void map_options_free(struct map_options *options);

#endif
