/* What Redis has of this process, when a connection is back: members that are not wanted any more go.
 *
 * A server that was promoted from a replica lacks the old master's last changes. Joins are written again anyway; but a member that the
 * old master took out may still be there, and nothing here remembers it. So the list of this process's groups is read as that server
 * has it (core_census.c), and in each of them its own channels are looked for, GROUPS_AT_ONCE at a time. */
#include "channellayer/bus/core_state.h"

#include <stdio.h>
#include <string.h>

#include <hiredis/hiredis.h>

#include "base/alloc.h"

enum { GROUPS_AT_ONCE = 64 };

#define WORD(literal) ((struct name){ (literal), sizeof(literal) - 1 })

/* For each of KEYS that has members with ARGV[1] in their names: the key, and those members. */
static const char script[] =
    "local found = {}\n"
    "for _, group in ipairs(KEYS) do\n"
    "  local own = {group}\n"
    "  for _, member in ipairs(redis.call('ZRANGE', group, 0, -1)) do\n"
    "    if string.find(member, ARGV[1], 1, true) then own[#own + 1] = member end\n"
    "  end\n"
    "  if #own > 1 then found[#found + 1] = own end\n"
    "end\n"
    "return found\n";

static bool is_text(const struct redisReply *reply)
{
    return reply->type == REDIS_REPLY_STRING;
}

static struct name text_of(const struct redisReply *reply)
{
    return (struct name){ reply->str, reply->len };
}

static void on_found(void *context, void *argument, const struct redisReply *reply)
{
    struct core_shard *shard = context;
    (void)argument;
    if (reply == NULL || reply->type != REDIS_REPLY_ARRAY)
        return; /* lost, and begun again with the next connection; or refused, which has been noted */
    for (size_t i = 0; i < reply->elements; i++) {
        const struct redisReply *own = reply->element[i];
        if (own->type != REDIS_REPLY_ARRAY || own->elements < 2 || !is_text(own->element[0]))
            continue;
        for (size_t j = 1; j < own->elements; j++) {
            if (is_text(own->element[j]))
                core_disown(shard->core, text_of(own->element[0]), text_of(own->element[j]));
        }
    }
}

/* Looks into count groups, whose keys stand in elements. */
static void look(struct core_shard *shard, struct redisReply *const *elements, size_t count)
{
    struct name client = shard->core->settings->client, words[GROUPS_AT_ONCE + 4];
    char keys[24];
    char *own = mem_alloc(client.length + 2);
    size_t used = 3;
    own[0] = '.';
    memcpy(own + 1, client.bytes, client.length);
    own[client.length + 1] = '!';
    for (size_t i = 0; i < count; i++) {
        if (is_text(elements[i]))
            words[used++] = text_of(elements[i]);
    }
    snprintf(keys, sizeof keys, "%zu", used - 3);
    words[0] = WORD("EVAL");
    words[1] = WORD(script);
    words[2] = (struct name){ keys, strlen(keys) };
    words[used++] = (struct name){ own, client.length + 2 };
    (void)core_send(shard, used, words, on_found, NULL);
    mem_free(own);
}

static void on_groups(void *context, void *argument, const struct redisReply *reply)
{
    struct core_shard *shard = context;
    (void)argument;
    if (reply == NULL || (reply->type != REDIS_REPLY_ARRAY && reply->type != REDIS_REPLY_SET))
        return;
    for (size_t begin = 0; begin < reply->elements; begin += GROUPS_AT_ONCE) {
        size_t left = reply->elements - begin;
        look(shard, reply->element + begin, left < GROUPS_AT_ONCE ? left : GROUPS_AT_ONCE);
    }
}

void core_review(struct core_shard *shard)
{
    struct name key;
    char *text = core_text(shard->core, core_groups_infix, shard->core->settings->client, &key);
    const struct name words[] = { WORD("SMEMBERS"), key };
    (void)core_send(shard, 2, words, on_groups, NULL);
    mem_free(text);
}
