/*
 * The cursor: every form of every type, and the refusal of everything else without moving.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <cmocka.h>
#include <msgpack.h>

#include "core/random.h"
#include "core/unpack.h"

static void pack_with_msgpack(msgpack_sbuffer *out, struct random *random, unsigned depth)
{
    msgpack_packer packer;
    msgpack_packer_init(&packer, out, msgpack_sbuffer_write);
    static const size_t lengths[] = {0, 5, 31, 32, 255, 256, 70000};
    static const char content[70000];
    size_t length = lengths[random_u64(random) % 7], count = random_u64(random) % 20;
    uint64_t number = random_u64(random) >> (random_u64(random) % 64);
    switch (random_u64(random) % (depth > 0 ? 10 : 8)) {
    case 0: msgpack_pack_uint64(&packer, number); break;
    case 1: msgpack_pack_int64(&packer, (int64_t)(0 - number)); break;
    case 2: msgpack_pack_double(&packer, 1.5); break;
    case 3: msgpack_pack_float(&packer, 2.5f); break;
    case 4: msgpack_pack_str_with_body(&packer, content, length); break;
    case 5: msgpack_pack_bin_with_body(&packer, content, length); break;
    case 6: msgpack_pack_ext_with_body(&packer, content, length, 7); break;
    case 7: random_u64(random) % 2 ? msgpack_pack_nil(&packer) : msgpack_pack_true(&packer); break;
    case 8:
        msgpack_pack_array(&packer, count);
        for (size_t i = 0; i < count; i++)
            pack_with_msgpack(out, random, depth - 1);
        break;
    default:
        msgpack_pack_map(&packer, count);
        for (size_t i = 0; i < 2 * count; i++)
            pack_with_msgpack(out, random, depth - 1);
    }
}

static void any_value_of_msgpack_c_is_stepped_over_exactly(void **state)
{
    (void)state;
    struct random random;
    random_seed(&random, "any", 3);
    for (unsigned round = 0; round < 3000; round++) {
        msgpack_sbuffer packed;
        msgpack_sbuffer_init(&packed);
        pack_with_msgpack(&packed, &random, 2);
        size_t length = packed.size;
        msgpack_sbuffer_write(&packed, "\x01", 1);
        struct bytes input = {packed.data, packed.size}, value;
        assert_true(unpack_any(&input, &value));
        assert_int_equal(value.length, length);
        assert_int_equal(input.length, 1);
        size_t cut = random_u64(&random) % length;
        char *part = malloc(cut ? cut : 1); /* exactly so long: a sanitizer sees a byte too far */
        memcpy(part, packed.data, cut);
        input = (struct bytes){part, cut};
        assert_false(unpack_any(&input, &value));
        assert_int_equal(input.length, cut);
        free(part);
        msgpack_sbuffer_destroy(&packed);
    }
}

static void a_number_is_read_in_any_width(void **state)
{
    (void)state;
    static const struct {
        unsigned char bytes[9];
        size_t length;
        bool is_uint, is_sint;
        uint64_t as_uint;
        int64_t as_sint;
    } cases[] = {
        {{0x00}, 1, true, true, 0, 0},
        {{0x7f}, 1, true, true, 127, 127},
        {{0xff}, 1, false, true, 0, -1},
        {{0xe0}, 1, false, true, 0, -32},
        {{0xcc, 0x05}, 2, true, true, 5, 5},
        {{0xcd, 0x01, 0x00}, 3, true, true, 256, 256},
        {{0xce, 0xff, 0xff, 0xff, 0xff}, 5, true, true, UINT32_MAX, UINT32_MAX},
        {{0xcf, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff}, 9, true, false, UINT64_MAX, 0},
        {{0xd0, 0x80}, 2, false, true, 0, -128},
        {{0xd0, 0x05}, 2, true, true, 5, 5},
        {{0xd1, 0x80, 0x00}, 3, false, true, 0, INT16_MIN},
        {{0xd2, 0x80, 0x00, 0x00, 0x00}, 5, false, true, 0, INT32_MIN},
        {{0xd3, 0x80}, 9, false, true, 0, INT64_MIN},
        {{0xd3, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x09}, 9, true, true, 9, 9},
        {{0xc0}, 1, false, false, 0, 0},
        {{0xc1}, 1, false, false, 0, 0},
        {{0xa1, 'x'}, 2, false, false, 0, 0},
        {{0xca, 0, 0, 0, 0}, 5, false, false, 0, 0},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        uint64_t as_uint = 0;
        int64_t as_sint = 0;
        struct bytes input = {cases[i].bytes, cases[i].length}, cut = {cases[i].bytes, cases[i].length - 1};
        assert_int_equal(unpack_uint(&input, &as_uint), cases[i].is_uint);
        assert_int_equal(input.length, cases[i].is_uint ? 0 : cases[i].length);
        input = (struct bytes){cases[i].bytes, cases[i].length};
        assert_int_equal(unpack_sint(&input, &as_sint), cases[i].is_sint);
        assert_int_equal(input.length, cases[i].is_sint ? 0 : cases[i].length);
        assert_true(as_uint == cases[i].as_uint && as_sint == cases[i].as_sint);
        assert_false(unpack_uint(&cut, &as_uint));
        assert_false(unpack_sint(&cut, &as_sint));
    }
}

static void a_real_is_read_in_both_widths(void **state)
{
    (void)state;
    double value;
    struct bytes wide = {"\xcb\x3f\xf8\0\0\0\0\0\0", 9}, narrow = {"\xca\xbf\xc0\0\0", 5}, integer = {"\x01", 1};
    assert_true(unpack_real(&wide, &value) && value == 1.5);
    assert_true(unpack_real(&narrow, &value) && value == -1.5);
    assert_false(unpack_real(&integer, &value));
}

static void a_length_beyond_the_end_is_refused(void **state)
{
    (void)state;
    static const struct bytes inputs[] = {{"\xa5"
                                           "abcd",
                                           5},
                                          {"\xd9\x05"
                                           "abcd",
                                           6},
                                          {"\xdb\xff\xff\xff\xff"
                                           "abcd",
                                           9},
                                          {"\xc4\x05"
                                           "abcd",
                                           6},
                                          {"\xc6\xff\xff\xff\xff"
                                           "abcd",
                                           9},
                                          {"\xdd\xff\xff\xff\xff"
                                           "abcd",
                                           9},
                                          {"\xdf\xff\xff\xff\xff"
                                           "abcd",
                                           9},
                                          {"\xc9\xff\xff\xff\xff\x01"
                                           "abcd",
                                           10}};
    struct bytes value;
    for (size_t i = 0; i < sizeof inputs / sizeof *inputs; i++) {
        struct bytes input = inputs[i];
        assert_false(unpack_text(&input, &value));
        assert_false(unpack_data(&input, &value));
        assert_false(unpack_any(&input, &value));
        assert_int_equal(input.length, inputs[i].length);
    }
}

static void text_and_data_are_not_confused(void **state)
{
    (void)state;
    struct bytes text = {"\xa1x", 2}, data = {"\xc4\x01x", 3}, value;
    assert_false(unpack_data(&text, &value));
    assert_false(unpack_text(&data, &value));
    assert_true(unpack_text(&text, &value) && value.length == 1);
    assert_true(unpack_data(&data, &value) && value.length == 1);
}

static void nesting_is_bounded(void **state)
{
    (void)state;
    unsigned char nested[UNPACK_DEPTH_LIMIT + 2];
    memset(nested, 0x91, sizeof nested);
    nested[sizeof nested - 1] = 0;
    struct bytes too_deep = {nested, sizeof nested}, deep = {nested + 1, sizeof nested - 1}, value;
    assert_false(unpack_any(&too_deep, &value));
    assert_true(unpack_any(&deep, &value));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(any_value_of_msgpack_c_is_stepped_over_exactly),
        cmocka_unit_test(a_number_is_read_in_any_width),
        cmocka_unit_test(a_real_is_read_in_both_widths),
        cmocka_unit_test(a_length_beyond_the_end_is_refused),
        cmocka_unit_test(text_and_data_are_not_confused),
        cmocka_unit_test(nesting_is_bounded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
