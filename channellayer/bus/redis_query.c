#include "channellayer/bus/redis_query.h"

#include <hiredis/hiredis.h>
#include <stdint.h>
#include <string.h>

#include "base/alloc.h"
#include "channellayer/bus/redis_pubsub_state.h"
#include "channellayer/bytes.h"

enum {
    QUERY_MS = 1000,
    NAME_LETTERS = 16,
    HEAD = 1 + NAME_LETTERS,
    UNKNOWN = -1,
};

struct query {
    struct list_node link;
    struct redis_pubsub *bus;
    struct remote_item *item;   /* NULL: it is over, and only its PUBLISH's answer is waited for */
    char name[NAME_LETTERS];
    bool asked;
    bool publishing;            /* PUBLISH is not answered */
    long long listeners;        /* that have got it; UNKNOWN */
    long long answers;
    uint64_t until;             /* uv_now() */
    struct bytes names;
};

void redis_queries_init(struct redis_queries *queries)
{
    *queries = (struct redis_queries){ 0 };
    list_init(&queries->open);
}

static struct query *query_of(struct list_node *node)
{
    return list_entry(node, struct query, link);
}

static void finish(struct query *query)
{
    struct remote_item *item = query->item;
    query->item = NULL;
    list_remove(&query->link);
    if (item != NULL && query->listeners != UNKNOWN && !query->names.failed)
        remote_answer(item, (struct span){ query->names.data, query->names.length });
    else if (item != NULL)
        remote_done(item, false);
    bytes_deinit(&query->names);
    if (!query->publishing)
        mem_free(query);
}

void redis_queries_deinit(struct redis_queries *queries)
{
    while (!list_empty(&queries->open))
        finish(query_of(queries->open.next));
    queries->topic = NULL;
}

/* --- the topic --- */

static void need_topic(struct redis_pubsub *bus)
{
    struct redis_queries *queries = &bus->queries;
    bool needed = queries->groups > 0 || !list_empty(&queries->open);
    if (needed == (queries->topic != NULL) || bus->stopping)
        return;
    struct topic *topic = queries->topic;
    if (needed)
        topic = pubsub_topic(bus, bus->settings->prefix, (struct name){ "__peneus__query", 15 });
    topic->query_wanted = needed;
    queries->topic = needed ? topic : NULL;
    redis_node_update(topic->node, topic);
}

void redis_queries_count(struct redis_pubsub *bus, bool more)
{
    more ? bus->queries.groups++ : bus->queries.groups--;
    need_topic(bus);
}

/* --- who asks --- */

static void finish_if_complete(struct query *query)
{
    if (query->listeners != UNKNOWN && query->answers >= query->listeners) {
        struct redis_pubsub *bus = query->bus;
        finish(query);
        need_topic(bus);
    }
}

static void on_asked(void *context, void *argument, const struct redisReply *reply)
{
    struct query *query = argument;
    (void)context;
    query->publishing = false;
    if (query->item == NULL) {
        mem_free(query);
        return;
    }
    if (reply == NULL || reply->type != REDIS_REPLY_INTEGER) {
        query->asked = false; /* again, while there is time */
        return;
    }
    query->listeners = reply->integer;
    finish_if_complete(query);
}

static void ask(struct query *query)
{
    struct redis_pubsub *bus = query->bus;
    struct topic *topic = bus->queries.topic;
    struct bytes text = { 0 };
    if (topic == NULL || topic->state != TOPIC_CONFIRMED || query->publishing)
        return; /* it could not hear the answers */
    bytes_add_byte(&text, '?');
    bytes_add(&text, query->name, NAME_LETTERS);
    bytes_add(&text, query->item->group.bytes, query->item->group.length);
    struct name payload = { (const char *)text.data, text.length };
    query->publishing = !text.failed;
    if (query->publishing && redis_node_say(topic->node, topic->name, payload, (struct redis_reader){ on_asked, query, false }) == REDIS_LINK_OK)
        query->asked = true;
    else
        query->publishing = false;
    bytes_deinit(&text);
}

void redis_query_ask(struct redis_pubsub *bus, struct remote_item *item)
{
    static const char letters[] = "abcdefghijklmnop";
    unsigned char random[NAME_LETTERS];
    struct query *query = mem_zalloc(sizeof *query);
    query->bus = bus;
    query->item = item;
    query->listeners = UNKNOWN;
    query->until = uv_now(pubsub_loop(bus)) + QUERY_MS;
    uv_random(NULL, NULL, random, sizeof random, 0, NULL);
    for (size_t i = 0; i < NAME_LETTERS; i++)
        query->name[i] = letters[random[i] % 16];
    list_init(&query->link);
    list_append(&bus->queries.open, &query->link);
    need_topic(bus);
    ask(query);
}

void redis_queries_pump(struct redis_pubsub *bus)
{
    uint64_t now = uv_now(pubsub_loop(bus));
    for (struct list_node *at = bus->queries.open.next, *next; at != &bus->queries.open; at = next) {
        struct query *query = query_of(at);
        next = at->next;
        if (query->until <= now)
            finish(query);
        else if (!query->asked)
            ask(query);
    }
    need_topic(bus);
}

/* --- who answers --- */

static void add_name(void *context, struct name channel)
{
    struct bytes *text = context;
    bytes_add_byte(text, (unsigned char)channel.length);
    bytes_add(text, channel.bytes, channel.length);
}

static void answer(struct redis_pubsub *bus, struct name question)
{
    struct topic *topic = bus->queries.topic;
    struct layer *layer = topic == NULL ? NULL : remote_enter(&bus->remote);
    struct bytes text = { 0 };
    if (layer == NULL)
        return;
    bytes_add_byte(&text, '!');
    bytes_add(&text, question.bytes + 1, NAME_LETTERS);
    layer_each_member(layer, (struct name){ question.bytes + HEAD, question.length - HEAD }, add_name, &text);
    layer_release(layer);
    struct name payload = { (const char *)text.data, text.length };
    if (!text.failed)
        redis_node_say(topic->node, topic->name, payload, (struct redis_reader){ NULL, NULL, false }); /* who hears nothing waits no longer than QUERY_MS */
    bytes_deinit(&text);
}

/* Whether names are a length byte and a name, and so on. */
static bool are_names(const char *names, size_t length)
{
    size_t at = 0;
    while (at < length)
        at += 1 + (unsigned char)names[at];
    return at == length;
}

static void answered(struct redis_pubsub *bus, struct name text)
{
    for (struct list_node *at = bus->queries.open.next; at != &bus->queries.open; at = at->next) {
        struct query *query = query_of(at);
        if (memcmp(query->name, text.bytes + 1, NAME_LETTERS) != 0)
            continue;
        if (are_names(text.bytes + HEAD, text.length - HEAD))
            bytes_add(&query->names, text.bytes + HEAD, text.length - HEAD);
        query->answers++;
        finish_if_complete(query);
        return;
    }
}

void redis_query_heard(struct redis_pubsub *bus, struct name payload)
{
    if (payload.length >= HEAD && payload.bytes[0] == '?')
        answer(bus, payload);
    else if (payload.length >= HEAD && payload.bytes[0] == '!')
        answered(bus, payload);
}
