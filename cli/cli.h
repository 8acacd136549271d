/*
 * What the commands of the program `muster` share: how they complain, and memory that is there or ends the program.
 *
 * A command line tool that runs out of memory cannot do anything better than say so and end: the pool ends with the
 * process, and whatever was printed or logged before stands.
 */
#ifndef CLI_CLI_H
#define CLI_CLI_H

#include "core/buffer.h"
#include "muster.h"

enum cli_status {
    CLI_OK = 0,
    CLI_FAILED = 1, /* call, status: it did not work */
    CLI_USAGE = 2,  /* call, status: the command line makes no sense */
    CLI_ERROR = 255 /* map: anything but failed jobs */
};

int command_map(int argc, char **argv);
int command_call(int argc, char **argv);
int command_status(int argc, char **argv);

/* "muster map", say: what messages begin with. */
extern const char *cli_program;
/* The status that cli_fail() ends with. */
extern int cli_fail_status;

/* One line on stderr: "<cli_program>: text". */
void cli_warn(const char *format, ...) MUSTER_PRINTF(1, 2);
/* The same, then the end of the program with cli_fail_status. */
_Noreturn void cli_fail(const char *format, ...) MUSTER_PRINTF(1, 2);

/* Memory, or the end of the program. */
void *cli_resize(void *old, size_t size);
void cli_append(struct buffer *buffer, const void *data, size_t length);
void cli_reserve(struct buffer *buffer, size_t more);
/* A NULL-terminated list that grows; *list is to be freed. */
void cli_list_add(char ***list, size_t *count, char *item);

/* The URL given with --pool, else that of the environment's MUSTER_POOL, else NULL. */
const char *cli_pool_url(const char *option);

#endif
