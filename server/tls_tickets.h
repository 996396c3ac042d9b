/* tls_tickets.h: the keys that TLS session tickets are sealed with. They change with time.
 *
 * Owner:   a TLS context creates and destroys it.
 * Thread:  any; one lock, held for a moment.
 * Limits:  each key seals for TICKET_PERIOD seconds, and opens for TICKET_PERIODS_KEPT periods more; then it is overwritten.
 *
 * Each period's secret is the hash of the one before. So processes that begin with the same secret have the same keys without a word
 * between them, and a secret that leaks opens no session of the periods before it.
 */
#ifndef PENEUS_SERVER_TLS_TICKETS_H
#define PENEUS_SERVER_TLS_TICKETS_H

#include <openssl/ssl.h>
#include <stdint.h>

/* A session is resumed for two hours at most, which is OpenSSL's own limit. */
enum { TICKET_PERIOD = 3600, TICKET_PERIODS_KEPT = 2 };

/* Bytes of a shared secret: the period that it is for, 8 bytes, the highest first; then what is secret. */
enum { TLS_TICKET_KEYS = 80 };

struct tls_tickets;

/* secret: TLS_TICKET_KEYS bytes; NULL: one of its own. NULL: there is no memory, or no randomness. */
struct tls_tickets *tls_tickets_create(const unsigned char *secret);
void tls_tickets_destroy(struct tls_tickets *tickets);

/* The tickets of all sessions of ssl are sealed and opened with these, which outlive it. 0, or -1: no memory. */
int tls_tickets_use(struct tls_tickets *tickets, SSL_CTX *ssl);

/* The clock says that it is this period. Without a call it looks itself when a ticket is sealed or opened. A clock that goes back does
 * nothing. */
void tls_tickets_advance(struct tls_tickets *tickets, uint64_t period);

#endif
