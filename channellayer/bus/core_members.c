/* Memberships: each is a member of its group's sorted set, with the time at which it was last renewed. */
#include "channellayer/bus/core_state.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <hiredis/hiredis.h>

#include "base/alloc.h"
#include "channellayer/name.h"

struct member {
    struct table_node by_pair;
    size_t shard;
    bool written; /* Redis may have it */
    struct name group;
    struct name channel;
    struct name key; /* of the group */
    char text[];
};

#define WORD(literal) ((struct name){ (literal), sizeof(literal) - 1 })

static uint64_t pair_hash(struct name group, struct name channel)
{
    uint64_t hash = name_hash(group) * 0x9e3779b97f4a7c15u + name_hash(channel);
    return hash ^ hash >> 29;
}

static struct member *find(const struct core *core, struct name group, struct name channel)
{
    struct table_node *node = table_first(&core->members, pair_hash(group, channel));
    for (; node != NULL; node = table_next_same(node)) {
        struct member *member = list_entry(node, struct member, by_pair);
        if (name_equal(member->group, group) && name_equal(member->channel, channel))
            return member;
    }
    return NULL;
}

static struct member *make(struct core *core, struct name group, struct name channel)
{
    struct name key;
    char *text = core_group_key(core, group, &key);
    struct member *member = mem_alloc(sizeof *member + key.length + channel.length);
    memcpy(member->text, key.bytes, key.length);
    memcpy(member->text + key.length, channel.bytes, channel.length);
    mem_free(text);
    member->key = (struct name){ member->text, key.length };
    member->group = (struct name){ member->text + key.length - group.length, group.length };
    member->channel = (struct name){ member->text + key.length, channel.length };
    member->shard = redis_shard(group, core->shard_count);
    member->written = false;
    if (table_insert(&core->members, &member->by_pair, pair_hash(group, channel)) != 0)
        abort(); /* a fixed size */
    return member;
}

/* The answer to the last command of a JOIN or LEAVE. */
static void on_written(void *context, void *argument, const struct redisReply *reply)
{
    struct core_shard *shard = context;
    struct core_job *job = argument;
    if (reply != NULL || shard->core->stop_at != 0) {
        core_job_done(job, reply != NULL && reply->type != REDIS_REPLY_ERROR);
        return;
    }
    list_remove(&job->link);
    list_append(&shard->core->unwritten, &job->link); /* again when the connection is back */
}

/* Adds member to its set; job, which may be NULL, is told. */
static int add(struct core_shard *shard, struct name key, struct name channel, struct core_job *job)
{
    struct core *core = shard->core;
    char score[CORE_SCORE_SIZE], expiry[24];
    core_score(core, score);
    snprintf(expiry, sizeof expiry, "%llu", (unsigned long long)(core->settings->group_expiry_ms + 999) / 1000);
    const struct name words[] = { WORD("ZADD"), key, { score, strlen(score) }, channel };
    const struct name expire[] = { WORD("EXPIRE"), key, { expiry, strlen(expiry) } };
    int result = core_send(shard, 4, words, NULL, NULL);
    return result != REDIS_LINK_OK ? result : core_send(shard, 3, expire, job != NULL ? on_written : NULL, job);
}

static int write_member(struct core *core, struct member *member, struct core_job *job)
{
    struct core_shard *shard = &core->shards[member->shard];
    bool first = job == NULL || job->item->edge;
    if (first && redis_link_is_up(shard->commands))
        core_census_note(shard, member->key, true);
    int result = add(shard, member->key, member->channel, job);
    member->written = member->written || result != REDIS_LINK_DOWN;
    return result;
}

static int remove_member(struct core_shard *shard, struct name key, struct core_job *job)
{
    const struct name words[] = { WORD("ZREM"), key, job->item->channel };
    int result = core_send(shard, 3, words, on_written, job);
    if (result == REDIS_LINK_OK && job->item->edge)
        core_census_note(shard, key, false);
    return result;
}

/* Sends what job asks for, or keeps it until the connection is there. */
static void write_job(struct core_job *job)
{
    struct core *core = job->core;
    const struct remote_item *item = job->item;
    struct member *member = find(core, item->group, item->channel);
    struct core_shard *shard = &core->shards[redis_shard(item->group, core->shard_count)];
    struct name key;
    int result;
    list_remove(&job->link);
    if (item->kind == REMOTE_JOIN && !item->elsewhere && member == NULL) {
        core_job_done(job, true); /* it has left meanwhile */
        return;
    }
    char *text = core_group_key(core, item->group, &key);
    if (item->kind == REMOTE_LEAVE)
        result = remove_member(shard, key, job);
    else if (member != NULL)
        result = write_member(core, member, job);
    else
        result = add(shard, key, item->channel, job);
    mem_free(text);
    if (result == REDIS_LINK_NO_MEMORY)
        core_job_done(job, false);
    else
        list_append(result == REDIS_LINK_OK ? &core->sent : &core->unwritten, &job->link);
}

void core_join(struct core *core, struct core_job *job)
{
    if (!job->item->elsewhere && find(core, job->item->group, job->item->channel) == NULL)
        make(core, job->item->group, job->item->channel);
    write_job(job);
}

void core_leave(struct core *core, struct core_job *job)
{
    struct member *member = find(core, job->item->group, job->item->channel);
    bool written = member != NULL && member->written;
    if (member != NULL) {
        table_remove(&core->members, &member->by_pair);
        mem_free(member);
    }
    if (written || job->item->elsewhere)
        write_job(job);
    else
        core_job_done(job, true); /* Redis never heard of it */
}

static void on_members(void *context, void *argument, const struct redisReply *reply)
{
    struct core_job *job = argument;
    struct bytes names = { 0 };
    (void)context;
    if (reply == NULL || reply->type != REDIS_REPLY_ARRAY) {
        core_job_done(job, false);
        return;
    }
    for (size_t i = 0; i < reply->elements; i++) {
        const struct redisReply *each = reply->element[i];
        if (each->type != REDIS_REPLY_STRING || each->len > UINT8_MAX)
            continue;
        bytes_add_byte(&names, (unsigned char)each->len);
        bytes_add(&names, each->str, each->len);
    }
    if (!names.failed) {
        remote_answer(job->item, (struct span){ names.data, names.length });
        job->item = NULL;
    }
    bytes_deinit(&names);
    core_job_done(job, job->item == NULL);
}

void core_query(struct core *core, struct core_job *job)
{
    struct name key;
    char *text = core_group_key(core, job->item->group, &key);
    const struct name range[] = { WORD("ZRANGE"), key, WORD("0"), WORD("-1") };
    struct core_shard *shard = &core->shards[redis_shard(job->item->group, core->shard_count)];
    if (core_send(shard, 4, range, on_members, job) == REDIS_LINK_OK)
        list_append(&core->sent, &job->link);
    else
        core_job_done(job, false);
    mem_free(text);
}

void core_members_restore(struct core_shard *shard)
{
    struct core *core = shard->core;
    size_t bucket = 0, index = (size_t)(shard - core->shards);
    struct table_node *node = NULL;
    while ((node = table_walk(&core->members, &bucket, node)) != NULL) {
        struct member *member = list_entry(node, struct member, by_pair);
        if (member->shard == index)
            (void)write_member(core, member, NULL);
    }
    struct list_node waiting;
    list_init(&waiting);
    while (!list_empty(&core->unwritten)) {
        struct list_node *first = core->unwritten.next;
        list_remove(first);
        list_append(&waiting, first);
    }
    while (!list_empty(&waiting))
        write_job(list_entry(waiting.next, struct core_job, link));
}

void core_members_expire(struct core *core, uint64_t then)
{
    struct list_node *node = core->unwritten.next;
    while (node != &core->unwritten) {
        struct core_job *job = list_entry(node, struct core_job, link);
        node = node->next;
        if ((job->item->kind == REMOTE_JOIN || job->item->elsewhere) && job->asked_at < then)
            core_job_done(job, false); /* a membership of ours is written when the connection is back */
    }
}

void core_members_free(struct core *core)
{
    size_t bucket = 0;
    struct table_node *node = table_walk(&core->members, &bucket, NULL);
    while (node != NULL) {
        struct member *member = list_entry(node, struct member, by_pair);
        node = table_walk(&core->members, &bucket, node);
        mem_free(member);
    }
    table_deinit(&core->members);
}
