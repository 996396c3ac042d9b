/* The hub's questions: one process asks which channels are in a group, those that have announced it answer, and the asker gets all
 * answers as one, at the latest after QUERY_MS, and then is told that some are missing. */
#include <string.h>

#include "base/alloc.h"
#include "channellayer/bus/hub_state.h"

enum { QUERY_MS = 1000 };

static void finish(struct hub_query *query)
{
    bool partial = query->partial || query->missing > 0 || query->names.failed;
    struct hub_frame answer = { HUB_ANSWER, query->number, { "?", partial }, { query->names.data, query->names.length } };
    list_remove(&query->of_hub);
    if (query->asker != NULL)
        (void)hub_pipe_say(&query->asker->pipe, &answer);
    bytes_deinit(&query->names);
    mem_free(query->asked);
    mem_free(query);
}

static void ask(struct hub_query *query, struct hub_member *member, struct name group)
{
    struct hub_chunk *chunk = hub_chunk_create(&(struct hub_frame){ HUB_QUERY, query->id, group, { NULL, 0 } }, false);
    if (chunk != NULL && hub_pipe_write(&member->pipe, chunk)) {
        query->asked[query->asked_count++] = member;
        query->missing++;
    } else {
        query->partial = true;
    }
    hub_chunk_release(chunk);
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
        .until = uv_now(bus_thread_loop(hub->thread)) + QUERY_MS,
    };
    list_append(&hub->queries, &query->of_hub);
    size_t count = topic != NULL ? list_length(&topic->followers) : 0;
    query->asked = count > 0 ? mem_try_alloc(count * sizeof(struct hub_member *)) : NULL;
    query->partial = count > 0 && query->asked == NULL;
    for (struct list_node *node = query->asked != NULL ? topic->followers.next : NULL; node != NULL && node != &topic->followers; node = node->next) {
        struct hub_member *member = list_entry(node, struct hub_follow, of_topic)->member;
        if (member != asker)
            ask(query, member, frame->name);
    }
    if (query->missing == 0)
        finish(query);
}

/* member has answered, or has gone. */
static bool strike_off(struct hub_query *query, const struct hub_member *member)
{
    for (size_t i = 0; i < query->asked_count; i++) {
        if (query->asked[i] != member)
            continue;
        query->asked[i] = NULL;
        query->missing--;
        return true;
    }
    return false;
}

void hub_answered(struct hub_member *member, const struct hub_frame *frame)
{
    struct hub *hub = member->hub;
    for (struct list_node *node = hub->queries.next; node != &hub->queries; node = node->next) {
        struct hub_query *query = list_entry(node, struct hub_query, of_hub);
        if (query->id != frame->number)
            continue;
        if (!strike_off(query, member))
            return;
        bytes_add(&query->names, frame->payload.bytes, frame->payload.length);
        if (query->missing == 0)
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
    for (struct list_node *node = hub->queries.next; node != &hub->queries;) {
        struct hub_query *query = list_entry(node, struct hub_query, of_hub);
        node = node->next;
        if (query->asker == member)
            query->asker = NULL;
        if (!strike_off(query, member) || query->missing > 0)
            continue;
        finish(query);
        node = hub->queries.next; /* its asker may have gone with that, and further queries with the asker */
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
