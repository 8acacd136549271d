/*
 * The generator, the HMAC under it (RFC 4231's vectors), and that a seed repeats.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <cmocka.h>

#include "core/hmac.h"
#include "core/random.h"

static void assert_hmac(struct bytes key, struct bytes text, const char *expected)
{
    unsigned char mac[HMAC_BYTES];
    char hex[2 * HMAC_BYTES + 1];
    struct bytes parts[] = {{text.data, text.length / 2},
                            {(const char *)text.data + text.length / 2, text.length - text.length / 2}};
    assert_true(hmac_sha256(key, parts, 2, mac));
    for (unsigned i = 0; i < HMAC_BYTES; i++)
        snprintf(hex + 2 * i, 3, "%02x", mac[i]);
    assert_string_equal(hex, expected);
}

static void the_hmac_is_the_standard_one(void **state)
{
    (void)state;
    unsigned char key[131];
    memset(key, 0x0b, sizeof key);
    assert_hmac((struct bytes){key, 20}, bytes_string("Hi There"),
                "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7");
    assert_hmac(bytes_string("Jefe"), bytes_string("what do ya want for nothing?"),
                "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
    memset(key, 0xaa, sizeof key);
    assert_hmac((struct bytes){key, 131}, bytes_string("Test Using Larger Than Block-Size Key - Hash Key First"),
                "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54");
    assert_hmac((struct bytes){0}, bytes_string(""),
                "b613679a0814d9ec772f95d778c35fc5ff1697c493715653c6c712144292c5ad");
}

static void the_same_seed_gives_the_same_bytes(void **state)
{
    (void)state;
    struct random a, b, c;
    unsigned char one[1000], two[1000], other[1000];
    random_seed(&a, "seed", 4);
    random_seed(&b, "seed", 4);
    random_seed(&c, "Seed", 4);
    random_bytes(&a, one, sizeof one);
    for (size_t done = 0; done < sizeof two; done += 50)
        random_bytes(&b, two + done, 50); /* however it is cut */
    random_bytes(&c, other, sizeof other);
    assert_memory_equal(one, two, sizeof one);
    assert_memory_not_equal(one, other, sizeof one);
    assert_true(random_u64(&a) == random_u64(&b));
}

static void every_bit_is_set_about_half_of_the_time(void **state)
{
    (void)state;
    struct random random;
    unsigned ones[64] = {0};
    random_seed(&random, "", 0);
    for (unsigned i = 0; i < 4000; i++) {
        uint64_t value = random_u64(&random);
        assert_true(value != 0);
        for (unsigned bit = 0; bit < 64; bit++)
            ones[bit] += (value >> bit) & 1;
    }
    for (unsigned bit = 0; bit < 64; bit++)
        assert_in_range(ones[bit], 1800, 2200);
}

static void the_systems_seeds_differ(void **state)
{
    (void)state;
    struct random a, b;
    assert_int_equal(random_seed_system(&a), 0);
    assert_int_equal(random_seed_system(&b), 0);
    assert_true(random_u64(&a) != random_u64(&b));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_hmac_is_the_standard_one),
        cmocka_unit_test(the_same_seed_gives_the_same_bytes),
        cmocka_unit_test(every_bit_is_set_about_half_of_the_time),
        cmocka_unit_test(the_systems_seeds_differ),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
