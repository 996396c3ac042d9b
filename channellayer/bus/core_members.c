/* Memberships: each is a member of its group's sorted set, with the time at which it was last renewed.
 *
 * A membership is a state, not an order. What is wanted here is compared with what Redis has confirmed, and written until both agree:
 *
 *                core_join(), core_leave()                    Redis has confirmed what is wanted
 *   AGREED ◀──┐ ──────────────────────────▶ OPEN ──ZADD, ZREM──────────────────────────▶ AGREED; one that is not wanted is forgotten
 *             └──── a lost connection ─────▶ ▲ │ refused
 *                                            └─┘ again after 1 s, 2 s, … RETRY_LONGEST_MS
 *
 * When a connection comes back everything is written again (core_members_restore()), since that server may be empty, or have been a
 * replica that lacks the last changes; and what it has besides is taken out (core_review.c). */
#include "channellayer/bus/core_state.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <hiredis/hiredis.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "channellayer/name.h"

enum {
    RETRY_FIRST_MS = 1000,
    RETRY_LONGEST_MS = 30000,
};

/* A group that this process has members of, or had a moment ago. */
struct core_group {
    struct table_node by_name;
    size_t shard;
    size_t members;  /* struct member of it */
    size_t own;      /* of them, those whose channel is this process's */
    size_t listing;  /* commands to put it into the list of this process's groups that are not answered */
    bool listed;     /* it is in that list (core_census.c) */
    bool late;       /* somebody has been told that his join is not confirmed yet */
    bool missed;     /* messages may have been missed, and its members are to be told */
    struct name name;
    struct name key; /* of its sorted set */
    char text[];
};

struct member {
    struct table_node by_pair;
    struct list_node of_refused; /* core.refused */
    struct list_node receipts;   /* struct receipt, of joins and leaves */
    struct core_group *group;
    bool elsewhere;      /* another process receives from channel: forgotten once it is agreed */
    bool adoptable;      /* and that is one of Peneus: it is told */
    enum overflow overflow; /* what it is told of the group */
    bool wanted;
    bool agreed;         /* Redis has confirmed that */
    bool written;        /* Redis may have it */
    bool confirmed;      /* Redis has had it */
    bool restoring;      /* counted in its shard's */
    unsigned answers;    /* that are outstanding */
    unsigned newest;     /* of them, those to the newest write */
    bool refused;        /* by an answer to that */
    bool lost;           /* one of them will not come */
    unsigned refusals;   /* in a row */
    uint64_t retry_at;   /* clock_ms(); while in core.refused */
    struct name channel;
    char text[];
};

#define WORD(literal) ((struct name){ (literal), sizeof(literal) - 1 })

static struct core_shard *shard_of(struct core *core, const struct member *member)
{
    return &core->shards[member->group->shard];
}

/* --- groups --- */

static struct core_group *find_group(const struct core *core, struct name name)
{
    struct table_node *node = table_first(&core->groups, name_hash(name));
    for (; node != NULL; node = table_next_same(node)) {
        struct core_group *group = list_entry(node, struct core_group, by_name);
        if (name_equal(group->name, name))
            return group;
    }
    return NULL;
}

static struct core_group *group_for(struct core *core, struct name name)
{
    struct core_group *group = find_group(core, name);
    if (group != NULL)
        return group;
    struct name key;
    char *text = core_group_key(core, name, &key);
    group = mem_zalloc(sizeof *group + key.length);
    memcpy(group->text, key.bytes, key.length);
    mem_free(text);
    group->key = (struct name){ group->text, key.length };
    group->name = (struct name){ group->text + key.length - name.length, name.length };
    group->shard = redis_shard(name, core->shard_count);
    if (table_insert(&core->groups, &group->by_name, name_hash(group->name)) != 0)
        abort(); /* a fixed size */
    return group;
}

static void free_unused(struct core *core, struct core_group *group)
{
    if (group->members > 0 || group->listing > 0)
        return;
    table_remove(&core->groups, &group->by_name);
    mem_free(group);
}

static void on_listed(void *context, void *argument, const struct redisReply *reply)
{
    struct core_shard *shard = context;
    struct core_group *group = argument;
    group->listing--;
    group->listed = reply != NULL && reply->type != REDIS_REPLY_ERROR && group->own > 0;
    free_unused(shard->core, group);
}

static void list_group(struct core_shard *shard, struct core_group *group)
{
    if (!group->listed && group->listing == 0 && core_census_list(shard, group->key, true, on_listed, group))
        group->listing++;
}

/* --- members --- */

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
        if (name_equal(member->group->name, group) && name_equal(member->channel, channel))
            return member;
    }
    return NULL;
}

static struct member *make(struct core *core, struct name group, struct name channel, bool elsewhere)
{
    struct member *member = mem_zalloc(sizeof *member + channel.length);
    memcpy(member->text, channel.bytes, channel.length);
    member->channel = (struct name){ member->text, channel.length };
    member->group = group_for(core, group);
    member->group->members++;
    member->group->own += !elsewhere;
    member->elsewhere = elsewhere;
    member->adoptable = elsewhere && core_peneus_client(channel).length > 0;
    member->agreed = true; /* that it is no member */
    list_init(&member->of_refused);
    list_init(&member->receipts);
    if (table_insert(&core->members, &member->by_pair, pair_hash(group, channel)) != 0)
        abort(); /* a fixed size */
    return member;
}

static void set_agreed(struct core *core, struct member *member, bool agreed)
{
    if (agreed != member->agreed)
        agreed ? core->open_members-- : core->open_members++;
    member->agreed = agreed;
}

static void set_restoring(struct core *core, struct member *member, bool restoring)
{
    struct core_shard *shard = shard_of(core, member);
    if (restoring != member->restoring)
        restoring ? shard->restoring++ : shard->restoring--;
    member->restoring = restoring;
}

static void no_more_refused(struct core *core, struct member *member)
{
    list_remove(&member->of_refused);
    if (member->refusals > 0 && --core->refused_members == 0)
        remote_refuses_nothing(&core->remote);
    member->refusals = 0;
}

/* It has no answers outstanding. */
static void forget(struct core *core, struct member *member)
{
    struct core_group *group = member->group;
    set_agreed(core, member, true);
    set_restoring(core, member, false);
    no_more_refused(core, member);
    table_remove(&core->members, &member->by_pair);
    group->members--;
    if (!member->elsewhere && --group->own == 0 && (group->listed || group->listing > 0)) {
        group->listed = false;
        core_census_list(&core->shards[group->shard], group->key, false, NULL, NULL);
    }
    mem_free(member);
    free_unused(core, group);
}

/* --- writing --- */

static void refused(struct core *core, struct member *member)
{
    uint64_t wait = RETRY_FIRST_MS;
    for (unsigned i = 0; i < member->refusals && wait < RETRY_LONGEST_MS; i++)
        wait *= 2;
    if (member->refusals++ == 0)
        core->refused_members++;
    member->retry_at = clock_ms() + (wait < RETRY_LONGEST_MS ? wait : RETRY_LONGEST_MS);
    list_remove(&member->of_refused);
    list_append(&core->refused, &member->of_refused);
    core_begin_ticking(core);
}

/* Every answer has come. */
static void conclude(struct core *core, struct member *member)
{
    set_restoring(core, member, false);
    if (member->refused) {
        refused(core, member);
        return;
    }
    if (member->lost)
        return; /* it is written when the connection is back */
    set_agreed(core, member, true);
    no_more_refused(core, member);
    member->confirmed = member->written = member->wanted;
    member->group->late = false;
    receipts_confirm(&member->receipts, &core->ledger, LAYER_OK, NULL);
    if (member->adoptable)
        core_adopt_tell(core, member->group->name, member->channel, member->wanted, member->overflow);
    if (!member->wanted || member->elsewhere)
        forget(core, member);
}

/* The answer to ZADD (the first of two that the newest write has) or EXPIRE, or to ZREM. */
static void on_written(void *context, void *argument, const struct redisReply *reply)
{
    struct core_shard *shard = context;
    struct core *core = shard->core;
    struct member *member = argument;
    bool counts = member->answers <= member->newest, first = member->answers == member->newest;
    member->answers--;
    if (counts && core_is_away(reply)) {
        member->lost = true;
    } else if (counts && reply->type == REDIS_REPLY_ERROR) {
        member->refused = true;
        receipts_confirm(&member->receipts, &core->ledger, LAYER_REFUSED, reply->str);
    } else if (counts && first && member->wanted && !member->elsewhere && reply->type == REDIS_REPLY_INTEGER && reply->integer == 1 &&
               (member->confirmed || member->group->late)) {
        member->group->missed = true; /* it was not there, and should have been */
        core_gap_soon(shard);
    }
    if (member->answers == 0)
        conclude(core, member);
}

static int send_word(struct core_shard *shard, struct member *member, size_t count, const struct name *words)
{
    int result = core_send(shard, count, words, on_written, member);
    member->answers += result == REDIS_LINK_OK;
    member->newest += result == REDIS_LINK_OK;
    return result;
}

static int add(struct core_shard *shard, struct member *member)
{
    struct core *core = shard->core;
    if (member->adoptable) {
        int asked = core_adopt_ask(shard, member->group->key, member->channel, on_written, member);
        member->answers += asked == REDIS_LINK_OK;
        member->newest += asked == REDIS_LINK_OK;
        return asked;
    }
    char score[CORE_SCORE_SIZE], expiry[24];
    core_score(core, score);
    snprintf(expiry, sizeof expiry, "%llu", (unsigned long long)(core->settings->group_expiry_ms + 999) / 1000);
    const struct name words[] = { WORD("ZADD"), member->group->key, { score, strlen(score) }, member->channel };
    const struct name expire[] = { WORD("EXPIRE"), member->group->key, { expiry, strlen(expiry) } };
    int result = send_word(shard, member, 4, words);
    return result != REDIS_LINK_OK ? result : send_word(shard, member, 3, expire);
}

/* Says to Redis what is wanted, if the connection is there. */
static void write_member(struct core *core, struct member *member)
{
    struct core_shard *shard = shard_of(core, member);
    if (core->closed || !redis_link_is_up(shard->commands))
        return; /* core_members_restore() */
    int result;
    member->newest = 0;
    member->refused = member->lost = false;
    if (member->wanted) {
        if (!member->elsewhere)
            list_group(shard, member->group);
        result = add(shard, member);
    } else {
        const struct name words[] = { WORD("ZREM"), member->group->key, member->channel };
        result = send_word(shard, member, 3, words);
    }
    member->written = member->written || member->newest > 0;
    if (result == REDIS_LINK_OK)
        return;
    receipts_confirm(&member->receipts, &core->ledger, LAYER_UNSENT, NULL);
    member->refused = true; /* there is no memory: again, as if Redis had refused it */
    if (member->answers == 0)
        conclude(core, member);
}

static void want(struct core *core, struct member *member, bool wanted, struct remote_item *item)
{
    member->wanted = wanted;
    member->confirmed = member->confirmed && wanted;
    if (item->elsewhere)
        member->overflow = (enum overflow)item->capacity;
    receipts_add(&member->receipts, &core->ledger, item->group, item->asked_at);
    remote_done(item, true);
    set_agreed(core, member, false);
    if (!wanted && !member->written && !member->elsewhere) {
        receipts_confirm(&member->receipts, &core->ledger, LAYER_OK, NULL);
        forget(core, member); /* Redis never heard of it */
        return;
    }
    list_remove(&member->of_refused);
    write_member(core, member);
    core_begin_ticking(core);
}

void core_join(struct core *core, struct remote_item *item)
{
    struct member *member = find(core, item->group, item->channel);
    want(core, member != NULL ? member : make(core, item->group, item->channel, item->elsewhere), true, item);
}

void core_leave(struct core *core, struct remote_item *item)
{
    struct member *member = find(core, item->group, item->channel);
    if (member == NULL && !item->elsewhere)
        remote_done(item, true);
    else
        want(core, member != NULL ? member : make(core, item->group, item->channel, item->elsewhere), false, item);
}

void core_join_late(struct core *core, struct name name)
{
    struct core_group *group = find_group(core, name);
    if (group != NULL)
        group->late = true;
}

void core_disown(struct core *core, struct name key, struct name channel)
{
    size_t before = core->settings->prefix.length + strlen(core_group_infix);
    if (key.length <= before)
        return;
    struct name group = { key.bytes + before, key.length - before };
    if (find(core, group, channel) != NULL)
        return; /* it is wanted, or on its way out */
    struct member *member = make(core, group, channel, false);
    member->written = true;
    member->group->listed = true; /* there it was found */
    set_agreed(core, member, false);
    write_member(core, member);
}

/* --- time, and lost connections --- */

void core_members_tick(struct core *core, uint64_t now)
{
    struct list_node due;
    list_init(&due);
    for (struct list_node *node = core->refused.next, *next; node != &core->refused; node = next) {
        next = node->next;
        if (list_entry(node, struct member, of_refused)->retry_at > now)
            continue;
        list_remove(node);
        list_append(&due, node);
    }
    while (!list_empty(&due)) {
        struct list_node *first = due.next;
        list_remove(first);
        write_member(core, list_entry(first, struct member, of_refused));
    }
}

void core_members_restore(struct core_shard *shard)
{
    struct core *core = shard->core;
    size_t bucket = 0, index = (size_t)(shard - core->shards);
    struct table_node *node = NULL;
    while ((node = table_walk(&core->groups, &bucket, node)) != NULL) {
        struct core_group *group = list_entry(node, struct core_group, by_name);
        if (group->shard == index)
            group->listed = false;
    }
    bucket = 0;
    node = NULL;
    while ((node = table_walk(&core->members, &bucket, node)) != NULL) {
        struct member *member = list_entry(node, struct member, by_pair);
        if (member->group->shard != index)
            continue;
        list_remove(&member->of_refused);
        set_agreed(core, member, false);
        set_restoring(core, member, true);
        write_member(core, member); /* answers come later: the table stays as it is */
    }
}

bool core_group_missed(const struct core *core, struct name name)
{
    const struct core_group *group = find_group(core, name);
    return group != NULL && group->missed;
}

void core_groups_told(struct core_shard *shard)
{
    struct core *core = shard->core;
    size_t bucket = 0, index = (size_t)(shard - core->shards);
    struct table_node *node = NULL;
    while ((node = table_walk(&core->groups, &bucket, node)) != NULL) {
        struct core_group *group = list_entry(node, struct core_group, by_name);
        if (group->shard == index)
            group->missed = false;
    }
}

void core_members_free(struct core *core)
{
    struct table_node *node;
    size_t bucket = 0;
    while ((node = table_walk(&core->members, &bucket, NULL)) != NULL) {
        struct member *member = list_entry(node, struct member, by_pair);
        receipts_confirm(&member->receipts, &core->ledger, LAYER_UNSENT, NULL);
        table_remove(&core->members, node);
        mem_free(member);
        bucket = 0;
    }
    table_deinit(&core->members);
    bucket = 0;
    while ((node = table_walk(&core->groups, &bucket, NULL)) != NULL) {
        table_remove(&core->groups, node);
        mem_free(list_entry(node, struct core_group, by_name));
        bucket = 0;
    }
    table_deinit(&core->groups);
}
