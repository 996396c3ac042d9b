/* tls_info.h: what was agreed in a TLS handshake, for the application: version, cipher, certificates.
 *
 * Owner:   counted: the connection holds one reference, each EVENT_REQUEST another.
 * Thread:  made on the I/O thread, then unchanging; released by any.
 * Limits:  a client's certificates: what OpenSSL takes in a handshake, 100 KiB.
 */
#ifndef PENEUS_SERVER_TLS_INFO_H
#define PENEUS_SERVER_TLS_INFO_H

#include <openssl/ssl.h>
#include <stdatomic.h>
#include <stdint.h>

struct tls_context;

struct tls_info {
    atomic_uint references;
    uint16_t version;               /* as TLS writes it: 0x0303 is TLS 1.2, 0x0304 TLS 1.3 */
    uint16_t cipher;                /* the same */
    struct tls_context *context;    /* counted: it has the next one */
    const char *server_certificate; /* PEM */
    char *client_name;              /* distinguished name, RFC 4514; NULL: the client has shown no certificate */
    char *client_chain;             /* PEM, the leaf first, each NUL-terminated, an empty one at the end; NULL: none */
};

/* Of a handshake that is over; NULL: no memory. */
struct tls_info *tls_info_create(struct tls_context *context, const SSL *ssl);

/* info with one more reference, or one less; NULL is allowed for both. */
struct tls_info *tls_info_retain(struct tls_info *info);
void tls_info_release(struct tls_info *info);

#endif
