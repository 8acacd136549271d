/*
 * Encoding and decoding for "muster.exec"; see exec.h. Words are packed as bin: an item can be any bytes, and msgpack's
 * str promises UTF-8.
 */
#include <string.h>

#include "cli/cli.h"
#include "cli/exec.h"
#include "core/pack.h"
#include "core/unpack.h"

/* --- encoding ----------------------------------------------------------------------------------------------------- */

static void put_map(struct buffer *out, size_t count)
{
    cli_reserve(out, PACK_HEAD_BYTES);
    unsigned char *at = out->data + out->length;
    if (count < 16)
        *at++ = (unsigned char)(0x80 | count);
    else
        at = pack_big_endian(at, 0xdf, count, 4);
    out->length = (size_t)(at - out->data);
}

static void put_text(struct buffer *out, struct bytes text)
{
    cli_reserve(out, PACK_HEAD_BYTES + text.length);
    out->length = (size_t)(pack_text(out->data + out->length, text) - out->data);
}

static void put_name(struct buffer *out, const char *name)
{
    put_text(out, bytes_string(name));
}

static void put_data(struct buffer *out, struct bytes data)
{
    cli_reserve(out, PACK_HEAD_BYTES + data.length);
    out->length = (size_t)(pack_data(out->data + out->length, data) - out->data);
}

static void put_number(struct buffer *out, uint64_t number)
{
    cli_reserve(out, PACK_HEAD_BYTES);
    out->length = (size_t)(pack_uint(out->data + out->length, number) - out->data);
}

static void put_environment(struct buffer *out, char *const *environment)
{
    size_t count = 0;
    while (environment[count])
        count++;
    put_map(out, count);
    for (size_t i = 0; i < count; i++) {
        const char *value = strchr(environment[i], '=') + 1;
        put_text(out, (struct bytes){environment[i], (size_t)(value - 1 - environment[i])});
        put_text(out, bytes_string(value));
    }
}

void exec_encode(struct buffer *out, const struct words *argv, const struct exec_setting *setting, size_t stdin_bytes)
{
    bool environment = setting->environment && setting->environment[0];
    bool cwd = setting->cwd.length > 0, limits = setting->output_limit > 0;

    put_map(out, 1 + environment + cwd + (limits ? 2 : 0) + (stdin_bytes > 0));
    put_name(out, "argv");
    cli_reserve(out, PACK_HEAD_BYTES);
    out->length = (size_t)(pack_array(out->data + out->length, argv->count) - out->data);
    for (size_t i = 0; i < argv->count; i++)
        put_data(out, words_at(argv, i));
    if (environment) {
        put_name(out, "env");
        put_environment(out, setting->environment);
    }
    if (cwd) {
        put_name(out, "cwd");
        put_text(out, setting->cwd);
    }
    if (limits) {
        put_name(out, "stdout_limit");
        put_number(out, setting->output_limit);
        put_name(out, "stderr_limit");
        put_number(out, setting->output_limit);
    }
    if (stdin_bytes > 0) {
        put_name(out, "stdin");
        cli_reserve(out, PACK_HEAD_BYTES);
        out->length = (size_t)(pack_big_endian(out->data + out->length, 0xc6, stdin_bytes, 4) - out->data);
    }
}

/* --- decoding ----------------------------------------------------------------------------------------------------- */

static uint64_t big_endian(const unsigned char *at, size_t bytes)
{
    uint64_t value = 0;
    while (bytes-- > 0)
        value = value << 8 | *at++;
    return value;
}

static bool read_map(struct bytes *input, size_t *count)
{
    const unsigned char *at = input->data;
    if (input->length == 0)
        return false;
    size_t head = at[0] == 0xde ? 3 : at[0] == 0xdf ? 5 : (at[0] & 0xf0) == 0x80 ? 1 : 0;
    if (head == 0 || input->length < head)
        return false;
    *count = head == 1 ? at[0] & 0x0f : (size_t)big_endian(at + 1, head - 1);
    *input = (struct bytes){at + head, input->length - head};
    return true;
}

/* str or bin */
static bool read_bytes(struct bytes *input, struct bytes *value)
{
    return unpack_data(input, value) || unpack_text(input, value);
}

void exec_describe(struct buffer *out, struct bytes argument, bool shell)
{
    size_t pairs, count;
    struct bytes name, word;
    /* argv is the first entry: exec_encode() wrote it. */
    if (!read_map(&argument, &pairs) || !unpack_text(&argument, &name) || !unpack_array(&argument, &count))
        return;
    struct bytes rest = argument;
    for (size_t i = 0; shell && i < count && read_bytes(&rest, &word); i++) {
        if (i == 2 && !memchr(word.data, '\n', word.length)) {
            cli_append(out, word.data, word.length);
            return;
        }
    }
    for (size_t i = 0; i < count && read_bytes(&argument, &word); i++) {
        if (i > 0)
            cli_append(out, " ", 1);
        quote_for_people(out, word);
    }
}

/* Reads one entry; what is not known is skipped. Nil leaves the default. */
static bool decode_entry(struct bytes name, struct bytes *input, struct exec_result *result)
{
    struct bytes value;
    uint64_t number;
    int64_t *into = bytes_equal(name, bytes_string("status"))   ? &result->status
                    : bytes_equal(name, bytes_string("signal")) ? &result->signal
                                                                : NULL;
    if (bytes_equal(name, bytes_string("stdout")))
        return read_bytes(input, &result->out);
    if (bytes_equal(name, bytes_string("stderr")))
        return read_bytes(input, &result->err);
    if (bytes_equal(name, bytes_string("run_us")) && unpack_uint(input, &number)) {
        result->run_seconds = (double)number / 1e6;
        return true;
    }
    if (into && unpack_sint(input, into))
        return true;
    if (!unpack_any(input, &value) || value.length == 0)
        return false;
    if (bytes_equal(name, bytes_string("truncated")))
        result->truncated = *(const unsigned char *)value.data == 0xc3;
    return true;
}

bool exec_decode(struct bytes encoded, struct exec_result *result)
{
    size_t count;
    struct bytes name;
    *result = (struct exec_result){.status = -1};
    if (!read_map(&encoded, &count))
        return false;
    for (size_t i = 0; i < count; i++)
        if (!unpack_text(&encoded, &name) || !decode_entry(name, &encoded, result))
            return false;
    return result->status >= 0 || result->signal > 0;
}
