/*
 * JSON from and to msgpack, for `muster call`.
 *
 *   JSON                          msgpack
 *   null, true, 1, 1.5, "text"    nil, bool, integer, float 64, str
 *   [...], {...}                  array, map with str keys
 *   {"$bytes": "aGk="}            bin (base64)
 *   {"$ext": [5, "aGk="]}         extension of type 5; printed only
 *
 * What JSON cannot say is printed in the nearest form: a str that is not UTF-8 as $bytes, a key that is no str as its
 * JSON text, an infinite or undefined float as null.
 */
#ifndef CLI_JSON_H
#define CLI_JSON_H

#include "core/buffer.h"

/* Appends one JSON text as msgpack. 0, or -1 with a sentence in `complaint`. */
int json_to_msgpack(struct buffer *out, const char *text, char *complaint, size_t complaint_size);

/* Appends one msgpack value as JSON on one line. False if the bytes are not exactly one value. */
bool json_from_msgpack(struct buffer *out, struct bytes value);

/* Appends bytes as {"$bytes": ...}, a string as JSON string, a number in its shortest form. */
void json_put_bytes(struct buffer *out, struct bytes data);
void json_put_string(struct buffer *out, struct bytes text);
void json_put_real(struct buffer *out, double number);

#endif
