/* Who is in a group, everywhere: its sorted set. Where its Redis is away the question waits, for as long as a lost connection usually
 * takes to be back. */
#include "channellayer/bus/core_state.h"

#include <stdlib.h>

#include <hiredis/hiredis.h>

#include "base/alloc.h"

#define WORD(literal) ((struct name){ (literal), sizeof(literal) - 1 })

static void on_members(void *context, void *argument, const struct redisReply *reply)
{
    struct core_shard *shard = context;
    struct core_job *job = argument;
    struct bytes names = { 0 };
    if (core_is_away(reply) && shard->core->stop_at == 0) {
        list_remove(&job->link);
        list_append(&shard->core->unasked, &job->link);
        return;
    }
    if (reply == NULL || reply->type != REDIS_REPLY_ARRAY) {
        if (reply != NULL && reply->type == REDIS_REPLY_ERROR) {
            remote_settled(job->item, LAYER_REFUSED, reply->str);
            job->item = NULL;
        }
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
    int result = core_send(shard, 4, range, on_members, job);
    mem_free(text);
    list_remove(&job->link);
    if (result == REDIS_LINK_NO_MEMORY)
        core_job_done(job, false);
    else
        list_append(result == REDIS_LINK_OK ? &core->sent : &core->unasked, &job->link);
}

void core_query_resume(struct core *core)
{
    struct list_node waiting;
    list_init(&waiting);
    while (!list_empty(&core->unasked)) {
        struct list_node *first = core->unasked.next;
        list_remove(first);
        list_append(&waiting, first);
    }
    while (!list_empty(&waiting))
        core_query(core, list_entry(waiting.next, struct core_job, link));
}

void core_query_expire(struct core *core, uint64_t then)
{
    for (struct list_node *node = core->unasked.next, *next; node != &core->unasked; node = next) {
        struct core_job *job = list_entry(node, struct core_job, link);
        next = node->next;
        if (job->asked_at < then)
            core_job_done(job, false);
    }
}
