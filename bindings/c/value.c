/*
 * Values: the constructors of muster.h, and their way into and out of msgpack.
 *
 * A value is a view. Scalars are kept decoded, containers as the encoded bytes they are, so that taking a result costs
 * no allocation whatever is in it; a caller that wants to look inside a container hands its bytes to msgpack-c.
 */
#include "bindings/c/value.h"

#include "core/errors.h"
#include "core/pack.h"
#include "core/unpack.h"

muster_value muster_nil(void)
{
    return (muster_value){.type = MUSTER_TYPE_NIL};
}

muster_value muster_bool(bool value)
{
    return (muster_value){.type = MUSTER_TYPE_BOOL, .boolean = value};
}

muster_value muster_int(int64_t value)
{
    return (muster_value){.type = MUSTER_TYPE_INT, .integer = value};
}

muster_value muster_double(double value)
{
    return (muster_value){.type = MUSTER_TYPE_DOUBLE, .real = value};
}

muster_value muster_string(const char *text)
{
    return (muster_value){.type = MUSTER_TYPE_STRING, .data = text, .size = text ? strlen(text) : 0};
}

muster_value muster_bytes(const void *data, size_t size)
{
    return (muster_value){.type = MUSTER_TYPE_BYTES, .data = data, .size = size};
}

muster_value muster_msgpack(const void *data, size_t size)
{
    return (muster_value){.type = MUSTER_TYPE_MSGPACK, .data = data, .size = size};
}

muster_value muster_opaque(enum muster_encoding encoding, const void *data, size_t size)
{
    return (muster_value){.type = MUSTER_TYPE_OPAQUE, .encoding = encoding, .data = data, .size = size};
}

/* --- packing ------------------------------------------------------------------------------------------------------ */

static struct bytes content(const muster_value *value)
{
    return (struct bytes){value->data, value->size};
}

static size_t head_size(size_t length, size_t short_form)
{
    return length < short_form ? 1 : length <= UINT8_MAX ? 2 : length <= UINT16_MAX ? 3 : 5;
}

size_t array_head_size(size_t count)
{
    return count < 16 ? 1 : count <= UINT16_MAX ? 3 : 5;
}

size_t value_size(const muster_value *value)
{
    unsigned char scratch[PACK_HEAD_BYTES];
    switch (value->type) {
    case MUSTER_TYPE_NIL:
    case MUSTER_TYPE_BOOL: return 1;
    case MUSTER_TYPE_INT: return (size_t)(pack_sint(scratch, value->integer) - scratch);
    case MUSTER_TYPE_UINT: return (size_t)(pack_uint(scratch, value->uinteger) - scratch);
    case MUSTER_TYPE_DOUBLE: return 9;
    case MUSTER_TYPE_STRING: return head_size(value->size, 32) + value->size;
    case MUSTER_TYPE_BYTES: return head_size(value->size, 0) + value->size;
    case MUSTER_TYPE_MSGPACK: return value->size;
    case MUSTER_TYPE_OPAQUE: break;
    }
    return 0;
}

/* The value without the content of a string; the whole of it if it is none. */
static unsigned char *pack_head(unsigned char *at, const muster_value *value)
{
    switch (value->type) {
    case MUSTER_TYPE_NIL: *at = 0xc0; return at + 1;
    case MUSTER_TYPE_BOOL: *at = value->boolean ? 0xc3 : 0xc2; return at + 1;
    case MUSTER_TYPE_INT: return pack_sint(at, value->integer);
    case MUSTER_TYPE_UINT: return pack_uint(at, value->uinteger);
    case MUSTER_TYPE_DOUBLE: return pack_real(at, value->real);
    case MUSTER_TYPE_STRING: return pack_text_head(at, value->size);
    case MUSTER_TYPE_BYTES: return pack_data_head(at, value->size);
    case MUSTER_TYPE_MSGPACK:
    case MUSTER_TYPE_OPAQUE: break;
    }
    return at;
}

static bool has_content(const muster_value *value)
{
    return value->type >= MUSTER_TYPE_STRING;
}

unsigned char *value_pack(unsigned char *at, const muster_value *value)
{
    at = pack_head(at, value);
    return has_content(value) && value->type != MUSTER_TYPE_OPAQUE ? pack_content(at, content(value)) : at;
}

void value_store(struct segment_writer *out, const muster_value *value)
{
    unsigned char head[PACK_HEAD_BYTES];
    segment_write(out, (struct bytes){head, (size_t)(pack_head(head, value) - head)});
    if (has_content(value))
        segment_write(out, content(value));
}

int value_check(const muster_value *value)
{
    switch (value->type) {
    case MUSTER_TYPE_NIL:
    case MUSTER_TYPE_BOOL:
    case MUSTER_TYPE_INT:
    case MUSTER_TYPE_UINT:
    case MUSTER_TYPE_DOUBLE: return 0;
    case MUSTER_TYPE_STRING:
    case MUSTER_TYPE_BYTES:
    case MUSTER_TYPE_MSGPACK: break;
    case MUSTER_TYPE_OPAQUE:
        return error_set(MUSTER_EINVAL, "an opaque value is a whole payload and must be the only argument");
    default: return error_set(MUSTER_EINVAL, "%d is not a type of value", (int)value->type);
    }
    if (!value->data && value->size > 0)
        return error_set(MUSTER_EINVAL, "a value of %zu bytes has no data", value->size);
    if (value->size > UINT32_MAX)
        return error_set(MUSTER_ELIMIT, "a value of %zu bytes; msgpack ends at 4 GiB", value->size);
    if (value->type != MUSTER_TYPE_MSGPACK)
        return 0;
    struct bytes rest = content(value), one;
    if (!unpack_any(&rest, &one))
        return error_set(MUSTER_EENCODING, "%zu bytes given as msgpack are not well-formed msgpack", value->size);
    if (rest.length > 0)
        return error_set(MUSTER_EENCODING, "%zu bytes given as msgpack go on after the end of one value", value->size);
    return 0;
}

int args_measure(muster_args args, enum muster_encoding *encoding, size_t *size)
{
    if (args.count > 0 && !args.values)
        return error_set(MUSTER_EINVAL, "%zu arguments, but no values", args.count);
    if (args.count == 1 && args.values[0].type == MUSTER_TYPE_OPAQUE) {
        *encoding = args.values[0].encoding;
        *size = args.values[0].size;
        if (*encoding > MUSTER_PICKLE || (!args.values[0].data && *size > 0))
            return error_set(MUSTER_EINVAL, "the opaque value has no data or no known encoding");
        return 0;
    }
    *encoding = MUSTER_MSGPACK;
    *size = array_head_size(args.count);
    for (size_t i = 0; i < args.count; i++) {
        int status = value_check(&args.values[i]);
        if (status != 0)
            return status;
        *size += value_size(&args.values[i]);
    }
    return 0;
}

unsigned char *args_pack(unsigned char *at, muster_args args)
{
    if (args.count == 1 && args.values[0].type == MUSTER_TYPE_OPAQUE)
        return pack_content(at, content(&args.values[0]));
    at = pack_array(at, args.count);
    for (size_t i = 0; i < args.count; i++)
        at = value_pack(at, &args.values[i]);
    return at;
}

void array_head_store(struct segment_writer *out, size_t count)
{
    unsigned char head[PACK_HEAD_BYTES];
    segment_write(out, (struct bytes){head, (size_t)(pack_array(head, count) - head)});
}

void args_store(struct segment_writer *out, muster_args args)
{
    if (args.count != 1 || args.values[0].type != MUSTER_TYPE_OPAQUE)
        array_head_store(out, args.count);
    for (size_t i = 0; i < args.count; i++)
        value_store(out, &args.values[i]);
}

/* --- reading ------------------------------------------------------------------------------------------------------ */

/* The values that are kept decoded. False for everything else, also for what is not well-formed. */
static bool read_scalar(struct bytes *input, muster_value *value)
{
    struct bytes view;
    unsigned char head = *(const unsigned char *)input->data;
    if (head == 0xc0 || head == 0xc2 || head == 0xc3) {
        *value = head == 0xc0 ? muster_nil() : muster_bool(head == 0xc3);
        *input = (struct bytes){(const char *)input->data + 1, input->length - 1};
        return true;
    }
    *value = (muster_value){.type = MUSTER_TYPE_INT};
    if (unpack_sint(input, &value->integer))
        return true;
    value->type = MUSTER_TYPE_UINT;
    if (unpack_uint(input, &value->uinteger))
        return true;
    value->type = MUSTER_TYPE_DOUBLE;
    if (unpack_real(input, &value->real))
        return true;
    value->type = MUSTER_TYPE_STRING;
    if (!unpack_text(input, &view)) {
        value->type = MUSTER_TYPE_BYTES;
        if (!unpack_data(input, &view))
            return false;
    }
    value->integer = 0;
    value->data = view.data;
    value->size = view.length;
    return true;
}

bool value_read(struct bytes *input, muster_value *value)
{
    struct bytes one;
    if (input->length == 0)
        return false;
    if (read_scalar(input, value))
        return true;
    if (!unpack_any(input, &one))
        return false;
    *value = muster_msgpack(one.data, one.length);
    return true;
}

bool value_decode(struct bytes payload, enum muster_encoding encoding, muster_value *value)
{
    if (encoding != MUSTER_MSGPACK) {
        *value = muster_opaque(encoding, payload.data, payload.length);
        return true;
    }
    if (payload.length == 0)
        return false;
    struct bytes rest = payload;
    if (read_scalar(&rest, value))
        return rest.length == 0;
    *value = muster_msgpack(payload.data, payload.length);
    return true;
}
