#include "server/broadcast.h"

#include <string.h>

#include "base/alloc.h"
#include "base/hash.h"
#include "server/websocket.h"

static struct broadcast *create(enum websocket_opcode opcode, bool compressed, const unsigned char *bytes, size_t length, const void *key,
                                size_t key_length, enum broadcast_policy policy, const struct broadcast_callbacks *callbacks,
                                void *context)
{
    unsigned char header[WEBSOCKET_HEADER_SIZE];
    size_t header_length = websocket_header(header, opcode, compressed, length);
    struct broadcast *broadcast = mem_try_alloc(sizeof *broadcast + header_length + length + key_length);
    if (broadcast == NULL)
        return NULL;
    *broadcast = (struct broadcast){
        .policy = policy,
        .callbacks = callbacks,
        .context = context,
        .key_length = key_length,
        .payload_length = length,
        .length = header_length + length,
    };
    atomic_init(&broadcast->references, 1);
    memcpy(broadcast->bytes, header, header_length);
    if (length > 0)
        memcpy(broadcast->bytes + header_length, bytes, length);
    if (key_length > 0) {
        memcpy(broadcast->bytes + broadcast->length, key, key_length);
        broadcast->key_hash = hash_bytes(key, key_length);
    }
    return broadcast;
}

struct broadcast *broadcast_create(bool text, const unsigned char *bytes, size_t length, const void *key, size_t key_length,
                                   enum broadcast_policy policy, const struct broadcast_callbacks *callbacks, void *context)
{
    return create(text ? WEBSOCKET_TEXT : WEBSOCKET_BINARY, false, bytes, length, key, key_length, policy, callbacks, context);
}

static void on_own_destroyed(void *context)
{
    (void)context;
}

struct broadcast *broadcast_create_own(bool text, bool compressed, const unsigned char *bytes, size_t length)
{
    static const struct broadcast_callbacks callbacks = { .destroyed = on_own_destroyed }; /* it is never dropped */
    return create(text ? WEBSOCKET_TEXT : WEBSOCKET_BINARY, compressed, bytes, length, NULL, 0, BROADCAST_OWN, &callbacks, NULL);
}

static void on_compressed_dropped(void *context, uint64_t label, uint64_t count)
{
    struct broadcast *original = context;
    original->callbacks->dropped(original->context, label, count);
}

static void on_compressed_destroyed(void *context)
{
    broadcast_release(context);
}

static const struct broadcast_callbacks compressed_callbacks = { on_compressed_dropped, on_compressed_destroyed };

struct broadcast *broadcast_compressed(struct broadcast *broadcast, const unsigned char *bytes, size_t length)
{
    struct broadcast *result = create(broadcast->bytes[0] & 0x0f, true, bytes, length, broadcast->bytes + broadcast->length,
                                      broadcast->key_length, broadcast->policy, &compressed_callbacks, broadcast);
    if (result == NULL)
        return NULL;
    broadcast_retain(broadcast);
    result->payload_length = broadcast->payload_length;
    return result;
}

struct broadcast *broadcast_stand_in(struct broadcast *broadcast)
{
    struct broadcast *result = mem_try_alloc(sizeof *result + 1 + broadcast->key_length);
    if (result == NULL)
        return NULL;
    *result = (struct broadcast){
        .policy = broadcast->policy,
        .callbacks = &compressed_callbacks,
        .context = broadcast_retain(broadcast),
        .unsettled = true,
        .key_hash = broadcast->key_hash,
        .key_length = broadcast->key_length,
        .payload_length = broadcast->payload_length,
        .length = 1, /* something waits */
    };
    atomic_init(&result->references, 1);
    result->bytes[0] = 0;
    if (broadcast->key_length > 0)
        memcpy(result->bytes + 1, broadcast->bytes + broadcast->length, broadcast->key_length);
    return result;
}

const unsigned char *broadcast_payload(const struct broadcast *broadcast)
{
    return broadcast->bytes + broadcast->length - broadcast->payload_length;
}

struct broadcast *broadcast_retain(struct broadcast *broadcast)
{
    atomic_fetch_add_explicit(&broadcast->references, 1, memory_order_relaxed);
    return broadcast;
}

void broadcast_release(struct broadcast *broadcast)
{
    if (broadcast == NULL || atomic_fetch_sub_explicit(&broadcast->references, 1, memory_order_acq_rel) != 1)
        return;
    broadcast->callbacks->destroyed(broadcast->context);
    broadcast_release(broadcast->instead);
    mem_free(broadcast);
}

bool broadcast_same_key(const struct broadcast *a, const struct broadcast *b)
{
    return a->key_length > 0 && a->key_hash == b->key_hash && a->key_length == b->key_length &&
           memcmp(a->bytes + a->length, b->bytes + b->length, a->key_length) == 0;
}
