/* A message as it lies in a sorted set: random bytes, so that no two are the same, and the encoded message, or a token of it. */
#include "channellayer/bus/core_state.h"

#include <fnmatch.h>
#include <string.h>

#include <openssl/rand.h>

#include "base/alloc.h"
#include "channellayer/bus/envelope.h"

enum { TOKEN_MORE_S = 10 }; /* that a token may be older than expiry */

struct name core_key_name(struct name channel)
{
    const char *mark = memchr(channel.bytes, '!', channel.length);
    if (mark != NULL)
        channel.length = (size_t)(mark - channel.bytes) + 1;
    return channel;
}

char *core_text(const struct core *core, const char *between, struct name name, struct name *whole)
{
    struct name prefix = core->settings->prefix;
    size_t length = strlen(between);
    char *text = mem_alloc(prefix.length + length + name.length + 1);
    memcpy(text, prefix.bytes, prefix.length);
    memcpy(text + prefix.length, between, length);
    memcpy(text + prefix.length + length, name.bytes, name.length);
    *whole = (struct name){ text, prefix.length + length + name.length };
    return text;
}

char *core_group_key(const struct core *core, struct name group, struct name *key)
{
    return core_text(core, ":group:", group, key);
}

size_t core_capacity(const struct redis_settings *settings, struct name channel)
{
    char text[ENVELOPE_NAME + 1];
    if (settings->capacity_count == 0 || channel.length >= sizeof text)
        return settings->capacity;
    memcpy(text, channel.bytes, channel.length);
    text[channel.length] = '\0';
    for (size_t i = 0; i < settings->capacity_count; i++) {
        if (fnmatch(settings->capacities[i].glob, text, FNM_NOESCAPE) == 0)
            return settings->capacities[i].capacity;
    }
    return settings->capacity;
}

static int add_message(struct core *core, struct bytes *out, const struct message *message, const struct name *names, size_t count,
                       bool list)
{
    bool json = core->settings->json;
    if (count == 0) {
        bytes_add(out, message->bytes, message->length);
        return out->failed ? -1 : 0;
    }
    return envelope_add(out, json, message->bytes, message->length, names, count, list) == ENVELOPE_OK ? 0 : -1;
}

int core_seal(struct core *core, struct bytes *out, const struct message *message, const struct name *names, size_t count, bool list)
{
    size_t random = core->settings->random_prefix_length;
    unsigned char *prefix = bytes_extend(out, random);
    if (random > 0 && (prefix == NULL || RAND_bytes(prefix, (int)random) != 1))
        return -1;
    if (core->fernet == NULL)
        return add_message(core, out, message, names, count, list);
    struct bytes plain = { 0 };
    int result = add_message(core, &plain, message, names, count, list);
    if (result == 0 && fernet_encrypt(core->fernet, out, plain.data, plain.length, core_wall_seconds()) != FERNET_OK)
        result = -1;
    bytes_deinit(&plain);
    return result;
}

struct delivery {
    struct core *core;
    struct layer *layer;
    struct bytes rest;
    struct message *message;
};

static void put(void *context, struct name channel)
{
    struct delivery *delivery = context;
    if (delivery->message == NULL)
        delivery->message = message_create(delivery->rest.data, delivery->rest.length, NULL, 0);
    if (delivery->message != NULL)
        (void)layer_put(delivery->layer, channel, core_capacity(delivery->core->settings, channel), delivery->message);
}

static void deliver(struct delivery *delivery, const void *text, size_t length, struct name general)
{
    bool json = delivery->core->settings->json;
    int result = envelope_take(&delivery->rest, json, text, length, put, delivery);
    if (result == ENVELOPE_NONE && general.bytes != NULL)
        put(delivery, general);
    else if (result != ENVELOPE_OK)
        atomic_fetch_add(&delivery->core->remote.unreadable, 1);
}

void core_deliver(struct core *core, const void *member, size_t length, struct name general)
{
    struct delivery delivery = { .core = core, .layer = remote_enter(&core->remote) };
    if (delivery.layer == NULL)
        return;
    size_t random = core->settings->random_prefix_length;
    const unsigned char *text = (const unsigned char *)member + random;
    struct bytes plain = { 0 };
    atomic_fetch_add(&core->remote.received, 1);
    if (length < random) {
        atomic_fetch_add(&core->remote.unreadable, 1);
    } else if (core->fernet == NULL) {
        deliver(&delivery, text, length - random, general);
    } else {
        uint64_t ttl = core->settings->expiry_ms / 1000 + TOKEN_MORE_S;
        if (fernet_decrypt(core->fernet, &plain, text, length - random, ttl, core_wall_seconds()) == FERNET_OK)
            deliver(&delivery, plain.data, plain.length, general);
        else
            atomic_fetch_add(&core->remote.unreadable, 1);
    }
    bytes_deinit(&plain);
    bytes_deinit(&delivery.rest);
    message_release(delivery.message);
    layer_release(delivery.layer);
}
