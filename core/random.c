/*
 * The generator: block n is HMAC-SHA256(key, n), and the key is the HMAC of the seed. Same seed, same bytes.
 */
#include <assert.h>
#include <errno.h>
#include <sys/random.h>

#include "core/errors.h"
#include "core/hmac.h"
#include "core/random.h"

void random_seed(struct random *random, const void *seed, size_t length)
{
    *random = (struct random){.used = sizeof random->block};
    bool good = hmac_sha256(bytes_string("muster random"), &(struct bytes){seed, length}, 1, random->key);
    assert(good);
    (void)good;
}

int random_seed_system(struct random *random)
{
    unsigned char seed[32];
    size_t have = 0;
    while (have < sizeof seed) {
        ssize_t got = getrandom(seed + have, sizeof seed - have, 0);
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0)
            return error_errno("cannot read random bytes from the kernel");
        have += (size_t)got;
    }
    random_seed(random, seed, sizeof seed);
    return 0;
}

static void random_refill(struct random *random)
{
    unsigned char counter[8];
    for (size_t i = 0; i < sizeof counter; i++)
        counter[i] = (unsigned char)(random->counter >> (8 * i));
    struct bytes key = {random->key, sizeof random->key};
    bool good = hmac_sha256(key, &(struct bytes){counter, sizeof counter}, 1, random->block);
    assert(good);
    (void)good;
    random->counter++;
    random->used = 0;
}

void random_bytes(struct random *random, void *out, size_t length)
{
    unsigned char *next = out;
    while (length > 0) {
        if (random->used == sizeof random->block)
            random_refill(random);
        size_t part = sizeof random->block - random->used;
        if (part > length)
            part = length;
        memcpy(next, random->block + random->used, part);
        random->used += part;
        next += part;
        length -= part;
    }
}

uint64_t random_u64(struct random *random)
{
    uint64_t value;
    do {
        unsigned char bytes[8];
        random_bytes(random, bytes, sizeof bytes);
        value = 0;
        for (size_t i = 0; i < sizeof bytes; i++)
            value |= (uint64_t)bytes[i] << (8 * i);
    } while (value == 0);
    return value;
}
