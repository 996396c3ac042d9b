/* Members that one process makes of another's channels, as views and tasks do with channels_redis.core.
 *
 * The guarantee is the other process's to keep: it ends the memberships of a connection that has ended. So whoever adds the member writes
 * it to Redis, where it counts at once, and sends the channel a message {"type": "peneus.member", …}, which its process keeps to itself:
 * there the membership is joined as any other, or taken out again where the channel has gone. Until that has been read, the census
 * watches over it: the group is put into the list of that process's groups, and one that the census does not know counts as seen now, and
 * as dead when it does not say itself that it lives. */
#include "channellayer/bus/core_state.h"

#include <stdio.h>
#include <string.h>

#include <hiredis/hiredis.h>

#include "base/alloc.h"
#include "channellayer/encode.h"
#include "channellayer/fields.h"
#include "channellayer/overflow.h"

#define WORD(literal) ((struct name){ (literal), sizeof(literal) - 1 })

static const char type[] = "peneus.member";

/* KEYS: the group's, the census's, the list of the owner's groups. ARGV: score, channel, owner, expiry. */
static const char script[] =
    "local now = redis.call('TIME')[1]\n"
    "redis.call('ZADD', KEYS[2], 'NX', now, ARGV[3])\n"
    "redis.call('ZADD', KEYS[1], ARGV[1], ARGV[2])\n"
    "redis.call('SADD', KEYS[3], KEYS[1])\n"
    "for i = 1, 3 do redis.call('EXPIRE', KEYS[i], ARGV[4]) end\n"
    "return 1\n";

int core_adopt_ask(struct core_shard *shard, struct name group_key, struct name channel,
                   void (*on_reply)(void *context, void *argument, const struct redisReply *reply), void *argument)
{
    struct core *core = shard->core;
    struct name owner = core_peneus_client(channel), alive, listed;
    char score[CORE_SCORE_SIZE], expiry[24];
    char *alive_text = core_text(core, core_alive_infix, (struct name){ "", 0 }, &alive);
    char *listed_text = core_text(core, core_groups_infix, owner, &listed);
    core_score(core, score);
    snprintf(expiry, sizeof expiry, "%llu", (unsigned long long)(core->settings->group_expiry_ms + 999) / 1000);
    const struct name words[] = {
        WORD("EVAL"), WORD(script), WORD("3"), group_key, alive, listed, { score, strlen(score) }, channel, owner, { expiry, strlen(expiry) },
    };
    int result = core_send(shard, sizeof words / sizeof words[0], words, on_reply, argument);
    mem_free(alive_text);
    mem_free(listed_text);
    return result;
}

static void add_field(struct bytes *out, bool json, const char *before, const char *key, struct name value)
{
    if (json)
        bytes_add(out, before, strlen(before));
    encode_text(out, json, (struct name){ key, strlen(key) });
    if (json)
        bytes_add_byte(out, ':');
    encode_text(out, json, value);
}

void core_adopt_tell(struct core *core, struct name group, struct name channel, bool joined, enum overflow overflow)
{
    bool json = core->settings->json;
    struct bytes out = { 0 };
    char policy = (char)('0' + overflow);
    if (!json)
        encode_map_head(&out, 4);
    add_field(&out, json, "{", "type", (struct name){ type, sizeof type - 1 });
    add_field(&out, json, ",", "group", group);
    add_field(&out, json, ",", "joined", joined ? WORD("yes") : WORD("no"));
    add_field(&out, json, ",", "overflow", (struct name){ &policy, 1 });
    if (json)
        bytes_add_byte(&out, '}');
    struct message *message = out.failed ? NULL : message_create(out.data, out.length, NULL, 0);
    bytes_deinit(&out);
    if (message == NULL)
        return; /* the census, or its owner's next connection, finds the member */
    size_t capacity = core_capacity(core->settings, channel);
    core_publish(core, core_job_create(core, remote_message(&core->remote, channel, capacity, message)));
    core->last_send = NULL; /* nobody settles for it */
    message_release(message);
}

struct change {
    struct name group;
    bool joined;
    enum overflow overflow;
    char text[256];
};

static bool text_is(const struct field *field, const char *text)
{
    return field->kind == FIELD_TEXT && field->text.length == strlen(text) && memcmp(field->text.bytes, text, strlen(text)) == 0;
}

/* False: the message is none. */
static bool read_change(const struct core *core, const struct message *message, struct change *change)
{
    struct fields fields;
    struct field field;
    bool typed = false;
    int more;
    *change = (struct change){ 0 };
    if (fields_begin(&fields, core->settings->json, message->bytes, message->length) != 0)
        return false;
    while ((more = fields_next(&fields, &field)) == 1) {
        if (field_is(&field, "type")) {
            typed = text_is(&field, type);
        } else if (field_is(&field, "joined")) {
            change->joined = text_is(&field, "yes");
        } else if (field_is(&field, "group") && field.kind == FIELD_TEXT && field.text.length <= sizeof change->text) {
            memcpy(change->text, field.text.bytes, field.text.length);
            long length = field.escaped ? field_unescape(&field, (unsigned char *)change->text) : (long)field.text.length;
            change->group = (struct name){ change->text, length > 0 ? (size_t)length : 0 };
        } else if (field_is(&field, "overflow") && field.kind == FIELD_TEXT && field.text.length == 1) {
            unsigned policy = (unsigned)field.text.bytes[0] - '0';
            change->overflow = policy < OVERFLOW_COUNT ? (enum overflow)policy : OVERFLOW_DROP_OLDEST;
        }
    }
    return more == 0 && typed && change->group.length > 0;
}

bool core_adopt(struct core *core, struct layer *layer, struct name channel, const struct message *message)
{
    struct change change;
    if (memmem(message->bytes, message->length, type, sizeof type - 1) == NULL || !read_change(core, message, &change))
        return false;
    struct name key;
    char *text = core_group_key(core, change.group, &key);
    if (!layer_has(layer, channel)) /* layer_group_add() would ask the bus whose it is */
        core_disown(core, key, channel);
    else if (!change.joined)
        layer_group_discard(layer, change.group, channel);
    else if (layer_group_add(layer, change.group, channel, core_capacity(core->settings, channel), change.overflow) != LAYER_OK)
        core_disown(core, key, channel);
    mem_free(text);
    return true;
}
