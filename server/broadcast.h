/* broadcast.h: one WebSocket message for many sockets: framed once, queued by reference.
 *
 * Owner:   counted: the command that brings it, and every outbox it waits in.
 * Thread:  any; nothing is written after broadcast_create(), but by the I/O thread, unsettled and instead.
 * Limits:  what waits for one socket: websocket_write_limit; what waits for the I/O thread: broadcast_backlog (settings.h).
 */
#ifndef PENEUS_SERVER_BROADCAST_H
#define PENEUS_SERVER_BROADCAST_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* What happens where a socket's outbox is full. */
enum broadcast_policy {
    BROADCAST_DROP_OLDEST, /* the oldest waiting broadcasts make room */
    BROADCAST_DROP_NEWEST, /* this one is dropped */
    BROADCAST_LATEST,      /* a waiting one of the same key makes room, else the oldest */
    BROADCAST_CLOSE,       /* this one is dropped, and the connection closed with 1013 */
    BROADCAST_OWN,         /* no broadcast, but a message of the connection's application: always taken, never dropped */
};

struct broadcast;

/* Called on the I/O thread, which they must not block. */
struct broadcast_callbacks {
    /* count broadcasts for the target with label were dropped. */
    void (*dropped)(void *context, uint64_t label, uint64_t count);
    /* Nobody holds it any more: frees context. From the thread that released it last. */
    void (*destroyed)(void *context);
};

struct broadcast {
    atomic_uint references;
    enum broadcast_policy policy;
    const struct broadcast_callbacks *callbacks;
    void *context;
    bool unsettled;            /* it is being compressed: it has a place in an outbox, but may not leave yet */
    struct broadcast *instead; /* counted; once settled: what is sent in its place. NULL: itself */
    uint64_t key_hash;
    size_t key_length;
    size_t payload_length;
    size_t length;         /* of the frame, header and payload; the key follows it */
    unsigned char bytes[];
};

/* A socket to send to. */
struct broadcast_target {
    uint64_t exchange;
    uint64_t label; /* the sender's */
};

/* A frame of bytes, text or binary, with one reference; context is destroyed with it. NULL when there is no memory: context stays
 * the caller's. */
struct broadcast *broadcast_create(bool text, const unsigned char *bytes, size_t length, const void *key, size_t key_length,
                                   enum broadcast_policy policy, const struct broadcast_callbacks *callbacks, void *context);
struct broadcast *broadcast_retain(struct broadcast *broadcast);
void broadcast_release(struct broadcast *broadcast); /* NULL is allowed */

/* The same message compressed (deflate.h: deflate_shared), for the sockets that can read it; with one reference, and it holds one to
 * broadcast. payload_length stays the message's. NULL when there is no memory. */
struct broadcast *broadcast_compressed(struct broadcast *broadcast, const unsigned char *bytes, size_t length);

/* A frame with a message of one connection's application, with one reference. compressed: bytes are. NULL when there is no memory. */
struct broadcast *broadcast_create_own(bool text, bool compressed, const unsigned char *bytes, size_t length);

/* A message that is being compressed for many sockets: with its key and policy, one byte long, and unsettled. One reference; it holds one
 * to broadcast. NULL when there is no memory. */
struct broadcast *broadcast_stand_in(struct broadcast *broadcast);

/* The message itself. */
const unsigned char *broadcast_payload(const struct broadcast *broadcast);

bool broadcast_same_key(const struct broadcast *a, const struct broadcast *b); /* one without key is like no other */

/* What it takes of an outbox's limit. */
static inline size_t broadcast_weight(const struct broadcast *broadcast)
{
    return broadcast->length + 64; /* an entry, and its share of the allocation */
}

#endif
