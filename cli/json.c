/*
 * JSON from and to msgpack; see json.h. jansson reads JSON and prints strings and numbers; arrays and maps are printed
 * while their msgpack is read, so that a large result is not built up a second time.
 */
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/cli.h"
#include "cli/json.h"
#include "core/pack.h"
#include "core/unpack.h"

static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/* --- base64 ------------------------------------------------------------------------------------------------------- */

static void put_base64(struct buffer *out, struct bytes data)
{
    const unsigned char *at = data.data;
    for (size_t i = 0; i < data.length; i += 3) {
        size_t left = data.length - i;
        uint32_t three = (uint32_t)at[i] << 16 | (left > 1 ? (uint32_t)at[i + 1] << 8 : 0) | (left > 2 ? at[i + 2] : 0);
        char four[4] = {alphabet[three >> 18], alphabet[three >> 12 & 63], left > 1 ? alphabet[three >> 6 & 63] : '=',
                        left > 2 ? alphabet[three & 63] : '='};
        cli_append(out, four, 4);
    }
}

/* Appends the decoded bytes; false if the text is not base64. */
static bool get_base64(struct buffer *out, const char *text)
{
    size_t length = strlen(text);
    while (length > 0 && text[length - 1] == '=')
        length--;
    if (length % 4 == 1)
        return false;
    uint32_t bits = 0;
    for (size_t i = 0; i < length; i++) {
        const char *found = strchr(alphabet, text[i]);
        if (!found)
            return false;
        bits = bits << 6 | (uint32_t)(found - alphabet);
        unsigned char byte = (unsigned char)(bits >> (6 - 2 * (i % 4)));
        if (i % 4 > 0)
            cli_append(out, &byte, 1);
    }
    return true;
}

/* --- to msgpack --------------------------------------------------------------------------------------------------- */

static void advance(struct buffer *out, const unsigned char *end)
{
    out->length = (size_t)(end - out->data);
}

static void pack_string(struct buffer *out, const char *text, size_t length)
{
    cli_reserve(out, PACK_HEAD_BYTES + length);
    advance(out, pack_text(out->data + out->length, (struct bytes){text, length}));
}

/* {"$bytes": "..."} as bin; false if the object is another. */
static bool pack_bytes_object(struct buffer *out, json_t *object, bool *bad)
{
    struct buffer data = {0};
    json_t *text = json_object_get(object, "$bytes");
    if (!json_is_string(text) || json_object_size(object) != 1)
        return false;
    *bad = !get_base64(&data, json_string_value(text));
    cli_reserve(out, PACK_HEAD_BYTES + data.length);
    advance(out, pack_data(out->data + out->length, bytes_of(&data)));
    buffer_free(&data);
    return true;
}

static bool pack_json(struct buffer *out, json_t *json)
{
    const char *key;
    json_t *item;
    size_t index;
    bool bad = false;

    cli_reserve(out, PACK_HEAD_BYTES);
    unsigned char *at = out->data + out->length;
    switch (json_typeof(json)) {
    case JSON_NULL: cli_append(out, "\xc0", 1); return true;
    case JSON_FALSE: cli_append(out, "\xc2", 1); return true;
    case JSON_TRUE: cli_append(out, "\xc3", 1); return true;
    case JSON_INTEGER: advance(out, pack_sint(at, json_integer_value(json))); return true;
    case JSON_REAL: advance(out, pack_real(at, json_real_value(json))); return true;
    case JSON_STRING: pack_string(out, json_string_value(json), json_string_length(json)); return true;
    case JSON_ARRAY:
        advance(out, pack_array(at, json_array_size(json)));
        json_array_foreach(json, index, item)
        {
            if (!pack_json(out, item))
                return false;
        }
        return true;
    case JSON_OBJECT:
        if (pack_bytes_object(out, json, &bad))
            return !bad;
        if (json_object_size(json) < 16)
            *at = (unsigned char)(0x80 | json_object_size(json)), advance(out, at + 1);
        else
            advance(out, pack_big_endian(at, 0xdf, json_object_size(json), 4));
        json_object_foreach(json, key, item)
        {
            pack_string(out, key, strlen(key));
            if (!pack_json(out, item))
                return false;
        }
        return true;
    }
    return false;
}

int json_to_msgpack(struct buffer *out, const char *text, char *complaint, size_t complaint_size)
{
    json_error_t error;
    json_t *json = json_loads(text, JSON_DECODE_ANY | JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL, &error);
    if (!json) {
        snprintf(complaint, complaint_size, "%s (at character %d)", error.text, error.position);
        return -1;
    }
    bool good = pack_json(out, json);
    json_decref(json);
    if (!good)
        snprintf(complaint, complaint_size, "what follows \"$bytes\" is not base64");
    return good ? 0 : -1;
}

/* --- from msgpack ------------------------------------------------------------------------------------------------- */

static void put(struct buffer *out, const char *text)
{
    cli_append(out, text, strlen(text));
}

/* Prints and frees what jansson holds. */
static void put_json(struct buffer *out, json_t *json)
{
    char *text = json ? json_dumps(json, JSON_ENCODE_ANY | JSON_REAL_PRECISION(17)) : NULL;
    if (!text)
        cli_fail("out of memory");
    put(out, text);
    free(text);
    json_decref(json);
}

void json_put_bytes(struct buffer *out, struct bytes data)
{
    put(out, "{\"$bytes\": \"");
    put_base64(out, data);
    put(out, "\"}");
}

void json_put_string(struct buffer *out, struct bytes text)
{
    json_t *string = json_stringn(text.length > 0 ? text.data : "", text.length);
    if (string)
        put_json(out, string);
    else
        json_put_bytes(out, text);
}

void json_put_real(struct buffer *out, double number)
{
    char text[40];
    if (!isfinite(number)) {
        put(out, "null");
        return;
    }
    /* The shortest form that reads back as the same number. */
    for (int digits = 1; digits <= 17; digits++) {
        snprintf(text, sizeof text, "%.*g", digits, number);
        if (strtod(text, NULL) == number)
            break;
    }
    put(out, text);
    if (!strpbrk(text, ".e"))
        put(out, ".0");
}

static uint64_t number_at(struct bytes input, size_t from, size_t bytes)
{
    const unsigned char *at = (const unsigned char *)input.data + from;
    uint64_t number = 0;
    while (bytes-- > 0)
        number = number << 8 | *at++;
    return number;
}

/* `value` is one complete extension, as unpack_any() has found it. */
static void put_extension(struct buffer *out, struct bytes value)
{
    unsigned char head = *(const unsigned char *)value.data;
    size_t type_at = head >= 0xd4 ? 1 : head == 0xc7 ? 2 : head == 0xc8 ? 3 : 5;
    if (buffer_printf(out, "{\"$ext\": [%d, \"", (int8_t)number_at(value, type_at, 1)) != 0)
        cli_fail("out of memory");
    put_base64(out, (struct bytes){(const char *)value.data + type_at + 1, value.length - type_at - 1});
    put(out, "\"]}");
}

static bool put_value(struct buffer *out, struct bytes *input);

static bool put_array(struct buffer *out, struct bytes *input, size_t count)
{
    put(out, "[");
    for (size_t i = 0; i < count; i++) {
        if (i > 0)
            put(out, ", ");
        if (!put_value(out, input))
            return false;
    }
    put(out, "]");
    return true;
}

/* A key must be a string, also one that is not UTF-8. */
static void put_key(struct buffer *out, struct bytes text)
{
    struct buffer base64 = {0};
    json_t *string = json_stringn(text.length > 0 ? text.data : "", text.length);
    if (string) {
        put_json(out, string);
        return;
    }
    json_put_bytes(&base64, text);
    json_put_string(out, bytes_of(&base64));
    buffer_free(&base64);
}

static bool put_map(struct buffer *out, struct bytes *input)
{
    unsigned char head = *(const unsigned char *)input->data;
    size_t head_bytes = head == 0xde ? 3 : head == 0xdf ? 5 : 1;
    size_t count = head_bytes == 1 ? head & 15u : (size_t)number_at(*input, 1, head_bytes - 1);
    *input = (struct bytes){(const char *)input->data + head_bytes, input->length - head_bytes};
    put(out, "{");
    for (size_t i = 0; i < count; i++) {
        struct buffer key = {0};
        struct bytes text;
        if (i > 0)
            put(out, ", ");
        if (unpack_text(input, &text)) {
            put_key(&key, text);
        } else if (put_value(&key, input)) {
            struct buffer quoted = {0};
            json_put_string(&quoted, bytes_of(&key));
            buffer_free(&key);
            key = quoted;
        } else {
            buffer_free(&key);
            return false;
        }
        cli_append(out, key.data, key.length);
        buffer_free(&key);
        put(out, ": ");
        if (!put_value(out, input))
            return false;
    }
    put(out, "}");
    return true;
}

/* The next value of input, which has been seen to be well-formed and not too deep. */
static bool put_value(struct buffer *out, struct bytes *input)
{
    struct bytes whole = *input, value;
    uint64_t positive;
    int64_t number;
    double real;
    size_t count;
    unsigned char head = input->length > 0 ? *(const unsigned char *)input->data : 0xc1;

    if (unpack_text(input, &value)) {
        json_put_string(out, value);
    } else if (unpack_data(input, &value)) {
        json_put_bytes(out, value);
    } else if (unpack_uint(input, &positive)) {
        if (buffer_printf(out, "%llu", (unsigned long long)positive) != 0)
            cli_fail("out of memory");
    } else if (unpack_sint(input, &number)) {
        put_json(out, json_integer(number));
    } else if (unpack_real(input, &real)) {
        json_put_real(out, real);
    } else if (unpack_array(input, &count)) {
        return put_array(out, input, count);
    } else if ((head & 0xf0) == 0x80 || head == 0xde || head == 0xdf) {
        return put_map(out, input);
    } else if (unpack_any(&whole, &value)) {
        *input = whole;
        if (head == 0xc0 || head == 0xc2 || head == 0xc3)
            put(out, head == 0xc0 ? "null" : head == 0xc2 ? "false" : "true");
        else
            put_extension(out, value);
    } else {
        return false;
    }
    return true;
}

bool json_from_msgpack(struct buffer *out, struct bytes value)
{
    struct bytes input = value, whole;
    return unpack_any(&input, &whole) && input.length == 0 && put_value(out, &value);
}
