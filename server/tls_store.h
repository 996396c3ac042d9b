/* tls_store.h: the present TLS context of a listener, which a reload replaces.
 *
 * Owner:   counted: its creator, each listener, and each connection that waits for a PROXY header.
 * Thread:  any; a lock that is held for a moment.
 * Limits:  one context; those before it live on with their connections.
 */
#ifndef PENEUS_SERVER_TLS_STORE_H
#define PENEUS_SERVER_TLS_STORE_H

struct tls_context;
struct tls_store;

/* Takes over context's reference. */
struct tls_store *tls_store_create(struct tls_context *context);

/* store with one more reference, or one less; NULL is allowed for both. */
struct tls_store *tls_store_retain(struct tls_store *store);
void tls_store_release(struct tls_store *store);

/* Who comes from now on is served with context, whose reference is taken over. */
void tls_store_replace(struct tls_store *store, struct tls_context *context);

/* The present context, with a reference for the caller. */
struct tls_context *tls_store_context(struct tls_store *store);

#endif
