/* fernet.h: Fernet tokens, as channels_redis encrypts messages. Source: the Fernet specification, version 0x80: time, IV,
 * AES-128-CBC, HMAC-SHA256, in base 64.
 *
 * Owner:   a bus.
 * Thread:  one at a time: it keeps its cipher's state.
 * Limits:  FERNET_KEYS keys: the first encrypts, all of them decrypt.
 */
#ifndef PENEUS_CHANNELLAYER_BUS_FERNET_H
#define PENEUS_CHANNELLAYER_BUS_FERNET_H

#include <stddef.h>
#include <stdint.h>

#include "channellayer/bytes.h"

enum {
    FERNET_KEYS = 64,
    FERNET_KEY_SIZE = 32, /* 16 that sign, 16 that encrypt: channels_redis takes the SHA-256 of what the user wrote */
    FERNET_SKEW = 60,     /* s that a token may come from the future */
};

enum fernet_result {
    FERNET_OK = 0,
    FERNET_INVALID = -1,   /* no token, changed, cut off, of another key, or too old */
    FERNET_NO_MEMORY = -2, /* or no random numbers */
};

struct fernet;

/* keys: count times FERNET_KEY_SIZE bytes, copied. NULL when there is no memory, or count is 0 or too large. */
struct fernet *fernet_create(const unsigned char *keys, size_t count);
void fernet_destroy(struct fernet *fernet); /* NULL is allowed */

/* Appends a token of data, made at now (s since 1970), to out. FERNET_OK, FERNET_NO_MEMORY. */
int fernet_encrypt(struct fernet *fernet, struct bytes *out, const void *data, size_t length, uint64_t now);

/* Appends what is in token to out. ttl: s that it may be old; 0: any. FERNET_OK, FERNET_INVALID, FERNET_NO_MEMORY: out is as it was. */
int fernet_decrypt(struct fernet *fernet, struct bytes *out, const void *token, size_t length, uint64_t ttl, uint64_t now);

#endif
