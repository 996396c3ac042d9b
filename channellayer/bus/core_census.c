/* Who is alive. On channels_redis's wire the memberships of a process that was killed stay for group_expiry. So each process of
 * Peneus leaves two more keys on each Redis that it has members on, which channels_redis does not look at:
 *
 *     {prefix}:peneus:alive            sorted set: each client (as in its channels' names), and when it was last seen
 *     {prefix}:peneus:groups:{client}  set: the keys of the groups in which it has members
 *
 * Every CENSUS_MS a process says that it lives, and takes the members of those that have not for CENSUS_DEAD_S out of their
 * groups. One that was only stopped finds itself missing, and joins its groups again. */
#include "channellayer/bus/core_state.h"

#include <stdio.h>
#include <string.h>

#include <hiredis/hiredis.h>

#include "base/alloc.h"

#define WORD(literal) ((struct name){ (literal), sizeof(literal) - 1 })

enum {
    CENSUS_MS = 5000,
    CENSUS_DEAD_S = 20,
};

/* KEYS: alive. ARGV: client, seconds until it is dead, what stands before a client in the key of its groups, expiry of those.
 * 1: it was there. */
static const char script[] =
    "local now = tonumber(redis.call('TIME')[1])\n"
    "local was = redis.call('ZSCORE', KEYS[1], ARGV[1]) and 1 or 0\n"
    "redis.call('ZADD', KEYS[1], now, ARGV[1])\n"
    "redis.call('EXPIRE', KEYS[1], ARGV[4])\n"
    "redis.call('EXPIRE', ARGV[3] .. ARGV[1], ARGV[4])\n"
    "for _, dead in ipairs(redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', now - tonumber(ARGV[2]), 'LIMIT', 0, 8)) do\n"
    "  for _, group in ipairs(redis.call('SMEMBERS', ARGV[3] .. dead)) do\n"
    "    for _, member in ipairs(redis.call('ZRANGE', group, 0, -1)) do\n"
    "      if string.find(member, '.' .. dead .. '!', 1, true) then redis.call('ZREM', group, member) end\n"
    "    end\n"
    "  end\n"
    "  redis.call('DEL', ARGV[3] .. dead)\n"
    "  redis.call('ZREM', KEYS[1], dead)\n"
    "end\n"
    "return was\n";

static const char groups_before[] = ":peneus:groups:";

static void on_seen(void *context, void *argument, const struct redisReply *reply)
{
    struct core_shard *shard = context;
    (void)argument;
    if (reply == NULL || reply->type != REDIS_REPLY_INTEGER)
        return;
    bool missed = shard->counted && reply->integer == 0;
    shard->counted = true;
    if (missed)
        core_shard_forgotten(shard);
}

static void say(struct core_shard *shard)
{
    struct core *core = shard->core;
    char dead[16], expiry[24];
    struct name alive, before;
    char *alive_text = core_text(core, ":peneus:alive", (struct name){ "", 0 }, &alive);
    char *before_text = core_text(core, groups_before, (struct name){ "", 0 }, &before);
    snprintf(dead, sizeof dead, "%d", CENSUS_DEAD_S);
    snprintf(expiry, sizeof expiry, "%llu", (unsigned long long)(core->settings->group_expiry_ms + 999) / 1000);
    const struct name words[] = {
        WORD("EVAL"), WORD(script), WORD("1"), alive, core->settings->client,
        { dead, strlen(dead) }, before, { expiry, strlen(expiry) },
    };
    (void)core_send(shard, sizeof words / sizeof words[0], words, on_seen, NULL);
    mem_free(alive_text);
    mem_free(before_text);
}

void core_census_note(struct core_shard *shard, struct name group_key, bool joined)
{
    struct core *core = shard->core;
    struct name key;
    char *text = core_text(core, groups_before, core->settings->client, &key);
    if (joined && !shard->told)
        say(shard);
    shard->told = shard->told || joined;
    const struct name words[] = { joined ? WORD("SADD") : WORD("SREM"), key, group_key };
    (void)core_send(shard, 3, words, NULL, NULL);
    mem_free(text);
}

static void on_time(uv_timer_t *timer)
{
    struct core *core = timer->data;
    for (size_t i = 0; i < core->shard_count && core->members.count > 0 && !core->closed; i++) {
        if (core->shards[i].told)
            say(&core->shards[i]);
    }
}

void core_census_begin(struct core *core)
{
    uv_timer_init(remote_loop(&core->remote), &core->census);
    core->census.data = core;
    core->closing++;
    uv_timer_start(&core->census, on_time, CENSUS_MS, CENSUS_MS);
}
