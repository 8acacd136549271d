/* What the raw NNG lines share: URLs, dialling, and leaving when something cannot be. */
#ifndef BENCH_RAW_NNG_H
#define BENCH_RAW_NNG_H

#include "bench/bench.h"
#include "bench/helper.h"
#include <nng/nng.h>

enum { RAW_URL = 240, RAW_PATIENCE_MS = 10 * 1000 };

/* A fresh URL of the line's scheme ("ipc" or "tcp") for the part `name` of the line. */
void raw_url(char url[RAW_URL], const struct bench_run *run, const char *name);

/* Dials and waits until connected: 0 or an NNG error. TCP connections do not gather small messages (Nagle). */
int raw_dial(nng_socket socket, const char *url);

/* For roles: says what failed on standard error and leaves the process. */
void raw_require(int error, const char *what);

/* Starts a role with up to five arguments (NULL after the last) and waits for its "ready". */
enum bench_status raw_start(struct bench_run *run, struct helper *helper, const char *role, const char *one,
                            const char *two, const char *three, const char *four);

#endif
