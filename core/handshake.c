/*
 * Both sides prove that they hold the authkey.
 *
 * The text under the HMAC is a label that ends in a zero byte, the peer's nonce, the coordinator's nonce, and the
 * encoded HELLO. The label keeps one side's proof from serving as the other's; the nonces keep old ones from serving
 * again; the HELLO ties role and identity to it.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/errors.h"
#include "core/handshake.h"
#include "core/hmac.h"

_Static_assert(MAC_BYTES == HMAC_BYTES, "a proof is one HMAC");

int proof_make(const struct authkey *key, enum proof who, struct bytes hello,
               const unsigned char peer_nonce[NONCE_BYTES], const unsigned char coordinator_nonce[NONCE_BYTES],
               unsigned char mac[MAC_BYTES])
{
    static const char peer_label[] = "muster 1 peer", coordinator_label[] = "muster 1 coordinator";
    struct bytes parts[] = {
        {peer_label, sizeof peer_label}, {peer_nonce, NONCE_BYTES}, {coordinator_nonce, NONCE_BYTES}, hello};
    if (who == PROOF_COORDINATOR)
        parts[0] = (struct bytes){coordinator_label, sizeof coordinator_label};
    if (!hmac_sha256((struct bytes){key->bytes, key->length}, parts, sizeof parts / sizeof *parts, mac))
        return error_set(MUSTER_EINTERNAL, "SHA-256 failed");
    return 0;
}

bool proof_equal(const unsigned char a[MAC_BYTES], struct bytes b)
{
    if (b.length != MAC_BYTES)
        return false;
    const volatile unsigned char *left = a, *right = b.data;
    unsigned char difference = 0;
    for (size_t i = 0; i < MAC_BYTES; i++)
        difference |= left[i] ^ right[i];
    return difference == 0;
}

/* --- the authkey -------------------------------------------------------------------------------------------------- */

static int authkey_too_long(const char *where)
{
    return error_set(MUSTER_EAUTH, "the authkey in %s is longer than %d bytes: use a shorter one", where,
                     AUTHKEY_LIMIT);
}

/* Reads to the end, or until `text` is full. */
static int read_all(int fd, const char *path, char *text, size_t size, size_t *length)
{
    *length = 0;
    while (*length < size) {
        ssize_t got = read(fd, text + *length, size - *length);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return error_errno("cannot read the authkey file '%s'", path);
        if (got == 0)
            break;
        *length += (size_t)got;
    }
    return 0;
}

/* Takes what is in the file, without the end of its line. */
static int authkey_take(struct authkey *key, const char *path, const char *text, size_t length)
{
    if (length > 0 && text[length - 1] == '\n')
        length--;
    if (length > 0 && text[length - 1] == '\r')
        length--;
    if (length > AUTHKEY_LIMIT)
        return authkey_too_long(path);
    if (length == 0)
        return error_set(
            MUSTER_EAUTH,
            "the authkey file '%s' is empty: put a secret into it, such as the output of 'openssl rand -hex 32'", path);
    memcpy(key->bytes, text, length);
    key->length = length;
    return 0;
}

static int authkey_read(struct authkey *key, int fd, const char *path)
{
    char text[AUTHKEY_LIMIT + 3]; /* room for an end of line, and a byte more to see that it is too long */
    size_t length;
    int status = read_all(fd, path, text, sizeof text, &length);
    if (status == 0)
        status = length == sizeof text ? authkey_too_long(path) : authkey_take(key, path, text, length);
    explicit_bzero(text, sizeof text);
    return status;
}

static int authkey_load_file(struct authkey *key, const char *path)
{
    struct stat info;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return error_errno("cannot open the authkey file '%s'", path);
    int status;
    if (fstat(fd, &info) != 0)
        status = error_errno("cannot examine the authkey file '%s'", path);
    else if (info.st_mode & (S_IRGRP | S_IWGRP | S_IROTH | S_IWOTH))
        status = error_set(
            MUSTER_EAUTH,
            "the authkey file '%s' can be read or written by others than its owner (mode %03o): use 'chmod 600'", path,
            (unsigned)(info.st_mode & 0777));
    else
        status = authkey_read(key, fd, path);
    close(fd);
    return status;
}

int authkey_load(struct authkey *key, const char *path)
{
    const char *text;
    key->length = 0;
    if (path || ((path = getenv("MUSTER_AUTHKEY_FILE")) && *path))
        return authkey_load_file(key, path);
    if (!(text = getenv("MUSTER_AUTHKEY")))
        return 0;
    size_t length = strlen(text);
    if (length > AUTHKEY_LIMIT)
        return authkey_too_long("MUSTER_AUTHKEY");
    memcpy(key->bytes, text, length);
    key->length = length;
    return 0;
}
