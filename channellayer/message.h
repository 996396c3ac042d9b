/* message.h: one encoded channel message, shared by every mailbox it lies in.
 *
 * Owner:   each holder of a count; the last message_release() frees.
 * Thread:  any; nothing is written after message_create().
 * Limits:  the layer's message limit, checked by layer_send() and layer_group_send().
 */
#ifndef PENEUS_CHANNELLAYER_MESSAGE_H
#define PENEUS_CHANNELLAYER_MESSAGE_H

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

struct message {
    atomic_uint references;
    uint64_t made_at;  /* clock_ns(): when it was sent here, or came here from a bus */
    size_t length;     /* of the encoded message */
    size_t key_length; /* of the key of overflow "latest"; 0: none. The key's bytes follow the message's */
    unsigned char bytes[];
};

/* A copy of bytes and key, with one reference; NULL when there is no memory. */
struct message *message_create(const void *bytes, size_t length, const void *key, size_t key_length);

struct message *message_retain(struct message *message);
void message_release(struct message *message); /* NULL is allowed */

static inline const unsigned char *message_key(const struct message *message)
{
    return message->bytes + message->length;
}

#endif
