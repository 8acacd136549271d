/*
 * Arguments that are held.
 *
 * A segment is mapped privately: a page that is written to becomes a copy. So all that has to be done to keep it, when
 * the client is about to use the segment again, is to have every page written to, at the same place and by the kernel
 * in one go if it can.
 */
#include "workers/arguments.h"

#include <stdatomic.h>
#include <sys/mman.h>
#include <unistd.h>

struct arguments {
    atomic_size_t references;
    struct segment segment;
    struct held_task *held;
};

struct arguments *arguments_create(struct segment *segment, struct held_task *held)
{
    struct arguments *made = memory_zero(sizeof *made);
    if (!made)
        return NULL;
    atomic_init(&made->references, 1);
    if (segment->data) {
        made->segment = *segment;
        *segment = (struct segment){0};
    } else if (held) {
        held->kept = true;
        made->held = held;
    }
    return made;
}

struct arguments *arguments_hold(struct arguments *arguments)
{
    atomic_fetch_add_explicit(&arguments->references, 1, memory_order_relaxed);
    return arguments;
}

void arguments_release(struct arguments *arguments)
{
    if (!arguments || atomic_fetch_sub_explicit(&arguments->references, 1, memory_order_acq_rel) != 1)
        return;
    segment_unmap(&arguments->segment);
    memory_free(arguments->held);
    memory_free(arguments);
}

/* Writes to a byte what it holds. Somebody else may be writing to it: then that has done it. */
static void write_same(unsigned char *byte)
{
    unsigned char value = __atomic_load_n(byte, __ATOMIC_RELAXED);
    __atomic_compare_exchange_n(byte, &value, value, false, __ATOMIC_RELAXED, __ATOMIC_RELAXED);
}

void arguments_detach(struct arguments *arguments)
{
    struct segment *segment = &arguments->segment;
    if (!segment->data || atomic_load_explicit(&arguments->references, memory_order_acquire) == 1)
        return;
#ifdef MADV_POPULATE_WRITE
    if (madvise(segment->data, segment->length, MADV_POPULATE_WRITE) == 0)
        return;
#endif
    size_t page = (size_t)sysconf(_SC_PAGESIZE); /* older kernels */
    for (size_t at = 0; at < segment->length; at += page)
        write_same((unsigned char *)segment->data + at);
}
