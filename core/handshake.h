/*
 * Proof of the authkey, both ways, without sending it: HMAC-SHA256 under the authkey over a label and both sides'
 * nonces and the encoded HELLO. Without an authkey (loopback or ipc only) the key is empty and the exchange is the
 * same.
 */
#ifndef CORE_HANDSHAKE_H
#define CORE_HANDSHAKE_H

#include "core/buffer.h"

#define NONCE_BYTES 32
#define MAC_BYTES 32
#define AUTHKEY_LIMIT 4096

struct authkey {
    unsigned char bytes[AUTHKEY_LIMIT];
    size_t length; /* 0: none */
};

enum proof { PROOF_PEER, PROOF_COORDINATOR };
/* `hello` is the encoded HELLO message. 0 or MUSTER_EINTERNAL. */
int proof_make(const struct authkey *key, enum proof who, struct bytes hello,
               const unsigned char peer_nonce[NONCE_BYTES], const unsigned char coordinator_nonce[NONCE_BYTES],
               unsigned char mac[MAC_BYTES]);
bool proof_equal(const unsigned char a[MAC_BYTES], struct bytes b); /* in constant time */

/* From a file (trailing newline removed; refuses an empty file, and one that others than the owner can read or write)
 * or, with path NULL, from MUSTER_AUTHKEY_FILE or MUSTER_AUTHKEY in the environment; none there: length 0 and success.
 * MUSTER_EAUTH, MUSTER_ESYSTEM with detail. */
int authkey_load(struct authkey *key, const char *path);

#endif
