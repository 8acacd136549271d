/*
 * The JSON writer.
 */
#include "core/json.h"

#include <inttypes.h>
#include <math.h>

static void put(struct json *json, const char *text, size_t length)
{
    if (json->status == 0)
        json->status = buffer_append(json->out, text, length);
}

/* The length of the UTF-8 sequence at the front (1..4), or 0 if there is none: overlong forms, surrogates and what is
 * beyond U+10FFFF are none. */
static size_t sequence_length(const unsigned char *at, size_t left)
{
    if (at[0] < 0x80)
        return 1;
    size_t length = at[0] >= 0xc2 && at[0] < 0xe0   ? 2
                    : at[0] >= 0xe0 && at[0] < 0xf0 ? 3
                    : at[0] >= 0xf0 && at[0] < 0xf5 ? 4
                                                    : 0;
    if (length == 0 || length > left)
        return 0;
    for (size_t i = 1; i < length; i++)
        if ((at[i] & 0xc0) != 0x80)
            return 0;
    bool overlong = (at[0] == 0xe0 && at[1] < 0xa0) || (at[0] == 0xf0 && at[1] < 0x90);
    bool beyond = (at[0] == 0xed && at[1] >= 0xa0) || (at[0] == 0xf4 && at[1] >= 0x90);
    return overlong || beyond ? 0 : length;
}

static void put_escaped(struct json *json, unsigned char c)
{
    static const char short_forms[] = "\"\"\\\\\bb\ff\nn\rr\tt";
    for (const char *form = short_forms; *form; form += 2) {
        if ((unsigned char)form[0] == c) {
            put(json, (char[]){'\\', form[1]}, 2);
            return;
        }
    }
    static const char digits[] = "0123456789abcdef";
    put(json, (char[]){'\\', 'u', '0', '0', digits[c >> 4], digits[c & 15]}, 6);
}

static void put_quoted(struct json *json, struct bytes text)
{
    const unsigned char *at = text.data;
    size_t left = text.length;
    put(json, "\"", 1);
    while (left > 0) {
        size_t plain = 0; /* what needs no change goes in one piece */
        while (plain < left) {
            size_t length = sequence_length(at + plain, left - plain);
            if (length == 0 || at[plain] < 0x20 || at[plain] == 0x7f || at[plain] == '"' || at[plain] == '\\')
                break;
            plain += length;
        }
        put(json, (const char *)at, plain);
        at += plain;
        left -= plain;
        if (left == 0)
            break;
        if (at[0] < 0x80)
            put_escaped(json, at[0]);
        else
            put(json, "\xef\xbf\xbd", 3);
        at++;
        left--;
    }
    put(json, "\"", 1);
}

static void begin(struct json *json, const char *name)
{
    if (json->separate)
        put(json, ",", 1);
    json->separate = true;
    if (!name)
        return;
    put_quoted(json, bytes_string(name));
    put(json, ":", 1);
}

void json_write_open(struct json *json, const char *name, char bracket)
{
    begin(json, name);
    put(json, &bracket, 1);
    json->separate = false;
}

void json_write_close(struct json *json, char bracket)
{
    put(json, &bracket, 1);
    json->separate = true;
}

void json_write_bool(struct json *json, const char *name, bool value)
{
    begin(json, name);
    put(json, value ? "true" : "false", value ? 4 : 5);
}

void json_write_uint(struct json *json, const char *name, uint64_t value)
{
    begin(json, name);
    if (json->status == 0)
        json->status = buffer_printf(json->out, "%" PRIu64, value);
}

void json_write_real(struct json *json, const char *name, double value)
{
    if (!isfinite(value)) {
        json_write_null(json, name);
        return;
    }
    begin(json, name);
    if (json->status == 0)
        json->status = buffer_printf(json->out, "%.9g", value);
}

void json_write_text(struct json *json, const char *name, struct bytes value)
{
    begin(json, name);
    put_quoted(json, value);
}

void json_write_string(struct json *json, const char *name, const char *value)
{
    if (value)
        json_write_text(json, name, bytes_string(value));
    else
        json_write_null(json, name);
}

void json_write_null(struct json *json, const char *name)
{
    begin(json, name);
    put(json, "null", 4);
}
