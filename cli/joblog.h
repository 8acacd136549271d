/*
 * --joblog: one line for each finished job, in GNU parallel's columns, and what --resume reads back from it.
 *
 *   Seq  Host  Starttime  JobRuntime  Send  Receive  Exitval  Signal  Command
 *
 * A line is written with one write(2) after the job's output has been printed. So a job that stands in the log has
 * been printed, and a log that was cut off in the middle of a line (power failure, kill -9) loses that one line.
 */
#ifndef CLI_JOBLOG_H
#define CLI_JOBLOG_H

#include "core/buffer.h"

/* A set of job numbers, one bit for each up to the largest. */
struct number_set {
    unsigned char *bits;
    size_t bytes;
};

void number_set_put(struct number_set *set, uint64_t number, bool member);
bool number_set_has(const struct number_set *set, uint64_t number);
void number_set_free(struct number_set *set);

enum joblog_mode {
    JOBLOG_FRESH,        /* an old log is replaced */
    JOBLOG_RESUME,       /* jobs in the log are done, whatever became of them */
    JOBLOG_RESUME_FAILED /* those that failed are not done */
};

struct joblog {
    int fd;
    struct buffer line;
};

struct joblog_entry {
    uint64_t number;
    const char *host;        /* ":" on this machine */
    double started, run;     /* s since 1970; s */
    uint64_t sent, received; /* bytes to its standard input and from its standard output */
    int exit_value, signal;
    struct bytes command; /* on one line */
};

/* Opens the log. With a resume mode it first reads which jobs are done, and cuts off a last line that is not complete.
 * -1 with errno; EILSEQ: the file is no job log. */
int joblog_open(struct joblog *joblog, const char *path, enum joblog_mode mode, struct number_set *done);
/* 0, or -1 with errno. */
int joblog_write(struct joblog *joblog, const struct joblog_entry *entry);
int joblog_close(struct joblog *joblog);

/* Reads a log's text: the bytes of its complete lines, or -1 if it is no job log. For joblog_open() and tests. */
long joblog_parse(struct bytes text, enum joblog_mode mode, struct number_set *done);

#endif
