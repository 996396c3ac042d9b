/* mailbox.h: the messages of one channel, first in, first out.
 *
 * Owner:   the channel embeds it.
 * Thread:  none of its own; the layer's lock.
 * Limits:  capacity messages and byte_limit bytes (a message's and its key's). Memory follows the fill: the ring
 *          doubles as messages come and is given back when the last one goes.
 *
 * All messages of a mailbox live equally long, so the oldest is the first to expire.
 */
#ifndef PENEUS_CHANNELLAYER_MAILBOX_H
#define PENEUS_CHANNELLAYER_MAILBOX_H

#include <stddef.h>
#include <stdint.h>

#include "channellayer/message.h"
#include "channellayer/overflow.h"

struct mailbox_entry {
    struct message *message; /* counted */
    uint64_t expires_at;     /* ms; delivered only before it */
};

struct mailbox {
    struct mailbox_entry *ring;
    size_t size; /* of the ring: 0, or a power of two */
    size_t head;
    size_t count;
    size_t capacity;
    size_t bytes;
    size_t byte_limit;
};

/* What a message takes of a mailbox's bytes. */
static inline size_t mailbox_weight(const struct message *message)
{
    return message->length + message->key_length;
}

void mailbox_init(struct mailbox *mailbox, size_t capacity, size_t byte_limit);

/* Releases what is left. */
void mailbox_deinit(struct mailbox *mailbox);

/* Puts message (a reference is taken) behind the others. LAYER_OK, LAYER_FULL, LAYER_NO_MEMORY: nothing was changed. */
int mailbox_push(struct mailbox *mailbox, struct message *message, uint64_t expires_at);

/* As mailbox_push, but a full mailbox does what overflow says. *dropped: how many messages that cost, the new one included.
 * LAYER_OK, LAYER_FULL (the new one was dropped), LAYER_NO_MEMORY (the new one was dropped). */
int mailbox_offer(struct mailbox *mailbox, enum overflow overflow, struct message *message, uint64_t expires_at,
                  size_t *dropped);

/* The oldest message, without a reference; NULL when there is none. */
const struct message *mailbox_oldest(const struct mailbox *mailbox);

/* Takes the oldest message, the caller's to release; NULL when there is none. */
struct message *mailbox_take(struct mailbox *mailbox);

/* Drops what has expired at now; how many. */
size_t mailbox_expire(struct mailbox *mailbox, uint64_t now);

/* Drops everything. */
void mailbox_clear(struct mailbox *mailbox);

#endif
