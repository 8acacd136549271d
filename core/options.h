/*
 * Command lines, one way for every program: a table of options, from which the parser and the --help text both come.
 * Long names, single letters if wanted, GNU rules (getopt_long). --help and --version are always there.
 */
#ifndef CORE_OPTIONS_H
#define CORE_OPTIONS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* What an option takes, and the type that `value` points to. Variables hold their defaults before the call. */
enum option_kind {
    OPTION_END,     /* ends the table */
    OPTION_HEADING, /* only a line in the help: `help` */
    OPTION_FLAG,    /* nothing; bool, set to true */
    OPTION_NOT,     /* nothing; bool, set to false */
    OPTION_TEXT,    /* const char *, the last one counts */
    OPTION_TEXTS,   /* const char ** : NULL-terminated list that grows with each one; free with options_free_texts() */
    OPTION_NUMBER,  /* size_t: a whole number in minimum..maximum */
    OPTION_SIZE,    /* size_t: bytes, with an optional k, M, G or T (powers of 1024), in minimum..maximum */
    OPTION_SECONDS, /* double: seconds, >= 0, with an optional ms, s, m, h or d, in minimum..maximum */
    OPTION_CALL     /* calls `call` with the argument (NULL if none was given and `argument` is NULL) */
};

struct option_row {
    enum option_kind kind;
    char letter;          /* 0: none */
    const char *name;     /* "heartbeat"; NULL: only the letter */
    const char *argument; /* name of its argument in the help, "SECONDS"; NULL if it takes none */
    void *value;
    const char *help;        /* one sentence or two; wrapped by the printer. "\n" forces a new line */
    double minimum, maximum; /* both 0: no bounds */
    int (*call)(const char *argument, void *arg); /* OPTION_CALL; non-zero: usage error, after having printed the reason
                                                     itself with options_error() */
};

struct options {
    const char *program; /* "muster map", as messages begin */
    const char *usage;   /* "muster map [OPTION]... -- COMMAND..."; several lines are allowed */
    const char *summary; /* a paragraph */
    const struct option_row *rows;
    const char *footer;   /* examples and exit status, printed as it is; may be NULL */
    bool stop_at_operand; /* options end at the first argument that is none (a COMMAND follows) */
    void *arg;            /* for OPTION_CALL */
};

#define OPTIONS_GO_ON (-1)
/* Reads the command line. OPTIONS_GO_ON: *operand is the index of the first argument that is no option (argv is
 * permuted unless stop_at_operand). Anything else is the exit status to end with: 0 after --help and --version, 2 after
 * an error that was printed. */
int options_parse(const struct options *options, int argc, char **argv, int *operand);

/* Prints "program: text" and "Try 'program --help'." to stderr; returns 2. */
int options_error(const struct options *options, const char *format, ...) __attribute__((format(printf, 2, 3)));
void options_free_texts(const char ***texts);

/* The same readers for arguments that are not options. False if the text is no such thing. */
bool options_read_number(const char *text, uint64_t *value);
bool options_read_size(const char *text, uint64_t *value);
bool options_read_seconds(const char *text, double *value);

#endif
