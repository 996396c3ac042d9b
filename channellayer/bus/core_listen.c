/* What this process receives: one BZPOPMIN for each Redis, for all keys. It listens for its own channels on every Redis, because
 * channels_redis sends to the one that the channel's full name falls to. A channel without "!" is anybody's: one message is
 * fetched for each receiver that waits. */
#include "channellayer/bus/core_state.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <hiredis/hiredis.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "channellayer/name.h"

#define WORD(literal) ((struct name){ (literal), sizeof(literal) - 1 })

struct key {
    struct table_node by_name;
    size_t channels;  /* that it is for */
    bool general;
    size_t wanted;    /* general: receivers that wait */
    struct name name; /* with the prefix */
    char text[];
};

static struct key *find(const struct core *core, struct name name)
{
    struct table_node *node = table_first(&core->keys, name_hash(name));
    for (; node != NULL; node = table_next_same(node)) {
        struct key *key = list_entry(node, struct key, by_name);
        if (name_equal(key->name, name))
            return key;
    }
    return NULL;
}

static struct key *make(struct core *core, struct name name)
{
    struct key *key = mem_zalloc(sizeof *key + name.length);
    memcpy(key->text, name.bytes, name.length);
    key->name = (struct name){ key->text, name.length };
    key->general = memchr(name.bytes, '!', name.length) == NULL;
    if (table_insert(&core->keys, &key->by_name, name_hash(name)) != 0)
        abort(); /* a fixed size */
    return key;
}

static struct key *key_of(struct core *core, struct name channel, bool may_make)
{
    struct name name;
    char *text = core_text(core, "", core_key_name(channel), &name);
    struct key *key = find(core, name);
    if (key == NULL && may_make)
        key = make(core, name);
    mem_free(text);
    return key;
}

static bool listened(const struct key *key)
{
    return !key->general || key->wanted > 0;
}

static void on_unblocked(void *context, void *argument, const struct redisReply *reply)
{
    struct core_shard *shard = context;
    (void)argument;
    (void)reply;
    shard->unblocking = false; /* it may have come before the BZPOPMIN: core_listen_tick() looks again */
}

/* Makes the shard's BZPOPMIN come back, so that the next one has all keys. */
static void unblock(struct core_shard *shard)
{
    char id[24];
    if (shard->unblocking || shard->listener_id == 0)
        return;
    snprintf(id, sizeof id, "%lld", (long long)shard->listener_id);
    const struct name words[] = { WORD("CLIENT"), WORD("UNBLOCK"), { id, strlen(id) } };
    shard->unblocking = core_send(shard, 3, words, on_unblocked, NULL) == REDIS_LINK_OK;
}

static bool is_behind(const struct core_shard *shard)
{
    return shard->blocked && shard->listened != shard->core->keys_version;
}

static void key_added(struct core *core)
{
    core->keys_version++;
    for (size_t i = 0; i < core->shard_count; i++) {
        core_listen(&core->shards[i]);
        if (is_behind(&core->shards[i]))
            unblock(&core->shards[i]);
    }
    core_begin_ticking(core);
}

void core_made(struct core *core, struct name channel)
{
    struct key *key = key_of(core, channel, true);
    bool first = core->keys.count == 1 && key->channels == 0;
    if (key->channels++ == 0 && !key->general)
        key_added(core);
    for (size_t i = 0; first && i < core->shard_count; i++)
        core_census_say(&core->shards[i]); /* this process receives from now on */
}

void core_wanted(struct core *core, struct name channel, size_t receivers)
{
    struct key *key = key_of(core, channel, false);
    if (key == NULL || !key->general)
        return;
    bool added = key->wanted == 0 && receivers > 0;
    key->wanted = receivers;
    if (added)
        key_added(core);
}

void core_gone(struct core *core, struct name channel)
{
    struct key *key = key_of(core, channel, false);
    if (key == NULL || --key->channels > 0)
        return;
    table_remove(&core->keys, &key->by_name);
    mem_free(key);
}

void core_keys_free(struct core *core)
{
    size_t bucket = 0;
    struct table_node *node = table_walk(&core->keys, &bucket, NULL);
    while (node != NULL) {
        struct key *key = list_entry(node, struct key, by_name);
        node = table_walk(&core->keys, &bucket, node);
        mem_free(key);
    }
    table_deinit(&core->keys);
}

bool core_receives_at(const struct core *core, size_t shard)
{
    size_t bucket = 0;
    struct table_node *node = NULL;
    while ((node = table_walk(&core->keys, &bucket, node)) != NULL) {
        const struct key *key = list_entry(node, struct key, by_name);
        size_t prefix = core->settings->prefix.length;
        struct name name = { key->name.bytes + prefix, key->name.length - prefix };
        if (!key->general && redis_shard(name, core->shard_count) == shard)
            return true;
    }
    return false;
}

/* A message of a channel without "!" that nobody waits for any more: back to where it came from, before the others. */
static void give_back(struct core_shard *shard, const struct redisReply *popped)
{
    char expiry[24];
    struct name key = { popped->element[0]->str, popped->element[0]->len };
    snprintf(expiry, sizeof expiry, "%llu", (unsigned long long)(shard->core->settings->expiry_ms + 999) / 1000);
    const struct name add[] = {
        WORD("ZADD"), key, { popped->element[2]->str, popped->element[2]->len }, { popped->element[1]->str, popped->element[1]->len },
    };
    const struct name expire[] = { WORD("EXPIRE"), key, { expiry, strlen(expiry) } };
    if (popped->element[2]->str == NULL || core_send(shard, 4, add, NULL, NULL) != REDIS_LINK_OK ||
        core_send(shard, 3, expire, NULL, NULL) != REDIS_LINK_OK)
        atomic_fetch_add(&shard->core->remote.unsent, 1);
}

/* The members of an answer to ZPOPMIN, each followed by its score, or in RESP3 in a pair with it. */
static void deliver_all(struct core *core, const struct redisReply *reply)
{
    static const struct name nobody = { NULL, 0 };
    for (size_t i = 0; i < reply->elements; i++) {
        const struct redisReply *each = reply->element[i];
        if (each->type == REDIS_REPLY_ARRAY && each->elements > 0)
            each = each->element[0];
        else
            i++;
        if (each->type == REDIS_REPLY_STRING)
            core_deliver(core, each->str, each->len, nobody);
    }
}

static void on_drained(void *context, void *argument, const struct redisReply *reply)
{
    struct core_shard *shard = context;
    (void)argument;
    if (reply != NULL && reply->type == REDIS_REPLY_ARRAY)
        deliver_all(shard->core, reply);
}

/* What lies behind the first message comes in the same journey as the next BZPOPMIN goes out. */
static void drain(struct core_shard *shard, struct name key)
{
    char count[16];
    snprintf(count, sizeof count, "%d", CORE_DRAIN);
    const struct name words[] = { WORD("ZPOPMIN"), key, { count, strlen(count) } };
    (void)redis_link_send(shard->listener, 3, words, (struct redis_reader){ on_drained, NULL, false });
}

static void popped(struct core_shard *shard, const struct redisReply *reply)
{
    struct core *core = shard->core;
    struct name name = { reply->element[0]->str, reply->element[0]->len };
    const struct redisReply *member = reply->element[1];
    struct key *key = find(core, name);
    bool general = memchr(name.bytes, '!', name.length) == NULL;
    size_t prefix = core->settings->prefix.length;
    if (!general) {
        core_deliver(core, member->str, member->len, (struct name){ NULL, 0 });
        drain(shard, name);
    } else if (key != NULL && key->wanted > 0) {
        key->wanted--;
        core_deliver(core, member->str, member->len, (struct name){ name.bytes + prefix, name.length - prefix });
    } else {
        give_back(shard, reply);
    }
}

static bool is_message(const struct redisReply *reply)
{
    return reply->type == REDIS_REPLY_ARRAY && reply->elements == 3 && reply->element[0]->type == REDIS_REPLY_STRING &&
           reply->element[1]->type == REDIS_REPLY_STRING;
}

static void on_popped(void *context, void *argument, const struct redisReply *reply)
{
    struct core_shard *shard = context;
    (void)argument;
    shard->blocked = false;
    if (reply == NULL)
        return;
    if (is_message(reply))
        popped(shard, reply);
    else if (reply->type == REDIS_REPLY_ERROR)
        shard->listen_at = clock_ms() + CORE_RETRY_MS;
    core_listen(shard);
    core_begin_ticking(shard->core);
}

/* What a process of channels_redis was working on when it died lies in "…$inflight". */
static void take_up(struct core_shard *shard, const struct key *key)
{
    static const char script[] =
        "local left = redis.call('ZRANGE', KEYS[2], 0, -1, 'WITHSCORES')\n"
        "for i = 1, #left, 2 do redis.call('ZADD', KEYS[1], left[i + 1], left[i]) end\n"
        "redis.call('DEL', KEYS[2])\n";
    struct name inflight;
    size_t prefix = shard->core->settings->prefix.length;
    size_t length = key->name.length - prefix;
    char *name = mem_alloc(length + sizeof "$inflight");
    memcpy(name, key->name.bytes + prefix, length);
    memcpy(name + length, "$inflight", sizeof "$inflight");
    char *text = core_text(shard->core, "", (struct name){ name, length + sizeof "$inflight" - 1 }, &inflight);
    const struct name words[] = { WORD("EVAL"), WORD(script), WORD("2"), key->name, inflight };
    (void)redis_link_send(shard->listener, 5, words, (struct redis_reader){ NULL, NULL, false });
    mem_free(name);
    mem_free(text);
}

/* BZPOPMIN with all keys that are listened to. */
static void block(struct core_shard *shard, struct name *words)
{
    struct core *core = shard->core;
    char seconds[8];
    size_t bucket = 0, count = 0;
    struct table_node *node = NULL;
    words[count++] = WORD("BZPOPMIN");
    while ((node = table_walk(&core->keys, &bucket, node)) != NULL) {
        const struct key *key = list_entry(node, struct key, by_name);
        if (!listened(key))
            continue;
        if (key->general)
            take_up(shard, key);
        words[count++] = key->name;
    }
    if (count == 1)
        return;
    snprintf(seconds, sizeof seconds, "%d", CORE_BLOCK_S);
    words[count++] = (struct name){ seconds, strlen(seconds) };
    shard->blocked = redis_link_send(shard->listener, count, words, (struct redis_reader){ on_popped, NULL, false }) == REDIS_LINK_OK;
    shard->listened = core->keys_version;
    if (!shard->blocked)
        shard->listen_at = clock_ms() + CORE_RETRY_MS;
}

void core_listen(struct core_shard *shard)
{
    struct core *core = shard->core;
    if (shard->blocked || shard->listen_at != 0 || core->stop_at != 0 || core->keys.count == 0 || !redis_link_is_up(shard->listener))
        return;
    struct name *words = mem_alloc((core->keys.count + 2) * sizeof *words);
    block(shard, words);
    mem_free(words);
}

static void on_id(void *context, void *argument, const struct redisReply *reply)
{
    struct core_shard *shard = context;
    (void)argument;
    if (reply == NULL || reply->type != REDIS_REPLY_INTEGER)
        return;
    shard->listener_id = reply->integer;
    if (is_behind(shard))
        unblock(shard);
}

void core_listener_up(struct core_shard *shard)
{
    const struct name words[] = { WORD("CLIENT"), WORD("ID") };
    shard->listen_at = 0;
    shard->blocked = false;
    (void)redis_link_send(shard->listener, 2, words, (struct redis_reader){ on_id, NULL, false });
    core_listen(shard);
}

void core_listen_tick(struct core *core, uint64_t now, bool *waits)
{
    for (size_t i = 0; i < core->shard_count; i++) {
        struct core_shard *shard = &core->shards[i];
        if (shard->listen_at != 0 && now >= shard->listen_at) {
            shard->listen_at = 0;
            core_listen(shard);
        }
        if (is_behind(shard))
            unblock(shard);
        *waits = *waits || shard->listen_at != 0 || is_behind(shard);
    }
}
