/*
 * Prints workers' lines on this process's stdout and stderr without ever waiting for who reads them: a terminal that is
 * stopped, or a full pipe, must not keep the watching thread from its work. What cannot be printed yet is kept; whoever
 * feeds the printer reads nothing more while it is full.
 */
#ifndef WORKERS_PRINTER_H
#define WORKERS_PRINTER_H

#include <poll.h>

#include "core/buffer.h"

/* All zero is an empty one. Index 0: stdout, 1: stderr. */
struct printer {
    struct buffer pending[2];
};

/* Takes "[tag] line" for stdout (1) or stderr (2). Without memory the line is dropped. */
void printer_add(struct printer *printer, int stream, const char *tag, struct bytes line);
/* Prints what can be printed now. */
void printer_flush(struct printer *printer);
bool printer_full(const struct printer *printer, int stream);
/* Two entries for poll(2), so that it ends when more can be printed. */
void printer_poll(const struct printer *printer, struct pollfd polls[2]);
/* Prints the rest, if it goes within a second; frees. */
void printer_end(struct printer *printer);

#endif
