/*
 * What a worker process is told when it is started. It inherits a descriptor whose number is in the environment
 * variable MUSTER_WORKER_FD; the file behind it, in memory, holds one msgpack array of keys and values in turn, and is
 * the only way in: nothing secret stands in arguments or environment. Workers of every language are started like this.
 *
 *   "muster"      uint     version of this hand-over, 1; always first
 *   "url"         str      control URL
 *   "authkey"     bin
 *   "identity", "group", "slot"   uint   HELLO.identity and HELLO.group; number of the slot
 *   "host"        str      the worker is called "host/slot"
 *   "page"        uint     descriptor of the page (workers/page.h)
 *   "lifeline"    uint     descriptor to read: the byte 'd' means drain; its end means that the supervisor is gone
 *   "supervisor"  uint     its pid
 *   "directory"   str      private directory, to be removed with its files when the supervisor is gone; "" none
 *   "plugin"      str      once for each
 *   "label"       str      once for each
 *   "exec"        uint     1: offer muster.exec
 *   "initializer" str      function to run first; "" none
 *   "initializer_encoding" uint, "initializer_args" bin
 *   "max_tasks", "memory_limit", "log_level"   uint
 *   "trial"       uint     1: load plugins, look for the initializer, end; what is wrong is told by page.broken
 */
#ifndef WORKERS_LAUNCH_H
#define WORKERS_LAUNCH_H

#include "core/handshake.h"

#define LAUNCH_VARIABLE "MUSTER_WORKER_FD"

struct launch {
    const char *url, *host, *directory, *initializer; /* never NULL once read */
    struct authkey authkey;
    uint64_t identity, group, slot, page_fd, lifeline_fd, supervisor;
    const char *const *plugins, *const *labels; /* NULL-terminated */
    uint64_t exec, initializer_encoding, max_tasks, memory_limit, log_level, trial;
    struct bytes initializer_args;
    struct launch_memory *memory; /* what the above points to, if it was read */
};

/* Writes it into memory and gives the descriptor (close-on-exec). MUSTER_ENOMEM, MUSTER_ESYSTEM. */
int launch_write(const struct launch *launch, int *fd);
/* Reads and closes it. MUSTER_EVERSION, MUSTER_EPROTOCOL, MUSTER_ENOMEM, MUSTER_ESYSTEM with detail; nothing is left to
 * free then. */
int launch_read(int fd, struct launch *launch);
void launch_free(struct launch *launch); /* of one that was read */

#endif
