#include "channellayer/message.h"

#include <string.h>

#include "base/alloc.h"
#include "base/clock.h"

struct message *message_create(const void *bytes, size_t length, const void *key, size_t key_length)
{
    if (length > SIZE_MAX / 2 || key_length > SIZE_MAX / 4)
        return NULL;
    struct message *message = mem_try_alloc(sizeof *message + length + key_length);
    if (message == NULL)
        return NULL;
    atomic_init(&message->references, 1);
    message->made_at = clock_ns();
    message->length = length;
    message->key_length = key_length;
    if (length > 0)
        memcpy(message->bytes, bytes, length);
    if (key_length > 0)
        memcpy(message->bytes + length, key, key_length);
    return message;
}

struct message *message_retain(struct message *message)
{
    atomic_fetch_add_explicit(&message->references, 1, memory_order_relaxed);
    return message;
}

void message_release(struct message *message)
{
    if (message != NULL && atomic_fetch_sub_explicit(&message->references, 1, memory_order_acq_rel) == 1)
        mem_free(message);
}
