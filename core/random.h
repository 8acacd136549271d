/*
 * A seeded generator: HMAC-SHA256 in counter mode. A shell seeds it from the operating system, so tokens and nonces
 * cannot be guessed; a test seeds it with a number, so a run repeats bit for bit.
 */
#ifndef CORE_RANDOM_H
#define CORE_RANDOM_H

#include <stddef.h>
#include <stdint.h>

struct random {
    unsigned char key[32];
    uint64_t counter;
    unsigned char block[32];
    size_t used; /* bytes of block given out */
};

void random_seed(struct random *random, const void *seed, size_t length);
int random_seed_system(struct random *random); /* from getrandom(2); 0 or MUSTER_ESYSTEM */
void random_bytes(struct random *random, void *out, size_t length);
uint64_t random_u64(struct random *random); /* never 0 */

#endif
