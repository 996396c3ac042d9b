/* tls_context.h: what a TLS listener serves with: certificates and keys, who may come, ciphers, versions, protocols.
 *
 * Owner:   counted: its store holds one reference, each connection another, so that a reload changes nothing for who is there.
 * Thread:  made by any thread; then unchanging, and used by the I/O thread.
 * Limits:  none; everything in it comes from the settings.
 *
 * A session is resumed by ticket alone (tls_tickets.h), with keys that end with the context: after a reload (of a certificate, of whom to
 * trust) every client is looked at again. Where clients show certificates nothing is resumed, as a ticket does not hold their chain.
 */
#ifndef PENEUS_SERVER_TLS_CONTEXT_H
#define PENEUS_SERVER_TLS_CONTEXT_H

#include <openssl/ssl.h>
#include <stddef.h>

#include "server/tls_tickets.h"

enum tls_verify {
    TLS_VERIFY_NONE,     /* clients are not asked for a certificate */
    TLS_VERIFY_OPTIONAL, /* they may show one; a bad one ends the handshake */
    TLS_VERIFY_REQUIRED,
};

/* Paths of PEM files. */
struct tls_identity_spec {
    const char *certificate; /* the leaf first, then its chain */
    const char *key;         /* NULL: it stands in certificate */
    const char *chain;       /* more of the chain; NULL: none */
    const char *password;    /* of key; NULL: none */
};

struct tls_spec {
    const struct tls_identity_spec *identities; /* the first is for clients that name no host, or an unknown one */
    size_t identity_count;                      /* never 0 */
    const char *ca_file;                        /* of clients; NULL: none */
    const char *ca_directory;                   /* the same, as hashed by c_rehash; NULL: none */
    enum tls_verify verify;
    const char *ciphers;        /* OpenSSL's list; names that begin with TLS_ are for TLS 1.3; NULL: OpenSSL's own */
    int minimum_version;        /* TLS1_2_VERSION and the like; 0: TLS 1.2 */
    const char *dh_parameters;  /* PEM file; NULL: OpenSSL's own */
    const unsigned char *alpn;  /* the protocols, the best first, as ALPN writes them: each behind its length */
    size_t alpn_length;         /* 0: ALPN is not answered */
    const unsigned char *ticket_keys; /* TLS_TICKET_KEYS bytes (tls_tickets.h) that processes share; NULL: keys of its own */
};

/* What of a spec is wrong. */
enum tls_problem {
    TLS_OK = 0,
    TLS_BAD_CERTIFICATE = -1,
    TLS_BAD_KEY = -2,
    TLS_BAD_PASSWORD = -3, /* wrong, or missing */
    TLS_BAD_CHAIN = -4,
    TLS_BAD_CA = -5,
    TLS_BAD_CIPHERS = -6,
    TLS_BAD_VERSION = -7,
    TLS_BAD_DH = -8,
    TLS_NO_MEMORY = -9,
};

struct tls_context;

/* Reads the files. TLS_OK; or what is wrong, and in error (size bytes) a sentence that names the file and the cause. */
enum tls_problem tls_context_create(struct tls_context **result, const struct tls_spec *spec, char *error, size_t size);

/* context with one more reference, or one less; NULL is allowed for the second. Any thread. */
struct tls_context *tls_context_retain(struct tls_context *context);
void tls_context_release(struct tls_context *context);

/* A new server's side of a connection; NULL: no memory. */
SSL *tls_context_open(struct tls_context *context);

/* The keys of its sessions. */
struct tls_tickets *tls_context_tickets(const struct tls_context *context);

/* The certificate that ssl has shown, as PEM; it lives as long as context. */
const char *tls_context_certificate(const struct tls_context *context, const SSL *ssl);

#endif
