/* Who is alive. On channels_redis's wire the memberships of a process that was killed stay for group_expiry. So each process of
 * Peneus that receives something leaves two more keys on each Redis, which channels_redis does not look at:
 *
 *     {prefix}:peneus:alive            sorted set: each client (as in its channels' names), and when it was last seen
 *     {prefix}:peneus:groups:{client}  set: the keys of the groups in which it has members
 *
 * Every CENSUS_MS a process says that it lives, and takes the members of those that have not for CENSUS_DEAD_S out of their
 * groups. So does a process that receives nothing, without saying that it lives, when it connects and every CENSUS_DEAD_S. One that was
 * only stopped finds itself missing, and joins its groups again. */
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

/* KEYS: alive. ARGV: client, seconds until it is dead, what stands before a client in the key of its groups, expiry of those, whether
 * client is to be alive. 1: it was there. */
static const char script[] =
    "local now = tonumber(redis.call('TIME')[1])\n"
    "local was = redis.call('ZSCORE', KEYS[1], ARGV[1]) and 1 or 0\n"
    "if ARGV[5] == '1' then\n"
    "  redis.call('ZADD', KEYS[1], now, ARGV[1])\n"
    "  redis.call('EXPIRE', KEYS[1], ARGV[4])\n"
    "  redis.call('EXPIRE', ARGV[3] .. ARGV[1], ARGV[4])\n"
    "end\n"
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

const char core_groups_infix[] = ":peneus:groups:";
const char core_alive_infix[] = ":peneus:alive";

static void on_seen(void *context, void *argument, const struct redisReply *reply)
{
    struct core_shard *shard = context;
    bool alive = argument != NULL;
    if (reply == NULL || reply->type != REDIS_REPLY_INTEGER)
        return;
    bool missed = alive && shard->counted && reply->integer == 0;
    shard->counted = alive;
    if (missed)
        core_shard_forgotten(shard);
}

/* Whether something of this process may be in Redis, or be sent to it. */
static bool is_alive(const struct core *core)
{
    return core->members.count > 0 || core->keys.count > 0;
}

void core_census_say(struct core_shard *shard)
{
    struct core *core = shard->core;
    bool alive = is_alive(core);
    char dead[16], expiry[24];
    struct name whole, before;
    char *whole_text = core_text(core, core_alive_infix, (struct name){ "", 0 }, &whole);
    char *before_text = core_text(core, core_groups_infix, (struct name){ "", 0 }, &before);
    snprintf(dead, sizeof dead, "%d", CENSUS_DEAD_S);
    snprintf(expiry, sizeof expiry, "%llu", (unsigned long long)(core->settings->group_expiry_ms + 999) / 1000);
    const struct name words[] = {
        WORD("EVAL"), WORD(script), WORD("1"), whole, core->settings->client,
        { dead, strlen(dead) }, before, { expiry, strlen(expiry) }, alive ? WORD("1") : WORD("0"),
    };
    (void)core_send(shard, sizeof words / sizeof words[0], words, on_seen, alive ? shard : NULL);
    mem_free(whole_text);
    mem_free(before_text);
}

bool core_census_list(struct core_shard *shard, struct name group_key, bool listed,
                      void (*on_reply)(void *context, void *argument, const struct redisReply *reply), void *argument)
{
    struct core *core = shard->core;
    struct name key;
    char *text = core_text(core, core_groups_infix, core->settings->client, &key);
    const struct name words[] = { listed ? WORD("SADD") : WORD("SREM"), key, group_key };
    bool sent = core_send(shard, 3, words, on_reply, argument) == REDIS_LINK_OK;
    mem_free(text);
    return sent;
}

static void on_time(uv_timer_t *timer)
{
    struct core *core = timer->data;
    bool idle = !is_alive(core) && ++core->idle_turns % (CENSUS_DEAD_S * 1000 / CENSUS_MS) != 0;
    for (size_t i = 0; i < core->shard_count && !idle && !core->closed; i++)
        core_census_say(&core->shards[i]);
}

void core_census_begin(struct core *core)
{
    uv_timer_init(remote_loop(&core->remote), &core->census);
    core->census.data = core;
    core->closing++;
    uv_timer_start(&core->census, on_time, CENSUS_MS, CENSUS_MS);
}
