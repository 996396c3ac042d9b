/* outbox.h: what waits to be written to one socket, in order: bytes of its own, and between them broadcasts by reference.
 *
 * Owner:   the transport embeds it.
 * Thread:  the I/O thread.
 * Limits:  own bytes: the exchange's send window. Broadcasts: the limit given to outbox_offer(); over it their policy decides.
 *
 * Own bytes lie in one buffer. Each waiting broadcast knows how many of them go before it, so that dropping it moves nothing. Broadcasts
 * with a key are found by it in a hash table: what it costs to offer one, or to drop one, does not grow with what waits.
 *
 * A broadcast may be unsettled (broadcast.h). The first such entry is the gate: nothing from it on leaves, until outbox_settle() finds it
 * settled. All that goes behind it keeps its place meanwhile.
 */
#ifndef PENEUS_SERVER_OUTBOX_H
#define PENEUS_SERVER_OUTBOX_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <uv.h>

#include "server/broadcast.h"
#include "server/buffer.h"

struct outbox_entry {
    struct broadcast *broadcast; /* counted */
    uint64_t label;
    size_t before;               /* own bytes that go between the entry before and this one */
    uint32_t older, newer;       /* the entries beside it, or OUTBOX_NONE; newer of a free entry: the next free one */
    uint32_t later;              /* the next newer one of its bucket, or OUTBOX_NONE */
    bool shut;                   /* it is the gate, or behind it */
};

/* Entries whose keys hash alike; OUTBOX_NONE: there are none. */
struct outbox_bucket {
    uint32_t oldest, newest;
};

enum { OUTBOX_NONE = UINT32_MAX };

struct outbox {
    struct buffer own;
    struct outbox_entry *entries;  /* NULL until the first broadcast has to wait */
    struct outbox_bucket *buckets; /* of the same allocation, and as many: of the entries with a key */
    uint32_t size;             /* of entries: 0, or a power of two */
    uint32_t count;            /* of those in use */
    uint32_t oldest, newest;   /* while count is not 0 */
    uint32_t free;             /* the first free entry, or OUTBOX_NONE */
    uint32_t gate;             /* the first unsettled entry, or OUTBOX_NONE */
    size_t before_gate;        /* bytes that go before the gate, while there is one */
    size_t marked;             /* own bytes before some entry: the sum of before */
    size_t written;            /* bytes of the oldest entry's frame that have left already: it cannot be dropped */
    size_t own_frames;         /* bytes of BROADCAST_OWN's frames that have not left: of waiting */
    size_t waiting;            /* bytes of the entries' frames that have not left */
    size_t weight;             /* broadcast_weight() of the entries */
};

enum outbox_result {
    OUTBOX_OK = 0,
    OUTBOX_DROPPED = -1,   /* the broadcast was dropped, and counted */
    OUTBOX_CLOSE = -2,     /* the same, and its policy wants the connection closed */
    OUTBOX_NO_MEMORY = -3, /* it was dropped, and counted */
};

void outbox_init(struct outbox *outbox);

/* Drops what is left, without counting it: the socket is gone. */
void outbox_deinit(struct outbox *outbox);

/* Bytes that wait; an unsettled message counts as large as it is. */
static inline size_t outbox_length(const struct outbox *outbox)
{
    return buffer_length(&outbox->own) + outbox->waiting;
}

/* Those that are no broadcast's. */
static inline size_t outbox_length_own(const struct outbox *outbox)
{
    return buffer_length(&outbox->own) + outbox->own_frames;
}

static inline bool outbox_is_shut(const struct outbox *outbox)
{
    return outbox->gate != OUTBOX_NONE;
}

/* Bytes that may leave now. */
static inline size_t outbox_ready(const struct outbox *outbox)
{
    return outbox_is_shut(outbox) ? outbox->before_gate : outbox_length(outbox);
}

/* Whether there is no room for broadcast, so that its policy would decide. */
static inline bool outbox_is_full(const struct outbox *outbox, const struct broadcast *broadcast, size_t limit)
{
    return outbox->weight > 0 && outbox->weight + broadcast_weight(broadcast) > limit;
}

/* Puts broadcast behind everything else; a reference is taken. limit: of weight. */
enum outbox_result outbox_offer(struct outbox *outbox, struct broadcast *broadcast, uint64_t label, size_t limit);

/* Puts a message of the connection's own application (BROADCAST_OWN) behind everything else; a reference is taken. 0, or -1: no memory. */
int outbox_put(struct outbox *outbox, struct broadcast *message);

/* The gate's broadcast; NULL: there is none. */
struct broadcast *outbox_gate(const struct outbox *outbox);

/* Lets leave what has been settled. */
void outbox_settle(struct outbox *outbox);

/* Drops every broadcast that has not been begun, and counts it: the connection is being closed, and shall say so soon. */
void outbox_clear(struct outbox *outbox);

/* The first bytes that may leave, as at most max pieces; how many there are. Valid until the outbox is changed. */
unsigned outbox_pieces(const struct outbox *outbox, uv_buf_t *pieces, unsigned max);

/* length bytes of outbox_pieces() have left. */
void outbox_consume(struct outbox *outbox, size_t length);

/* Moves the first piece, which there is, into a buffer of its own, or a reference with what is left of its frame: for a write that takes longer.
 * Own bytes: *bytes has them. A frame: *broadcast, and its bytes in *rest. 0, or -1 when there is no memory: nothing was moved. */
int outbox_take(struct outbox *outbox, struct buffer *bytes, struct broadcast **broadcast, uv_buf_t *rest);

#endif
