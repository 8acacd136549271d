/*
 * Large payloads between processes of one host: POSIX shared-memory segments, written once and mapped by the reader.
 *
 * A segment is named "/muster-<pid namespace>-<owner pid>-<owner start time>-<random>", all in hexadecimal. The owner
 * is the process that the payload is for in the end, the client (or the coordinator, for a client elsewhere). Whoever
 * finds a segment whose owner has died may remove it: segment_sweep(). The start time tells the owner from a later
 * process with its number. A domain names the set of processes that can share segments: same boot, same /dev/shm mount,
 * same pid namespace, same user.
 */
#ifndef CORE_SEGMENT_H
#define CORE_SEGMENT_H

#include "core/buffer.h"

#define SEGMENT_THRESHOLD (256 * 1024) /* payloads of at least this many bytes go through a segment */
#define SEGMENT_NAME_BYTES 96
#define SEGMENT_DOMAIN_BYTES 96

/* This process's domain, as a short string; "" if segments cannot be used here. MUSTER_ELIMIT if `size` is too small.
 */
int segment_domain(char *out, size_t size);

struct segment {
    char name[SEGMENT_NAME_BYTES];
    void *data; /* NULL: not mapped */
    size_t length;
};

/* A payload on its way into a segment, piece by piece. Short pieces are gathered, long ones are written from where they
 * are. A segment is written and not mapped by its writer: that is several times as fast, and a full /dev/shm is an
 * error and not a SIGBUS. */
struct segment_writer {
    struct segment *segment;
    int fd;
    int error; /* errno of the first write that failed, or 0 */
    size_t gathered;
    unsigned char buffer[8192];
};
/* Starts a new segment for `owner_pid`. MUSTER_ESYSTEM. */
int segment_write_new(struct segment_writer *writer, struct segment *segment, uint64_t owner_pid);
/* Starts to write over a segment that nobody reads any more, whose name and length `segment` gives. Its pages are there
 * already, which makes it cheaper than a new one. MUSTER_ESYSTEM: it could not be opened, and has been removed. */
int segment_write_over(struct segment_writer *writer, struct segment *segment);
void segment_write(struct segment_writer *writer, struct bytes piece);
/* The segment is complete, and as long as what was written. MUSTER_ENOMEM, MUSTER_ESYSTEM (no space: the payload then
 * travels in fragments): the segment has been removed. */
int segment_write_end(struct segment_writer *writer);

/* All of it at once: a new segment that holds a copy of `payload`. */
int segment_store(struct segment *segment, uint64_t owner_pid, struct bytes payload);
/* Maps an existing one for reading (private copy-on-write pages). Checks that the name is a segment's name.
 * MUSTER_ESYSTEM, MUSTER_EPROTOCOL. */
int segment_open(struct segment *segment, struct bytes name);
void segment_unmap(struct segment *segment);
/* Enters the first pages of a segment that was opened into the page table at once, for a reader who will need all of
 * them: otherwise each sixteenth page costs a page fault. */
void segment_prefault(const struct segment *segment);
/* Maps a complete segment, whose name and length `segment` gives, for writing over it: when the next payload has the
 * very same length, that is the cheapest way of all. Every page is there, so that a full /dev/shm is no danger.
 * MUSTER_ESYSTEM. */
int segment_map_again(struct segment *segment);
void segment_unlink(struct bytes name);       /* ignores names that are not segments' */
void segment_remove(struct segment *segment); /* both */
/* Removes every segment of this user and pid namespace whose owner has died. Returns how many. */
int segment_sweep(void);

#endif
