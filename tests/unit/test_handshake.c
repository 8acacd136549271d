/*
 * Proofs of the authkey, and where the authkey comes from.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>

#include "core/handshake.h"
#include "muster.h"

static const unsigned char peer_nonce[NONCE_BYTES] = {1}, coordinator_nonce[NONCE_BYTES] = {2};

static void proof(const char *key, enum proof who, const char *hello, unsigned char mac[MAC_BYTES])
{
    struct authkey authkey = {.length = strlen(key)};
    memcpy(authkey.bytes, key, authkey.length);
    assert_int_equal(proof_make(&authkey, who, bytes_string(hello), peer_nonce, coordinator_nonce, mac), 0);
}

static void a_proof_depends_on_all_that_it_is_about(void **state)
{
    (void)state;
    unsigned char mac[MAC_BYTES], same[MAC_BYTES], other[MAC_BYTES];
    proof("key", PROOF_PEER, "hello", mac);
    proof("key", PROOF_PEER, "hello", same);
    assert_true(proof_equal(mac, (struct bytes){same, MAC_BYTES}));
    proof("kez", PROOF_PEER, "hello", other);
    assert_false(proof_equal(mac, (struct bytes){other, MAC_BYTES}));
    proof("key", PROOF_PEER, "hellp", other);
    assert_false(proof_equal(mac, (struct bytes){other, MAC_BYTES}));
    proof("key", PROOF_COORDINATOR, "hello", other); /* so a proof cannot be sent back to who made it */
    assert_false(proof_equal(mac, (struct bytes){other, MAC_BYTES}));
    struct authkey key = {.bytes = "key", .length = 3};
    proof_make(&key, PROOF_PEER, bytes_string("hello"), coordinator_nonce, coordinator_nonce, other);
    assert_false(proof_equal(mac, (struct bytes){other, MAC_BYTES}));
    proof_make(&key, PROOF_PEER, bytes_string("hello"), peer_nonce, peer_nonce, other);
    assert_false(proof_equal(mac, (struct bytes){other, MAC_BYTES}));
}

static void a_proof_of_another_length_is_wrong(void **state)
{
    (void)state;
    unsigned char mac[MAC_BYTES];
    proof("key", PROOF_PEER, "hello", mac);
    assert_false(proof_equal(mac, (struct bytes){mac, MAC_BYTES - 1}));
    assert_false(proof_equal(mac, (struct bytes){NULL, 0}));
}

static char path[] = "/tmp/muster-authkey-XXXXXX";

static void write_key(const char *text, size_t length, mode_t mode)
{
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    fwrite(text, 1, length, file);
    fclose(file);
    assert_int_equal(chmod(path, mode), 0);
}

static void a_key_file_is_read_without_its_newline(void **state)
{
    (void)state;
    struct authkey key;
    write_key("a secret\n", 9, 0600);
    assert_int_equal(authkey_load(&key, path), 0);
    assert_int_equal(key.length, 8);
    assert_memory_equal(key.bytes, "a secret", 8);
    write_key("\0two\nlines\r\n", 12, 0400);
    assert_int_equal(authkey_load(&key, path), 0);
    assert_int_equal(key.length, 10);
    write_key("no newline", 10, 0600);
    assert_int_equal(authkey_load(&key, path), 0);
    assert_int_equal(key.length, 10);
}

static void a_key_file_that_others_can_read_is_refused(void **state)
{
    (void)state;
    struct authkey key;
    static const mode_t modes[] = {0640, 0604, 0620, 0602, 0666};
    for (size_t i = 0; i < sizeof modes / sizeof *modes; i++) {
        write_key("secret", 6, modes[i]);
        assert_int_equal(authkey_load(&key, path), MUSTER_EAUTH);
        assert_non_null(strstr(muster_last_error(), "chmod 600"));
        assert_int_equal(key.length, 0);
    }
}

static void a_key_file_that_is_empty_too_long_or_missing_is_refused(void **state)
{
    (void)state;
    struct authkey key;
    static char text[AUTHKEY_LIMIT + 10];
    memset(text, 'k', sizeof text);
    write_key("", 0, 0600);
    assert_int_equal(authkey_load(&key, path), MUSTER_EAUTH);
    write_key("\n", 1, 0600);
    assert_int_equal(authkey_load(&key, path), MUSTER_EAUTH);
    write_key(text, AUTHKEY_LIMIT + 1, 0600);
    assert_int_equal(authkey_load(&key, path), MUSTER_EAUTH);
    write_key(text, sizeof text, 0600);
    assert_int_equal(authkey_load(&key, path), MUSTER_EAUTH);
    text[AUTHKEY_LIMIT] = '\n';
    write_key(text, AUTHKEY_LIMIT + 1, 0600);
    assert_int_equal(authkey_load(&key, path), 0);
    assert_int_equal(key.length, AUTHKEY_LIMIT);
    assert_int_equal(authkey_load(&key, "/nonexistent/key"), MUSTER_ESYSTEM);
    assert_non_null(strstr(muster_last_error(), "/nonexistent/key"));
}

static void the_environment_gives_the_key_when_no_file_is_named(void **state)
{
    (void)state;
    struct authkey key;
    unsetenv("MUSTER_AUTHKEY_FILE");
    unsetenv("MUSTER_AUTHKEY");
    assert_int_equal(authkey_load(&key, NULL), 0);
    assert_int_equal(key.length, 0);
    setenv("MUSTER_AUTHKEY", "from the environment", 1);
    assert_int_equal(authkey_load(&key, NULL), 0);
    assert_int_equal(key.length, 20);
    write_key("file", 4, 0600);
    setenv("MUSTER_AUTHKEY_FILE", path, 1);
    assert_int_equal(authkey_load(&key, NULL), 0);
    assert_int_equal(key.length, 4);
    unsetenv("MUSTER_AUTHKEY_FILE");
    unsetenv("MUSTER_AUTHKEY");
}

static int set_up(void **state)
{
    (void)state;
    int fd = mkstemp(path);
    if (fd >= 0)
        close(fd);
    return fd < 0;
}

static int tear_down(void **state)
{
    (void)state;
    return unlink(path);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_proof_depends_on_all_that_it_is_about),
        cmocka_unit_test(a_proof_of_another_length_is_wrong),
        cmocka_unit_test(a_key_file_is_read_without_its_newline),
        cmocka_unit_test(a_key_file_that_others_can_read_is_refused),
        cmocka_unit_test(a_key_file_that_is_empty_too_long_or_missing_is_refused),
        cmocka_unit_test(the_environment_gives_the_key_when_no_file_is_named),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
