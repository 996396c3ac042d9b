/* tls.h: one connection's TLS, without a socket: encrypted bytes in, plain bytes out, and the other way.
 *
 * Owner:   the transport creates and destroys it.
 * Thread:  the I/O thread.
 * Limits:  input is taken whole: OpenSSL keeps at most the record that is not complete (16 KiB). Output: what tls_write() is given,
 *          and TLS_CHATTER_LIMIT bytes of what TLS itself has to say; who makes it say more without reading it is closed.
 *
 *   HANDSHAKE ──▶ OPEN ──tls_close()──▶ CLOSED
 *       └───────────┴──── an error ────▶ FAILED
 */
#ifndef PENEUS_SERVER_TLS_H
#define PENEUS_SERVER_TLS_H

#include <stdbool.h>
#include <stddef.h>

#include "server/buffer.h"

struct tls;
struct tls_context;
struct tls_info;

/* The most plain bytes of a record, and the most that encrypting adds to it. */
enum { TLS_RECORD = 16384, TLS_OVERHEAD = 64, TLS_CHATTER_LIMIT = 128 * 1024 };

enum tls_state {
    TLS_HANDSHAKE, /* waits for the client */
    TLS_OPEN,
    TLS_CLOSED,    /* we have said goodbye: nothing can be written, the client's bytes are still read */
    TLS_FAILED,    /* an alert may be in the output; nothing else goes in or out */
};

enum tls_result {
    TLS_MORE,  /* plain is full, or the handshake is over: call again */
    TLS_WAIT,  /* all input is taken */
    TLS_ENDED, /* the client has said goodbye: nothing comes any more */
    TLS_BROKEN, /* state is TLS_FAILED */
    TLS_PLAIN_HTTP, /* the first bytes are an HTTP request: state is TLS_FAILED, and the output empty */
};

/* Retains context. NULL: no memory. */
struct tls *tls_create(struct tls_context *context);
void tls_destroy(struct tls *tls); /* NULL is allowed */

enum tls_state tls_state(const struct tls *tls);

/* Why the state is TLS_FAILED, in OpenSSL's words; lives as long as the process. */
const char *tls_reason(const struct tls *tls);

/* Input to be taken by tls_read(), which is called until it says something else than TLS_MORE; bytes live as long. */
void tls_feed(struct tls *tls, const unsigned char *bytes, size_t length);

/* Goes on with the handshake, and puts what is decrypted into plain: *got bytes of it. */
enum tls_result tls_read(struct tls *tls, unsigned char *plain, size_t size, size_t *got);

/* Encrypts length bytes, at least 1, into the output; state is TLS_OPEN. 0, or -1 when there is no memory: state is TLS_FAILED. */
int tls_write(struct tls *tls, const void *bytes, size_t length);

/* Says goodbye (close_notify), in state TLS_OPEN. */
void tls_close(struct tls *tls);

/* Encrypted bytes to be sent; whoever sends them consumes them. */
struct buffer *tls_output(struct tls *tls);

/* What was agreed, from TLS_OPEN on; else NULL. */
struct tls_info *tls_info(const struct tls *tls);

/* The protocol that was chosen by ALPN; *length 0: none. */
const char *tls_protocol(const struct tls *tls, size_t *length);

#endif
