/*
 * HMAC-SHA256 (RFC 2104) over mbed TLS's SHA-256. mbed TLS's own HMAC allocates its context; this one needs no memory,
 * so the generator of random numbers cannot fail.
 */
#ifndef CORE_HMAC_H
#define CORE_HMAC_H

#include "core/buffer.h"

#define HMAC_BYTES 32

/* The HMAC of the parts, one after the other. False if the hash cannot be computed (a failing accelerator). */
bool hmac_sha256(struct bytes key, const struct bytes *parts, size_t count, unsigned char mac[HMAC_BYTES]);

#endif
