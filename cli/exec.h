/*
 * The argument and the result of the function "muster.exec", which runs a command; docs/architecture.md has the format.
 */
#ifndef CLI_EXEC_H
#define CLI_EXEC_H

#include "cli/template.h"
#include "core/buffer.h"

/* What is the same for every command of a run. */
struct exec_setting {
    struct bytes cwd;         /* empty: where the worker is */
    char *const *environment; /* "NAME=value", NULL-terminated; may be NULL */
    uint64_t output_limit;    /* bytes of stdout, and of stderr, that are kept; 0: the worker's own limit */
};

/* Appends the argument map. With `stdin_bytes` > 0 the map is left open at its end: so many bytes must follow as the
 * command's standard input, so that a large block need not be copied. */
void exec_encode(struct buffer *out, const struct words *argv, const struct exec_setting *setting, size_t stdin_bytes);

/* Appends the command of an encoded argument map as a person would type it, on one line. With `shell` the command is
 * [shell, "-c", text], and the text is what the person typed. */
void exec_describe(struct buffer *out, struct bytes argument, bool shell);

/* A decoded result; views into it. */
struct exec_result {
    int64_t status; /* -1: ended by a signal */
    int64_t signal; /* 0: none */
    struct bytes out, err;
    bool truncated;
    double run_seconds;
};

/* False if the bytes are no such map. */
bool exec_decode(struct bytes encoded, struct exec_result *result);

#endif
