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

struct name core_peneus_client(struct name channel)
{
    enum { CLIENT = 32, MARK_AT = 12, MARK = 'e' }; /* of a UUID's digits, its version; it is 4 in channels_redis (bus_config.py) */
    size_t end = core_key_name(channel).length;
    if (end <= CLIENT || channel.bytes[end - 1] != '!' || channel.bytes[end - 1 - CLIENT + MARK_AT] != MARK)
        return (struct name){ "", 0 };
    return (struct name){ channel.bytes + end - 1 - CLIENT, CLIENT };
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

const char core_group_infix[] = ":group:";

char *core_group_key(const struct core *core, struct name group, struct name *key)
{
    return core_text(core, core_group_infix, group, key);
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

/* The names in a message: their text one behind the other, and where each ends. */
struct names {
    struct bytes text;
    struct bytes ends; /* of size_t */
    size_t count;
};

static void note(void *context, struct name channel)
{
    struct names *names = context;
    bytes_add(&names->text, channel.bytes, channel.length);
    bytes_add(&names->ends, &names->text.length, sizeof names->text.length);
    names->count++;
}

/* NULL when there is no memory. */
static struct name *list_of(const struct names *names)
{
    bool failed = names->text.failed || names->ends.failed;
    struct name *list = failed ? NULL : mem_try_alloc((names->count + 1) * sizeof *list);
    size_t begin = 0;
    for (size_t i = 0; list != NULL && i < names->count; i++) {
        size_t end;
        memcpy(&end, names->ends.data + i * sizeof end, sizeof end);
        list[i] = (struct name){ (const char *)names->text.data + begin, end - begin };
        begin = end;
    }
    return list;
}

/* A group message goes to this process's channels all at once, and to others one by one. */
static void put(struct core *core, struct layer *layer, struct name *list, size_t count, bool group, struct message *message)
{
    size_t local = 0;
    for (size_t i = 0; i < count; i++) {
        if (group && memchr(list[i].bytes, '!', list[i].length) != NULL)
            list[local++] = list[i];
        else
            (void)layer_put(layer, list[i], core_capacity(core->settings, list[i]), message);
    }
    if (local > 0)
        (void)layer_deliver_to(layer, list, local, message);
}

static void deliver(struct core *core, struct layer *layer, const void *text, size_t length, struct name general)
{
    struct names names = { 0 };
    struct bytes rest = { 0 };
    int result = envelope_take(&rest, core->settings->json, text, length, note, &names);
    if (result == ENVELOPE_NONE && general.bytes != NULL) {
        note(&names, general);
        result = ENVELOPE_OK;
    }
    struct name *list = list_of(&names);
    struct message *message = message_create(rest.data, rest.length, NULL, 0);
    if (result <= 0 || list == NULL || message == NULL)
        atomic_fetch_add(&core->remote.unreadable, 1);
    else if (result != ENVELOPE_OK || names.count != 1 || !core_adopt(core, layer, list[0], message))
        put(core, layer, list, names.count, result == ENVELOPE_LIST, message);
    message_release(message);
    mem_free(list);
    bytes_deinit(&names.text);
    bytes_deinit(&names.ends);
    bytes_deinit(&rest);
}

void core_deliver(struct core *core, const void *member, size_t length, struct name general)
{
    struct layer *layer = remote_enter(&core->remote);
    if (layer == NULL)
        return;
    size_t random = core->settings->random_prefix_length;
    const unsigned char *text = (const unsigned char *)member + random;
    struct bytes plain = { 0 };
    atomic_fetch_add(&core->remote.received, 1);
    if (length < random) {
        atomic_fetch_add(&core->remote.unreadable, 1);
    } else if (core->fernet == NULL) {
        deliver(core, layer, text, length - random, general);
    } else {
        uint64_t ttl = core->settings->expiry_ms / 1000 + TOKEN_MORE_S;
        if (fernet_decrypt(core->fernet, &plain, text, length - random, ttl, core_wall_seconds()) == FERNET_OK)
            deliver(core, layer, plain.data, plain.length, general);
        else
            atomic_fetch_add(&core->remote.unreadable, 1);
    }
    bytes_deinit(&plain);
    layer_release(layer);
}
