/*
 * Values: what is packed is read back the same, in its shortest form, and what is not well-formed is refused.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <cmocka.h>
#include <msgpack.h>

#include "bindings/c/value.h"

static muster_value roundtrip(muster_value value, unsigned char *bytes, size_t room)
{
    muster_value read;
    assert_int_equal(value_check(&value), 0);
    size_t size = value_size(&value);
    assert_true(size <= room);
    assert_ptr_equal(value_pack(bytes, &value), bytes + size);
    struct bytes input = {bytes, size};
    assert_true(value_read(&input, &read));
    assert_int_equal(input.length, 0);
    assert_true(value_decode((struct bytes){bytes, size}, MUSTER_MSGPACK, &read));
    return read;
}

static void scalars_come_back_as_they_went(void **state)
{
    static const int64_t numbers[] = {0,      1,         127,       128,       255,       256,        65535,
                                      65536,  -1,        -32,       -33,       -128,      -129,       -32768,
                                      -32769, INT32_MIN, INT32_MAX, INT64_MIN, INT64_MAX, 4294967295, 4294967296};
    unsigned char bytes[16];
    (void)state;
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) {
        muster_value value = roundtrip(muster_int(numbers[i]), bytes, sizeof bytes);
        assert_int_equal(value.type, MUSTER_TYPE_INT);
        assert_true(value.integer == numbers[i]);
    }
    muster_value large = roundtrip((muster_value){.type = MUSTER_TYPE_UINT, .uinteger = UINT64_MAX}, bytes, 16);
    assert_int_equal(large.type, MUSTER_TYPE_UINT);
    assert_true(large.uinteger == UINT64_MAX);
    assert_int_equal(roundtrip(muster_nil(), bytes, 16).type, MUSTER_TYPE_NIL);
    assert_true(roundtrip(muster_bool(true), bytes, 16).boolean);
    assert_false(roundtrip(muster_bool(false), bytes, 16).boolean);
    assert_true(roundtrip(muster_double(0.1), bytes, 16).real == 0.1);
}

static void strings_and_bytes_of_every_length_class_come_back(void **state)
{
    static const size_t lengths[] = {0, 1, 31, 32, 255, 256, 65535, 65536};
    unsigned char *packed = malloc(70000), *content = malloc(70000);
    (void)state;
    memset(content, 'x', 70000);
    for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++) {
        muster_value text = {.type = MUSTER_TYPE_STRING, .data = content, .size = lengths[i]};
        muster_value read = roundtrip(text, packed, 70000);
        assert_int_equal(read.type, MUSTER_TYPE_STRING);
        assert_int_equal(read.size, lengths[i]);
        read = roundtrip(muster_bytes(content, lengths[i]), packed, 70000);
        assert_int_equal(read.type, MUSTER_TYPE_BYTES);
        assert_int_equal(read.size, lengths[i]);
        assert_true(lengths[i] == 0 || memcmp(read.data, content, lengths[i]) == 0);
    }
    free(packed);
    free(content);
}

static void what_msgpack_c_packs_is_read(void **state)
{
    msgpack_sbuffer buffer;
    msgpack_packer packer;
    muster_value value;
    (void)state;
    msgpack_sbuffer_init(&buffer);
    msgpack_packer_init(&packer, &buffer, msgpack_sbuffer_write);
    msgpack_pack_float(&packer, 0.5f);
    msgpack_pack_array(&packer, 2);
    msgpack_pack_map(&packer, 1);
    msgpack_pack_int(&packer, 1);
    msgpack_pack_nil(&packer);
    msgpack_pack_ext(&packer, 1, 5);
    msgpack_pack_ext_body(&packer, "x", 1);
    struct bytes input = {buffer.data, buffer.size};
    assert_true(value_read(&input, &value));
    assert_int_equal(value.type, MUSTER_TYPE_DOUBLE);
    assert_true(value.real == 0.5);
    assert_true(value_read(&input, &value));
    assert_int_equal(value.type, MUSTER_TYPE_MSGPACK);
    assert_int_equal(input.length, 0);
    assert_false(value_read(&input, &value));
    msgpack_sbuffer_destroy(&buffer);
}

static void bytes_that_are_not_one_msgpack_value_are_refused(void **state)
{
    static const struct {
        const char *bytes;
        size_t size;
    } bad[] = {{"", 0}, {"\xc1", 1}, {"\x92\x01", 2}, {"\x01\x02", 2}, {"\xa5hell", 5}, {"\xdd\xff\xff\xff\xff", 5}};
    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        muster_value value = muster_msgpack(bad[i].bytes, bad[i].size);
        assert_int_equal(value_check(&value), MUSTER_EENCODING);
        enum muster_encoding encoding;
        size_t size;
        assert_int_equal(args_measure((muster_args){&value, 1}, &encoding, &size), MUSTER_EENCODING);
    }
    unsigned char deep[64];
    memset(deep, 0x91, sizeof deep - 1);
    deep[sizeof deep - 1] = 1;
    muster_value value = muster_msgpack(deep, sizeof deep);
    assert_int_equal(value_check(&value), MUSTER_EENCODING);
}

static void values_that_make_no_sense_are_refused(void **state)
{
    (void)state;
    muster_value value = {.type = MUSTER_TYPE_STRING, .size = 3};
    assert_int_equal(value_check(&value), MUSTER_EINVAL);
    value = (muster_value){.type = (enum muster_type)99};
    assert_int_equal(value_check(&value), MUSTER_EINVAL);
    value = muster_opaque(MUSTER_PICKLE, "x", 1);
    assert_int_equal(value_check(&value), MUSTER_EINVAL);
}

static void an_opaque_value_is_the_whole_payload(void **state)
{
    unsigned char bytes[8];
    enum muster_encoding encoding;
    size_t size;
    (void)state;
    muster_args alone = MUSTER_ARGS(muster_opaque(MUSTER_PICKLE, "abc", 3));
    assert_int_equal(args_measure(alone, &encoding, &size), 0);
    assert_int_equal(encoding, MUSTER_PICKLE);
    assert_int_equal(size, 3);
    assert_ptr_equal(args_pack(bytes, alone), bytes + 3);
    assert_memory_equal(bytes, "abc", 3);
    muster_args among_others = MUSTER_ARGS(muster_opaque(MUSTER_PICKLE, "abc", 3), muster_int(1));
    assert_int_equal(args_measure(among_others, &encoding, &size), MUSTER_EINVAL);
}

static void an_argument_list_is_an_array(void **state)
{
    unsigned char bytes[64];
    enum muster_encoding encoding;
    size_t size;
    (void)state;
    muster_args args = MUSTER_ARGS(muster_int(1), muster_string("two"), muster_nil());
    assert_int_equal(args_measure(args, &encoding, &size), 0);
    assert_ptr_equal(args_pack(bytes, args), bytes + size);
    assert_memory_equal(bytes, "\x93\x01\xa3two\xc0", size);
    assert_int_equal(args_measure(MUSTER_NO_ARGS, &encoding, &size), 0);
    assert_int_equal(size, 1);
    assert_int_equal(args_measure((muster_args){NULL, 1}, &encoding, &size), MUSTER_EINVAL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(scalars_come_back_as_they_went),
        cmocka_unit_test(strings_and_bytes_of_every_length_class_come_back),
        cmocka_unit_test(what_msgpack_c_packs_is_read),
        cmocka_unit_test(bytes_that_are_not_one_msgpack_value_are_refused),
        cmocka_unit_test(values_that_make_no_sense_are_refused),
        cmocka_unit_test(an_opaque_value_is_the_whole_payload),
        cmocka_unit_test(an_argument_list_is_an_array),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
