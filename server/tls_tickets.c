#include "server/tls_tickets.h"

#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/rand.h>
#include <openssl/sha.h>
#include <pthread.h>
#include <string.h>
#include <time.h>

#include "base/alloc.h"

enum { NAME = 16, AES_KEY = 32, MAC_KEY = 32, PERIOD_BYTES = 8 };

/* More periods than a server runs for: a clock that was wrong at the start costs no more hashing. */
enum { MOST_PERIODS = 1000000 };

struct ticket_key {
    unsigned char name[NAME];
    unsigned char aes[AES_KEY];
    unsigned char mac[MAC_KEY];
};

struct tls_tickets {
    pthread_mutex_t lock;
    uint64_t period;                          /* of the present secret */
    unsigned char secret[SHA512_DIGEST_LENGTH];
    struct ticket_key keys[1 + TICKET_PERIODS_KEPT]; /* the present one first */
};

/* SHA-512 over purpose and the secret. */
static void derive(const struct tls_tickets *tickets, char purpose, unsigned char *result)
{
    unsigned char input[1 + SHA512_DIGEST_LENGTH] = { (unsigned char)purpose };
    memcpy(input + 1, tickets->secret, SHA512_DIGEST_LENGTH);
    SHA512(input, sizeof input, result);
    OPENSSL_cleanse(input, sizeof input);
}

static void make_key(const struct tls_tickets *tickets, struct ticket_key *key)
{
    unsigned char bytes[SHA512_DIGEST_LENGTH];
    derive(tickets, 'n', bytes);
    memcpy(key->name, bytes, NAME);
    derive(tickets, 'k', bytes);
    memcpy(key->aes, bytes, AES_KEY);
    memcpy(key->mac, bytes + AES_KEY, MAC_KEY);
    OPENSSL_cleanse(bytes, sizeof bytes);
}

static void advance(struct tls_tickets *tickets, uint64_t period)
{
    unsigned char next[SHA512_DIGEST_LENGTH];
    if (period > tickets->period + MOST_PERIODS)
        tickets->period = period - MOST_PERIODS;
    while (tickets->period < period) {
        derive(tickets, 's', next);
        memcpy(tickets->secret, next, sizeof next);
        tickets->period++;
        memmove(&tickets->keys[1], &tickets->keys[0], TICKET_PERIODS_KEPT * sizeof tickets->keys[0]);
        make_key(tickets, &tickets->keys[0]);
    }
    OPENSSL_cleanse(next, sizeof next);
}

static uint64_t present(void)
{
    return (uint64_t)time(NULL) / TICKET_PERIOD;
}

struct tls_tickets *tls_tickets_create(const unsigned char *secret)
{
    unsigned char own[TLS_TICKET_KEYS];
    struct tls_tickets *tickets = mem_try_alloc(sizeof *tickets);
    if (tickets == NULL)
        return NULL;
    memset(tickets, 0, sizeof *tickets);
    if (secret == NULL && RAND_bytes(own, sizeof own) != 1) {
        mem_free(tickets);
        return NULL;
    }
    tickets->period = present();
    if (secret != NULL) {
        tickets->period = 0;
        for (size_t i = 0; i < PERIOD_BYTES; i++)
            tickets->period = tickets->period << 8 | secret[i];
    }
    const unsigned char *bytes = secret != NULL ? secret : own;
    SHA512(bytes + PERIOD_BYTES, TLS_TICKET_KEYS - PERIOD_BYTES, tickets->secret);
    OPENSSL_cleanse(own, sizeof own);
    pthread_mutex_init(&tickets->lock, NULL);
    make_key(tickets, &tickets->keys[0]);
    for (size_t i = 1; i <= TICKET_PERIODS_KEPT; i++)
        tickets->keys[i] = tickets->keys[0]; /* there was none before */
    advance(tickets, present());
    return tickets;
}

void tls_tickets_destroy(struct tls_tickets *tickets)
{
    if (tickets == NULL)
        return;
    pthread_mutex_destroy(&tickets->lock);
    OPENSSL_cleanse(tickets, sizeof *tickets);
    mem_free(tickets);
}

void tls_tickets_advance(struct tls_tickets *tickets, uint64_t period)
{
    pthread_mutex_lock(&tickets->lock);
    advance(tickets, period);
    pthread_mutex_unlock(&tickets->lock);
}

/* The present key, or the one that has this name. Its age in periods; -1: there is none. */
static int find_key(struct tls_tickets *tickets, const unsigned char *name, struct ticket_key *key)
{
    int age = 0;
    pthread_mutex_lock(&tickets->lock);
    advance(tickets, present());
    while (name != NULL && age <= TICKET_PERIODS_KEPT && CRYPTO_memcmp(tickets->keys[age].name, name, NAME) != 0)
        age++;
    if (age <= TICKET_PERIODS_KEPT)
        *key = tickets->keys[age];
    pthread_mutex_unlock(&tickets->lock);
    return age <= TICKET_PERIODS_KEPT ? age : -1;
}

static int begin(const struct ticket_key *key, const unsigned char *iv, EVP_CIPHER_CTX *cipher, EVP_MAC_CTX *mac, int sealing)
{
    OSSL_PARAM parameters[] = {
        OSSL_PARAM_construct_octet_string(OSSL_MAC_PARAM_KEY, (void *)key->mac, MAC_KEY),
        OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, (char *)"sha256", 0),
        OSSL_PARAM_construct_end(),
    };
    return EVP_MAC_CTX_set_params(mac, parameters) == 1 && EVP_CipherInit_ex(cipher, EVP_aes_256_cbc(), NULL, key->aes, iv, sealing) == 1;
}

/* OpenSSL's: -1 an error; 0: the ticket is not ours, or too old; 1: it is good; 2: the same, and the client gets a new one. */
static int on_ticket(SSL *ssl, unsigned char *name, unsigned char *iv, EVP_CIPHER_CTX *cipher, EVP_MAC_CTX *mac, int sealing)
{
    struct tls_tickets *tickets = SSL_CTX_get_app_data(SSL_get_SSL_CTX(ssl));
    struct ticket_key key;
    int age = find_key(tickets, sealing ? NULL : name, &key);
    if (age < 0)
        return 0;
    if (sealing && RAND_bytes(iv, EVP_CIPHER_get_iv_length(EVP_aes_256_cbc())) != 1)
        return -1;
    if (sealing)
        memcpy(name, key.name, NAME);
    int begun = begin(&key, iv, cipher, mac, sealing);
    OPENSSL_cleanse(&key, sizeof key);
    return !begun ? -1 : age == 0 ? 1 : 2;
}

int tls_tickets_use(struct tls_tickets *tickets, SSL_CTX *ssl)
{
    if (SSL_CTX_set_app_data(ssl, tickets) != 1 || SSL_CTX_set_tlsext_ticket_key_evp_cb(ssl, on_ticket) != 1)
        return -1;
    return 0;
}
