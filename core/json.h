/*
 * A small JSON writer: values go to the end of a buffer, commas and colons come by themselves, strings are escaped.
 * Bytes that are not UTF-8 become U+FFFD, so the document is valid whatever the names are.
 *
 * The names are longer than they would have to be because jansson has the short ones, and programs use both.
 *
 *     struct json json = {.out = &buffer};
 *     json_write_open(&json, NULL, '{');
 *     json_write_uint(&json, "workers", 4);
 *     json_write_close(&json, '}');
 *     return json.status;
 */
#ifndef CORE_JSON_H
#define CORE_JSON_H

#include "core/buffer.h"

struct json {
    struct buffer *out;
    int status;    /* 0, or MUSTER_ENOMEM after the first write that failed */
    bool separate; /* a comma comes before the next value */
};

/* `name` is the member's name inside an object, and NULL inside an array and at the top. */
void json_write_open(struct json *json, const char *name, char bracket); /* '{' or '[' */
void json_write_close(struct json *json, char bracket);                  /* '}' or ']' */
void json_write_bool(struct json *json, const char *name, bool value);
void json_write_uint(struct json *json, const char *name, uint64_t value);
void json_write_real(struct json *json, const char *name, double value); /* null if it is not finite */
void json_write_text(struct json *json, const char *name, struct bytes value);
void json_write_string(struct json *json, const char *name, const char *value); /* null if NULL */
void json_write_null(struct json *json, const char *name);

#endif
