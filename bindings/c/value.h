/*
 * muster_value and its msgpack form, for both halves of muster.h: callers pack arguments and read results, workers read
 * arguments and pack results. Sizes are known before anything is written, so a value is packed once, in its last place.
 */
#ifndef BINDINGS_C_VALUE_H
#define BINDINGS_C_VALUE_H

#include "core/segment.h"
#include "muster.h"

/* Bytes of the head of a msgpack array. */
size_t array_head_size(size_t count);
/* Bytes that value_pack() will write. 0 for an opaque value, which has no msgpack form. */
size_t value_size(const muster_value *value);
/* Writes the value at `at`, where there is room, and gives the byte after it. */
unsigned char *value_pack(unsigned char *at, const muster_value *value);
/* Writes the same bytes into a segment; an opaque value as the payload that it is. */
void value_store(struct segment_writer *out, const muster_value *value);
/* Can it be packed? EENCODING (not exactly one well-formed msgpack value), EINVAL (opaque, or no such type), ELIMIT. */
int value_check(const muster_value *value);

/* Takes one value off the front of msgpack bytes, as a view into them. False: not well-formed. */
bool value_read(struct bytes *input, muster_value *value);
/* A whole payload as one value. False: not exactly one well-formed value (containers are not looked into). */
bool value_decode(struct bytes payload, enum muster_encoding encoding, muster_value *value);

/* An argument list as a payload: its encoding and size, with every value checked. 0, EENCODING, EINVAL, ELIMIT. */
int args_measure(muster_args args, enum muster_encoding *encoding, size_t *size);
unsigned char *args_pack(unsigned char *at, muster_args args);
void args_store(struct segment_writer *out, muster_args args);
void array_head_store(struct segment_writer *out, size_t count);

#endif
