/*
 * Errors inside the library: the public codes of muster.h, and the one call that records the sentence behind a failure
 * for muster_last_error(). A message for a person says what was asked, what was found and what to do.
 */
#ifndef CORE_ERRORS_H
#define CORE_ERRORS_H

#include "muster.h"

/* Records the detail for this thread and returns `status`, so that callers write `return error_set(MUSTER_EURL,
 * "...")`. */
int error_set(int status, const char *format, ...) MUSTER_PRINTF(2, 3);
/* error_set(MUSTER_ESYSTEM, ...) with ": <strerror(errno)>" added. */
int error_errno(const char *format, ...) MUSTER_PRINTF(1, 2);
/* error_set(MUSTER_ENOMEM) with a fixed sentence. */
int error_memory(void);

#endif
