#include "channellayer/bus/fernet.h"

#include <string.h>

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/rand.h>

#include "base/alloc.h"
#include "channellayer/bus/base64url.h"

enum {
    VERSION = 0x80,
    TIME_AT = 1,
    IV_AT = 9,
    TEXT_AT = 25,
    BLOCK = 16,
    MAC_SIZE = 32,
    LEAST = TEXT_AT + BLOCK + MAC_SIZE, /* bytes of a token, not yet in base 64 */
};

struct fernet {
    EVP_CIPHER_CTX *cipher;
    size_t count;
    unsigned char keys[][FERNET_KEY_SIZE];
};

struct fernet *fernet_create(const unsigned char *keys, size_t count)
{
    if (count == 0 || count > FERNET_KEYS)
        return NULL;
    struct fernet *fernet = mem_try_alloc(sizeof *fernet + count * FERNET_KEY_SIZE);
    if (fernet == NULL)
        return NULL;
    fernet->cipher = EVP_CIPHER_CTX_new();
    if (fernet->cipher == NULL) {
        mem_free(fernet);
        return NULL;
    }
    fernet->count = count;
    memcpy(fernet->keys, keys, count * FERNET_KEY_SIZE);
    return fernet;
}

void fernet_destroy(struct fernet *fernet)
{
    if (fernet == NULL)
        return;
    EVP_CIPHER_CTX_free(fernet->cipher);
    OPENSSL_cleanse(fernet->keys, fernet->count * FERNET_KEY_SIZE);
    mem_free(fernet);
}

static int sign(const unsigned char *key, const unsigned char *data, size_t length, unsigned char mac[MAC_SIZE])
{
    unsigned size = MAC_SIZE;
    return HMAC(EVP_sha256(), key, FERNET_KEY_SIZE / 2, data, length, mac, &size) != NULL ? 0 : -1;
}

/* Runs data, which is shorter than INT_MAX, through AES: 0 and how many bytes came out. */
static int run_cipher(EVP_CIPHER_CTX *cipher, int encrypt, const unsigned char *key, const unsigned char *iv, unsigned char *out,
                      const unsigned char *data, size_t length, size_t *written)
{
    int first, last;
    if (EVP_CipherInit_ex(cipher, EVP_aes_128_cbc(), NULL, key + FERNET_KEY_SIZE / 2, iv, encrypt) != 1 ||
        EVP_CipherUpdate(cipher, out, &first, data, (int)length) != 1 || EVP_CipherFinal_ex(cipher, out + first, &last) != 1)
        return -1;
    *written = (size_t)first + (size_t)last;
    return 0;
}

static void write_time(unsigned char *out, uint64_t now)
{
    for (int i = 7; i >= 0; i--, now >>= 8)
        out[i] = (unsigned char)now;
}

static uint64_t read_time(const unsigned char *bytes)
{
    uint64_t value = 0;
    for (int i = 0; i < 8; i++)
        value = value << 8 | bytes[i];
    return value;
}

/* The token of data, in size bytes that are not yet in base 64. */
static int seal(struct fernet *fernet, unsigned char *raw, size_t size, const void *data, size_t length, uint64_t now)
{
    size_t written;
    raw[0] = VERSION;
    write_time(raw + TIME_AT, now);
    if (RAND_bytes(raw + IV_AT, BLOCK) != 1 ||
        run_cipher(fernet->cipher, 1, fernet->keys[0], raw + IV_AT, raw + TEXT_AT, data, length, &written) != 0)
        return -1;
    return sign(fernet->keys[0], raw, size - MAC_SIZE, raw + size - MAC_SIZE);
}

int fernet_encrypt(struct fernet *fernet, struct bytes *out, const void *data, size_t length, uint64_t now)
{
    size_t before = out->length;
    if (length > INT32_MAX / 2)
        return FERNET_NO_MEMORY;
    size_t size = TEXT_AT + length / BLOCK * BLOCK + BLOCK + MAC_SIZE;
    unsigned char *raw = mem_try_alloc(size);
    unsigned char *token = raw != NULL ? bytes_extend(out, base64url_length(size)) : NULL;
    int result = token != NULL && seal(fernet, raw, size, data, length, now) == 0 ? FERNET_OK : FERNET_NO_MEMORY;
    if (result == FERNET_OK)
        base64url_encode(token, raw, size);
    else
        bytes_cut(out, before);
    mem_free(raw);
    return result;
}

static int fresh(const unsigned char *raw, uint64_t ttl, uint64_t now)
{
    uint64_t made = read_time(raw + TIME_AT);
    if (ttl == 0)
        return 1;
    return made <= now ? now - made <= ttl : made - now <= FERNET_SKEW;
}

/* The key that has signed it; NULL: none has. */
static const unsigned char *signer(const struct fernet *fernet, const unsigned char *raw, size_t size)
{
    unsigned char mac[MAC_SIZE];
    for (size_t i = 0; i < fernet->count; i++) {
        if (sign(fernet->keys[i], raw, size - MAC_SIZE, mac) == 0 && CRYPTO_memcmp(mac, raw + size - MAC_SIZE, MAC_SIZE) == 0)
            return fernet->keys[i];
    }
    return NULL;
}

static int unseal(struct fernet *fernet, struct bytes *out, const unsigned char *raw, size_t size, uint64_t ttl, uint64_t now)
{
    size_t before = out->length, length = size - TEXT_AT - MAC_SIZE, written;
    if (raw[0] != VERSION || length % BLOCK != 0 || !fresh(raw, ttl, now))
        return FERNET_INVALID;
    const unsigned char *key = signer(fernet, raw, size);
    if (key == NULL)
        return FERNET_INVALID;
    unsigned char *plain = bytes_extend(out, length + BLOCK); /* AES may write a block more than comes out */
    if (plain == NULL)
        return FERNET_NO_MEMORY;
    int result = run_cipher(fernet->cipher, 0, key, raw + IV_AT, plain, raw + TEXT_AT, length, &written) == 0 ? FERNET_OK : FERNET_INVALID;
    bytes_cut(out, result == FERNET_OK ? before + written : before);
    return result;
}

int fernet_decrypt(struct fernet *fernet, struct bytes *out, const void *token, size_t length, uint64_t ttl, uint64_t now)
{
    if (length > INT32_MAX || length % 4 != 0 || length < base64url_length(LEAST))
        return FERNET_INVALID;
    unsigned char *raw = mem_try_alloc(length / 4 * 3);
    if (raw == NULL)
        return FERNET_NO_MEMORY;
    long size = base64url_decode(raw, token, length);
    int result = size < LEAST ? FERNET_INVALID : unseal(fernet, out, raw, (size_t)size, ttl, now);
    mem_free(raw);
    return result;
}
