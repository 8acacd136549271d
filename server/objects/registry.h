/*
 * The registry of shared objects: all of them, and who uses them. Part of the coordinator's state machine and pure like
 * it: messages of peers come in, messages go out through `struct peer`. It has no clock: who waits measures the time.
 */
#ifndef SERVER_OBJECTS_REGISTRY_H
#define SERVER_OBJECTS_REGISTRY_H

#include "core/json.h"
#include "core/objects.h"
#include "core/random.h"
#include "server/coordinator.h"

struct registry;

struct registry_config {
    size_t objects;      /* limit: in all */
    size_t references;   /* limit: objects that one session has open */
    size_t waiters;      /* limit: calls of one session that are not answered */
    size_t queue_items;  /* limit: of one queue; beyond it puts wait */
    uint64_t fence_base; /* grants of locks are numbered from here on */
    size_t item_bytes;   /* longest item that can be passed on; 0: any length */
    /* True if so many bytes more may be held. */
    bool (*have_room)(const void *arg, size_t more);
    const void *arg;
};

/* `seed` is copied: ids are drawn from it. 0 or MUSTER_ENOMEM. */
int registry_create(struct registry **registry, const struct registry_config *config, const struct random *seed);
void registry_free(struct registry *registry);

/* A message for which object_request() is true. Non-zero means that the peer misbehaves, as coordinator_message(). */
int registry_take(struct registry *registry, struct peer *peer, const struct message *message, const char **why);
/* Its session has ended: what it held goes back. `goodbye`: it said so itself. */
void registry_peer_down(struct registry *registry, struct peer *peer, bool goodbye);
/* The end of a batch of events: items in advance, sums of what was accepted, recalls. */
void registry_flush(struct registry *registry);

size_t registry_bytes(const struct registry *registry); /* held; of NULL: 0 */
void registry_count(const struct registry *registry, struct registry_counts *counts);
/* Writes the members "objects" of the status document, with at most `limit` entries. */
void registry_status(const struct registry *registry, struct json *json, size_t limit);
const char *registry_check(const struct registry *registry); /* NULL, or what does not hold */

#endif
