/*
 * What the parts of `muster map` share: a job, and the state of the run.
 *
 *   map.c          the loop: signals, waiting, opening and closing
 *   map_jobs.c     makes jobs out of the source's values and submits them
 *   map_outcome.c  takes their results: failed or not, to be run again or not, halt or not
 *   map_print.c    prints them, in order if wanted, and writes the log
 *
 * One thread does everything that can be seen: it reads items, starts jobs, prints output, writes the log, draws the
 * bar. The pool's callback thread only puts finished jobs on a list (map->finished) and wakes it. So nothing here but
 * that list needs the mutex.
 */
#ifndef CLI_MAP_STATE_H
#define CLI_MAP_STATE_H

#include <pthread.h>

#include "cli/cli.h"
#include "cli/exec.h"
#include "cli/joblog.h"
#include "cli/map.h"
#include "cli/progress.h"
#include "cli/results.h"

#define OUTPUT_LIMIT (30 * 1024 * 1024) /* bytes of a job's stdout and of its stderr; a payload holds 64 MiB */

/* One run of the command. In flight from submit() until finish(), then perhaps held for its turn to be printed. */
struct job {
    struct job *next;           /* on the list of finished, waiting or idle jobs */
    struct job *before, *after; /* among the jobs in flight */
    struct map *map;
    uint64_t number; /* from 1 */
    size_t slot;     /* from 1 */
    size_t runs;
    struct buffer args; /* the encoded argument, from args_at */
    size_t args_at;
    size_t stdin_bytes;
    struct buffer tag, path; /* of --tag, --results */
    uint64_t submitted_ns;
    muster_result *result;
    /* What became of it. */
    struct exec_result output;
    int exit_value, signal; /* as in the job log */
    bool failed, dropped;   /* dropped: ended by us; as if it had not run */
    double run_seconds;
    const char *complaint; /* for stderr, or NULL */
};

struct job_list {
    struct job *first, **last;
};

struct map {
    struct map_options *options;
    muster_pool *pool;
    struct exec_setting setting;
    struct template tag;
    struct results results;
    struct joblog joblog;
    struct number_set done;
    struct progress progress;
    bool exact; /* no job is submitted before a worker is free */

    uint64_t numbers; /* jobs taken from the source */
    uint64_t skipped, succeeded, failed;
    size_t in_flight;
    struct job *flight;    /* ring of the jobs in flight, or NULL */
    struct job_list again; /* failed jobs to be run again */
    struct job *idle;      /* for reuse */
    bool with_slots;       /* {%} is used */
    bool *slots;           /* taken */
    size_t slot_count;
    bool source_ended, source_waits;

    /* --keep-order: the jobs from number next_print on, NULL where one is still running. */
    struct job **held;
    size_t held_capacity, held_count, held_bytes;
    uint64_t next_print;

    struct words words; /* scratch */
    struct buffer scratch;

    bool stopping; /* nothing more is started */
    bool killing;  /* what runs has been cancelled */
    bool halted;
    int halt_status;
    bool error;       /* exit status 255 */
    bool broken_pipe; /* nobody reads standard output any more */

    int wake; /* eventfd */
    pthread_mutex_t mutex;
    struct job_list finished; /* under the mutex; filled by the pool's callback thread */
};

/* map.c: starts nothing more and cancels what runs. */
void map_kill_running(struct map *map);
/* map.c: something went wrong that has nothing to do with a job: what runs may end and be printed, nothing more is
 * started. */
void map_stop_with_error(struct map *map);

/* map_jobs.c */
void job_list_put(struct job_list *list, struct job *job);
struct job *job_list_take(struct job_list *list);
/* The command as a person would type it; a view into map->scratch. */
struct bytes job_describe(struct map *map, const struct job *job);
void job_release(struct map *map, struct job *job);
void map_jobs_free(struct map *map);
void map_flight_remove(struct map *map, struct job *job);
/* The next job of the source. NULL: none now; source_waits and source_ended say why. */
struct job *map_take_job(struct map *map);
/* Starts what may start now; returns when to look again. */
uint64_t map_start_jobs(struct map *map);

/* map_outcome.c */
void map_on_outcome(muster_result *result, void *arg); /* in the pool's thread */
void map_finish_all(struct map *map);                  /* everything that has come */
/* Counts a job that will not be run again, and prints it when it is its turn. */
void map_conclude(struct map *map, struct job *job);
/* Errors after which no job can run any more. */
bool map_is_fatal(int status);

/* map_print.c: everything that the user sees of a finished job, and the end of it. */
void map_print(struct map *map, struct job *job);
void map_print_in_order(struct map *map, struct job *job);

#endif
