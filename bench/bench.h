/*
 * muster-bench: what its files share.
 *
 * A benchmark is a table of lines in groups (lines.c). One process, the driver (main.c, runner.c), starts one more
 * process for each line of a group, the runner, and asks the runners in turn for one sample each, again and again: so
 * muster and its peers are measured in the same minutes of the same machine, and a ratio means something even where
 * the figures themselves wander. A runner is this program again (measure.c) or a Python script (peers/pool.py,
 * peers/package.py); all speak the same few words on standard input and output:
 *
 *     runner: ready | missing REASON | failed REASON        once, after everything it needs has been started
 *     driver: sample                                        as often as there are repetitions
 *     runner: value NUMBER | failed REASON                  one for each
 *     driver: (end of file)                                 the runner ends what it started, and itself
 *
 * A runner starts helper processes (helper.h): programs of others, or this program again in a role (roles.c).
 */
#ifndef BENCH_BENCH_H
#define BENCH_BENCH_H

#include <stdbool.h>
#include <stddef.h>

enum { BENCH_RECORD = 40 }; /* bytes of one task on the wire in the raw NNG lines */

enum bench_status {
    BENCH_OK = 0,
    BENCH_MISSING = 1, /* something is not installed: the line is skipped, and says so */
    BENCH_FAILED = 2
};

/* One line at work, in its runner process. */
struct bench_run {
    const struct bench_line *line;
    const char *directory; /* private, empty at first, removed by the driver */
    void *state;           /* of the kind's functions */
    char why[400];         /* the reason, when a function did not return BENCH_OK */
};

/* How a family of lines is measured. open starts what is needed and warms it up; close ends it. */
struct bench_kind {
    enum bench_status (*open)(struct bench_run *run);
    enum bench_status (*sample)(struct bench_run *run, double *value);
    void (*close)(struct bench_run *run);
};

/* A ratio that the table shows: this line's figure divided by that of another line of the group, and what is wanted. */
struct bench_ratio {
    const char *name;   /* of the other line */
    const char *wanted; /* "<= 1.4", or NULL: only shown */
};

enum { BENCH_RATIOS = 3 };

struct bench_line {
    const char *group, *name, *unit;
    const struct bench_kind *kind; /* NULL: measured by peers/pool.py */
    const char *argument;          /* for the kind: a URL scheme, a function, a program */
    long number;                   /* for the kind: tasks, bytes, a window */
    const char *wanted;            /* of the figure itself, or NULL: only shown */
    struct bench_ratio ratios[BENCH_RATIOS];
};

struct bench_group {
    const char *name, *title;
};

extern const struct bench_group bench_groups[];
extern const size_t bench_group_count;
extern const struct bench_line bench_lines[];
extern const size_t bench_line_count;

/* Sets run->why and returns `status`, so that a function can leave with it. */
enum bench_status bench_stop(struct bench_run *run, enum bench_status status, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* Microseconds on the clock that never goes back. */
double bench_now_us(void);

/* Writes the path of a program of this build (the same directory as muster-bench), or of one on PATH; false: none. */
bool bench_own_program(char *path, size_t size, const char *name);
bool bench_find_program(char *path, size_t size, const char *name);

/* A TCP port of 127.0.0.1 that was free a moment ago; negative: none. */
int bench_free_port(void);

/* The runner's main(): measures one line as the driver asks. */
int measure_main(const char *line_name, const char *directory);

/* A helper's main(): the role named argv[0] with its arguments. */
int role_main(int argc, char **argv);

/* A line that is measured by peers/package.py, in the Python environment that has the package muster. */
extern const struct bench_kind python_package_kind;

extern const struct bench_kind raw_socket_kind;
extern const struct bench_kind raw_reqrep_kind;
extern const struct bench_kind raw_chain_kind;
extern const struct bench_kind raw_batches_kind;
extern const struct bench_kind gearman_call_kind;
extern const struct bench_kind gearman_tasks_kind;
extern const struct bench_kind commands_kind;
extern const struct bench_kind muster_apply_kind;
extern const struct bench_kind muster_tasks_kind;
extern const struct bench_kind muster_map_kind;
extern const struct bench_kind muster_large_kind;
extern const struct bench_kind muster_queue_kind;
extern const struct bench_kind muster_queue_memory_kind;
extern const struct bench_kind muster_idle_bytes_kind;
extern const struct bench_kind muster_idle_cpu_kind;
extern const struct bench_kind muster_open_kind;
extern const struct bench_kind muster_uneven_kind;

int raw_socket_role(int argc, char **argv);
int raw_echo_role(int argc, char **argv);
int raw_coordinator_role(int argc, char **argv);
int raw_worker_role(int argc, char **argv);
int gearman_worker_role(int argc, char **argv);
int idle_peers_role(int argc, char **argv);

#endif
