/*
 * The codec: whatever is encoded decodes to the same, msgpack-c reads it, and no bytes whatever crash the decoder.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <cmocka.h>
#include <msgpack.h>

#include "muster.h"
#include "tests/unit/memory_failures.h"
#include "tests/unit/random_message.h"

static struct message_pool pool;
static struct random generator;

static int set_up(void **state)
{
    (void)state;
    random_seed(&generator, "message", 7);
    message_pool_init(&pool, &generator);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    message_pool_free(&pool);
    return 0;
}

static void a_message_decodes_to_what_was_encoded(void **state)
{
    (void)state;
    struct buffer once = {0}, twice = {0};
    for (unsigned round = 0; round < 200; round++) {
        for (unsigned type = 0; type < RANDOM_MESSAGE_TYPES; type++) {
            struct message message, decoded;
            const char *why = NULL;
            if (!random_message(&generator, &pool, type, &message))
                continue;
            once.length = twice.length = 0;
            assert_int_equal(message_encode(&once, &message), 0);
            assert_true(message_bound(&message) >= once.length);
            assert_true(message_bound(&message) <= once.length + 2 + 14 * 9);
            struct bytes input = bytes_of(&once);
            assert_int_equal(message_decode(&input, &decoded, &why), 0);
            assert_int_equal(input.length, 0);
            assert_int_equal(decoded.type, type);
            assert_int_equal(message_encode(&twice, &decoded), 0);
            assert_true(bytes_equal(bytes_of(&once), bytes_of(&twice)));
        }
    }
    buffer_free(&once);
    buffer_free(&twice);
}

static void fields_arrive_with_their_values(void **state)
{
    (void)state;
    struct buffer out = {0};
    struct message message = {.type = MESSAGE_SUBMIT,
                              .submit = {.number = UINT64_MAX,
                                         .function = 3,
                                         .items = 70000,
                                         .priority = -5,
                                         .retries = 2,
                                         .flags = TASK_PROGRESS_WANTED,
                                         .time_limit_ms = 1500,
                                         .grace_ms = 250,
                                         .encoding = 1,
                                         .args = {"\x93\1\2\3", 4}}};
    const char *why;
    assert_int_equal(message_encode(&out, &message), 0);
    struct bytes input = bytes_of(&out);
    struct message decoded;
    assert_int_equal(message_decode(&input, &decoded, &why), 0);
    assert_true(decoded.submit.number == UINT64_MAX);
    assert_int_equal(decoded.submit.items, 70000);
    assert_int_equal(decoded.submit.priority, -5);
    assert_int_equal(decoded.submit.time_limit_ms, 1500);
    assert_int_equal(decoded.submit.grace_ms, 250);
    assert_true(bytes_equal(decoded.submit.args, message.submit.args));
    buffer_free(&out);
}

static void an_encoded_message_is_well_formed_msgpack(void **state)
{
    (void)state;
    struct buffer out = {0};
    for (unsigned type = 0; type < RANDOM_MESSAGE_TYPES; type++) {
        struct message message;
        if (!random_message(&generator, &pool, type, &message))
            continue;
        out.length = 0;
        assert_int_equal(message_encode(&out, &message), 0);
        msgpack_unpacked unpacked;
        msgpack_unpacked_init(&unpacked);
        size_t offset = 0, fields = 0;
        assert_int_equal(msgpack_unpack_next(&unpacked, (char *)out.data, out.length, &offset), MSGPACK_UNPACK_SUCCESS);
        assert_int_equal(offset, out.length);
        assert_int_equal(unpacked.data.type, MSGPACK_OBJECT_ARRAY);
        while (message_fields((enum message_type)type)[fields].name)
            fields++;
        assert_int_equal(unpacked.data.via.array.size, fields + 1);
        assert_int_equal(unpacked.data.via.array.ptr[0].via.u64, type);
        msgpack_unpacked_destroy(&unpacked);
    }
    buffer_free(&out);
}

/* Decodes from memory that is exactly as long as the input, so that a sanitizer sees any byte too far. */
static int decode_exactly(const unsigned char *data, size_t length)
{
    unsigned char *copy = malloc(length ? length : 1);
    memcpy(copy, data, length);
    struct bytes input = {copy, length};
    struct message message;
    const char *why = NULL;
    int status = message_decode(&input, &message, &why);
    if (status != 0) {
        assert_int_equal(status, MUSTER_EPROTOCOL);
        assert_non_null(why);
        assert_int_equal(input.length, length);
    }
    free(copy);
    return status;
}

static void a_truncated_message_is_refused(void **state)
{
    (void)state;
    struct buffer out = {0};
    for (unsigned type = 0; type < RANDOM_MESSAGE_TYPES; type++) {
        struct message message;
        if (!random_message(&generator, &pool, type, &message))
            continue;
        out.length = 0;
        assert_int_equal(message_encode(&out, &message), 0);
        for (size_t cut = 0; cut < out.length; cut += cut < 300 ? 1 : 997)
            assert_int_equal(decode_exactly(out.data, cut), MUSTER_EPROTOCOL);
    }
    buffer_free(&out);
}

static void a_damaged_message_never_crashes_the_decoder(void **state)
{
    (void)state;
    struct buffer out = {0};
    for (unsigned round = 0; round < 20000; round++) {
        struct message message;
        if (!random_message(&generator, &pool, (unsigned)(random_u64(&generator) % 70), &message))
            continue;
        out.length = 0;
        assert_int_equal(message_encode(&out, &message), 0);
        for (unsigned i = 0; i < 3; i++)
            out.data[random_u64(&generator) % (out.length < 60 ? out.length : 60)] ^=
                (unsigned char)random_u64(&generator);
        decode_exactly(out.data, out.length < 2000 ? out.length : 2000);
    }
    buffer_free(&out);
}

static void another_number_of_fields_or_an_unknown_type_is_refused(void **state)
{
    (void)state;
    assert_int_equal(decode_exactly((const unsigned char *)"\x92\x12\x01", 3), 0); /* CANCEL number=1 */
    assert_int_equal(decode_exactly((const unsigned char *)"\x93\x12\x01\x01", 4), MUSTER_EPROTOCOL);
    assert_int_equal(decode_exactly((const unsigned char *)"\x91\x12", 2), MUSTER_EPROTOCOL);
    assert_int_equal(decode_exactly((const unsigned char *)"\x92\x00\x01", 3), MUSTER_EPROTOCOL);
    assert_int_equal(decode_exactly((const unsigned char *)"\x92\xcd\x01\x12\x01", 5), MUSTER_EPROTOCOL);
    assert_int_equal(decode_exactly((const unsigned char *)"\x90", 1), MUSTER_EPROTOCOL);
    assert_int_equal(decode_exactly((const unsigned char *)"\x12", 1), MUSTER_EPROTOCOL);
    assert_int_equal(decode_exactly((const unsigned char *)"\x92\x12\xa1x", 4), MUSTER_EPROTOCOL);
}

static void a_list_of_texts_is_walked_in_order(void **state)
{
    (void)state;
    static const char *const words[] = {"one", "", "three"};
    struct buffer out = {0};
    assert_int_equal(texts_encode(&out, words, 3), 0);
    struct bytes texts = bytes_of(&out), word, none = {0};
    assert_int_equal(texts_begin(&texts), 3);
    for (unsigned i = 0; i < 3; i++) {
        assert_true(texts_next(&texts, &word));
        assert_true(bytes_equal(word, bytes_string(words[i])));
    }
    assert_false(texts_next(&texts, &word));
    assert_int_equal(texts_begin(&none), 0);
    assert_false(texts_next(&none, &word));
    buffer_free(&out);
}

static void no_list_of_texts_is_an_empty_one(void **state)
{
    (void)state;
    struct message message = {.type = MESSAGE_OFFER};
    struct buffer out = {0};
    assert_int_equal(message_encode(&out, &message), 0);
    assert_true(bytes_equal(bytes_of(&out), (struct bytes){"\x93\x20\x90\x90", 4}));
    assert_int_equal(decode_exactly(out.data, out.length), 0);
    buffer_free(&out);
}

static void a_message_prints_in_one_line(void **state)
{
    (void)state;
    struct message message = {.type = MESSAGE_TASK_LOG,
                              .task_log = {.ticket = 7, .level = 4, .text = bytes_string("a\n\"b")}};
    struct buffer out = {0};
    assert_int_equal(message_print(&out, &message), 0);
    assert_true(bytes_equal(bytes_of(&out), bytes_string("TASK_LOG ticket=7 level=4 text=\"a\\x0a\\x22b\"")));
    for (unsigned type = 0; type < RANDOM_MESSAGE_TYPES; type++) {
        if (!random_message(&generator, &pool, type, &message))
            continue;
        out.length = 0;
        assert_int_equal(message_print(&out, &message), 0);
        assert_null(memchr(out.data, '\n', out.length));
        assert_true(out.length < 4000);
    }
    assert_string_equal(message_name(MESSAGE_SUBMIT), "SUBMIT");
    assert_string_equal(message_name((enum message_type)71), "?");
    assert_null(message_fields((enum message_type)71));
    buffer_free(&out);
}

static void without_memory_nothing_is_appended(void **state)
{
    (void)state;
    struct buffer out = {0};
    struct message message = {.type = MESSAGE_CANCEL, .cancel = {.number = 1}};
    memory_failure_at(1);
    assert_int_equal(message_encode(&out, &message), MUSTER_ENOMEM);
    assert_int_equal(out.length, 0);
    memory_failure_at(1);
    assert_int_equal(texts_encode(&out, (const char *const[]){"x"}, 1), MUSTER_ENOMEM);
    memory_failure_at(1);
    assert_int_equal(message_print(&out, &message), MUSTER_ENOMEM);
    memory_failure_off();
    buffer_free(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_message_decodes_to_what_was_encoded),
        cmocka_unit_test(fields_arrive_with_their_values),
        cmocka_unit_test(an_encoded_message_is_well_formed_msgpack),
        cmocka_unit_test(a_truncated_message_is_refused),
        cmocka_unit_test(a_damaged_message_never_crashes_the_decoder),
        cmocka_unit_test(another_number_of_fields_or_an_unknown_type_is_refused),
        cmocka_unit_test(a_list_of_texts_is_walked_in_order),
        cmocka_unit_test(no_list_of_texts_is_an_empty_one),
        cmocka_unit_test(a_message_prints_in_one_line),
        cmocka_unit_test(without_memory_nothing_is_appended),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
