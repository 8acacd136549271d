/*
 * Shared-memory segments for large arguments.
 *
 * Making a segment costs several times what filling it does: the kernel must find its pages, and take them back
 * afterwards. Calls in a row often have arguments of one size; so when a task is done, and nobody can be reading its
 * arguments any more, its segment is kept for the next call whose arguments are just as long. When it is used again it
 * is also mapped, and from then on filling it is a copy from memory to memory.
 *
 * A full list drops its oldest, so that a pool whose arguments change their size does not keep the wrong ones for ever.
 */
#include "bindings/c/pool.h"

static void segment_destroy(struct argument_segment *segment)
{
    segment_remove(&segment->segment);
    memory_free(segment);
}

/* Takes the segment out that the link points to. */
static struct argument_segment *unlink_spare(muster_pool *pool, struct argument_segment **link)
{
    struct argument_segment *segment = *link;
    *link = segment->next;
    pool->spare_count--;
    pool->spare_bytes -= segment->segment.length;
    return segment;
}

static struct argument_segment *take_spare(muster_pool *pool, size_t size)
{
    pthread_mutex_lock(&pool->mutex);
    struct argument_segment **link = &pool->spare_segments, *found = NULL;
    while (*link && (*link)->segment.length != size)
        link = &(*link)->next;
    if (*link)
        found = unlink_spare(pool, link);
    pthread_mutex_unlock(&pool->mutex);
    return found;
}

static bool drop_spares(muster_pool *pool)
{
    pthread_mutex_lock(&pool->mutex);
    bool any = pool->spare_segments;
    argument_segments_free(pool);
    pthread_mutex_unlock(&pool->mutex);
    return any;
}

static int write_new(muster_pool *pool, struct segment *segment, const struct packing *packing)
{
    struct segment_writer writer;
    int status = segment_write_new(&writer, segment, pool->pid);
    if (status != 0)
        return status;
    packing->store(&writer, packing->arg);
    return segment_write_end(&writer);
}

struct argument_segment *argument_segment_write(muster_pool *pool, const struct packing *packing)
{
    struct argument_segment *segment = take_spare(pool, packing->size);
    if (segment && (segment->segment.data || segment_map_again(&segment->segment) == 0)) {
        packing->pack(segment->segment.data, packing->arg);
        return segment;
    }
    if (segment)
        segment_destroy(segment);
    segment = memory_zero(sizeof *segment);
    if (!segment)
        return NULL;
    if (write_new(pool, &segment->segment, packing) == 0 ||
        (drop_spares(pool) && write_new(pool, &segment->segment, packing) == 0))
        return segment;
    memory_free(segment);
    return NULL;
}

static void drop_oldest(muster_pool *pool)
{
    struct argument_segment **link = &pool->spare_segments;
    while ((*link)->next)
        link = &(*link)->next;
    segment_destroy(unlink_spare(pool, link));
}

void argument_segment_release(muster_pool *pool, struct argument_segment *segment, bool unread)
{
    if (!segment)
        return;
    size_t size = segment->segment.length;
    if (!unread || pool->state != POOL_OPEN || pool->failed || size > SPARE_BYTES) {
        segment_destroy(segment);
        return;
    }
    while (pool->spare_count == SPARE_COUNT || pool->spare_bytes > SPARE_BYTES - size)
        drop_oldest(pool);
    segment->next = pool->spare_segments;
    pool->spare_segments = segment;
    pool->spare_count++;
    pool->spare_bytes += size;
}

void argument_segments_free(muster_pool *pool)
{
    while (pool->spare_segments)
        segment_destroy(unlink_spare(pool, &pool->spare_segments));
}
