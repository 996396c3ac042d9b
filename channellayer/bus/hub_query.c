/* The hub's questions: one process asks which channels are in a group, those that have announced it answer, and the asker gets all
 * answers as one, at the latest after QUERY_MS. */
#include <string.h>

#include "base/alloc.h"
#include "channellayer/bus/hub_state.h"

enum { QUERY_MS = 1000 };

static void finish(struct hub_query *query)
{
    struct hub_frame answer = { HUB_ANSWER, query->number, { "", 0 }, { query->names.data, query->names.length } };
    list_remove(&query->of_hub);
    if (query->asker != NULL)
        (void)hub_pipe_say(&query->asker->pipe, &answer);
    bytes_deinit(&query->names);
    mem_free(query);
}

void hub_ask(struct hub_member *asker, const struct hub_frame *frame)
{
    struct hub *hub = asker->hub;
    struct hub_topic *topic = hub_topic_find(&hub->groups, frame->name);
    struct hub_query *query = mem_alloc(sizeof *query);
    *query = (struct hub_query){
        .id = ++hub->last_query,
        .asker = asker,
        .number = frame->number,
        .missing = 1, /* until all have been asked: an answer may not finish it before */
        .until = uv_now(bus_thread_loop(hub->thread)) + QUERY_MS,
    };
    list_append(&hub->queries, &query->of_hub);
    for (struct list_node *node = topic != NULL ? topic->followers.next : NULL; topic != NULL && node != &topic->followers;
         node = node->next) {
        struct hub_member *member = list_entry(node, struct hub_follow, of_topic)->member;
        if (member == asker)
            continue;
        struct hub_chunk *chunk = hub_chunk_create(&(struct hub_frame){ HUB_QUERY, query->id, frame->name, { NULL, 0 } }, false);
        if (chunk != NULL && hub_pipe_write(&member->pipe, chunk))
            query->missing++;
        hub_chunk_release(chunk);
    }
    if (--query->missing == 0)
        finish(query);
}

void hub_answered(struct hub *hub, const struct hub_frame *frame)
{
    for (struct list_node *node = hub->queries.next; node != &hub->queries; node = node->next) {
        struct hub_query *query = list_entry(node, struct hub_query, of_hub);
        if (query->id != frame->number)
            continue;
        bytes_add(&query->names, frame->payload.bytes, frame->payload.length);
        if (--query->missing == 0)
            finish(query);
        return;
    }
}

void hub_queries_expire(struct hub *hub, uint64_t now)
{
    while (!list_empty(&hub->queries)) {
        struct hub_query *oldest = list_entry(hub->queries.next, struct hub_query, of_hub);
        if (oldest->until > now)
            return;
        finish(oldest);
    }
}

void hub_queries_forget(struct hub *hub, const struct hub_member *member)
{
    for (struct list_node *node = hub->queries.next; node != &hub->queries; node = node->next) {
        struct hub_query *query = list_entry(node, struct hub_query, of_hub);
        if (query->asker == member)
            query->asker = NULL;
    }
}

void hub_queries_free(struct hub *hub)
{
    while (!list_empty(&hub->queries)) {
        struct hub_query *query = list_entry(hub->queries.next, struct hub_query, of_hub);
        query->asker = NULL;
        finish(query);
    }
}
