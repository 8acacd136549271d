/*
 * What a binding for another language needs beyond muster.h, when it is linked with the static library: many plain
 * calls as one result, callbacks that are set later, and payloads as they came.
 */
#ifndef BINDINGS_C_BINDING_H
#define BINDINGS_C_BINDING_H

#include "core/buffer.h"
#include "muster.h"

/*
 * Makes a result of `count` calls of options->definition, without submitting them. They are then submitted by one or
 * several calls of binding_submit(), in their order. Each is a task of its own, whatever options->chunk_size says.
 * EINVAL, ENOMEM, ELIMIT.
 */
int binding_create(muster_pool *pool, size_t count, const muster_options *options, muster_result **result);
/* Submits the calls from `first` on, `count` of them. *submitted is how many were, also on failure. With
 * MUSTER_NONBLOCK among `flags` it does not wait: EAGAIN, if there is no room for all of them. Otherwise as
 * muster_apply_async(). */
int binding_submit(muster_result *result, size_t first, size_t count, const muster_args *calls,
                   const muster_options *options, unsigned flags, size_t *submitted);
/* The calls from `first` on will not be submitted, and those before it are cancelled. True if the callback for the
 * outcome has been called or is about to be; otherwise it will not be called any more. */
bool binding_abandon(muster_result *result, size_t first);

/* Has `callback` called with `arg` in the pool's callback thread when the result is ready, in place of the callbacks of
 * its options. 1: so it will be. 0: the result is ready, and nobody will be called. EINVAL, ESYSTEM. */
int binding_watch(muster_result *result, muster_callback *callback, void *arg);

/* Has `idle` called in every callback thread before it goes to sleep, without any lock of muster's: what callbacks have
 * taken and left for the next one, an interpreter's lock, is to be given back. For the whole process. */
void binding_callbacks_idle(void (*idle)(void));

/* The payload of call `index` of a ready result of plain calls, as it came, to be read and written as long as the
 * result lives; empty if it failed, or if it is so short that it was not kept: then muster_result_value() has it all.
 */
struct bytes binding_payload(const muster_result *result, size_t index);

#endif
