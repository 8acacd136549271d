/*
 * HMAC-SHA256: the hash of (key xor opad, hash of (key xor ipad, text)), with a long key replaced by its hash.
 */
#include <mbedtls/platform_util.h>
#include <mbedtls/sha256.h>

#include "core/hmac.h"

#define BLOCK_BYTES 64

static bool hash_parts(struct bytes first, const struct bytes *parts, size_t count, unsigned char hash[HMAC_BYTES])
{
    mbedtls_sha256_context context;
    mbedtls_sha256_init(&context);
    bool good = mbedtls_sha256_starts_ret(&context, 0) == 0 &&
                mbedtls_sha256_update_ret(&context, first.data, first.length) == 0;
    for (size_t i = 0; good && i < count; i++)
        if (parts[i].length > 0)
            good = mbedtls_sha256_update_ret(&context, parts[i].data, parts[i].length) == 0;
    good = good && mbedtls_sha256_finish_ret(&context, hash) == 0;
    mbedtls_sha256_free(&context);
    return good;
}

bool hmac_sha256(struct bytes key, const struct bytes *parts, size_t count, unsigned char mac[HMAC_BYTES])
{
    unsigned char block[BLOCK_BYTES] = {0}, inner[HMAC_BYTES];
    if (key.length > BLOCK_BYTES) {
        if (mbedtls_sha256_ret(key.data, key.length, block, 0) != 0)
            return false;
    } else if (key.length > 0) {
        memcpy(block, key.data, key.length);
    }
    for (size_t i = 0; i < BLOCK_BYTES; i++)
        block[i] ^= 0x36;
    bool good = hash_parts((struct bytes){block, BLOCK_BYTES}, parts, count, inner);
    for (size_t i = 0; i < BLOCK_BYTES; i++)
        block[i] ^= 0x36 ^ 0x5c;
    good = good && hash_parts((struct bytes){block, BLOCK_BYTES}, &(struct bytes){inner, HMAC_BYTES}, 1, mac);
    mbedtls_platform_zeroize(block, sizeof block);
    mbedtls_platform_zeroize(inner, sizeof inner);
    return good;
}
