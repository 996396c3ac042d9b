/* redis_topic.h: what this process wants to hear from Redis: the topic of a group, or a channel's own name.
 *
 * Owner:   the pubsub bus, while somebody wants it or Redis still thinks so.
 * Thread:  the bus's.
 * Limits:  one for each group with members here and each channel made here.
 *
 *   IDLE ──SUBSCRIBE──▶ ASKED ──▶ CONFIRMED ──UNSUBSCRIBE──▶ LEAVING ──▶ IDLE        a lost connection: all are IDLE
 *                         └──────▶ REFUSED ──after 1 s, 2 s, … 30 s, or for somebody who joins──▶ IDLE
 */
#ifndef PENEUS_CHANNELLAYER_BUS_REDIS_TOPIC_H
#define PENEUS_CHANNELLAYER_BUS_REDIS_TOPIC_H

#include <stdbool.h>

#include "base/list.h"
#include "channellayer/bus/ledger.h"
#include "channellayer/layer.h"
#include "channellayer/table.h"

struct redis_node;

enum topic_state {
    TOPIC_IDLE,
    TOPIC_ASKED,     /* waits for SUBSCRIBE's confirmation */
    TOPIC_CONFIRMED,
    TOPIC_LEAVING,   /* waits for UNSUBSCRIBE's */
    TOPIC_REFUSED,
};

struct topic {
    struct table_node of_table;
    struct list_node of_node;    /* its node's topics */
    struct list_node of_dirty;   /* its node's topics that something is to be said about */
    struct list_node of_holding; /* the bus's topics that hold publishes */
    struct list_node of_refused; /* the bus's topics that Redis has refused and that are wanted */
    struct list_node held;       /* struct publish: until the subscription is confirmed */
    struct list_node receipts;   /* struct receipt: of joins and leaves that are not done */
    struct redis_node *node;
    struct redis_request *request; /* ASKED, LEAVING: the command that waits for its answer, and the topic's place in it */
    size_t request_index;
    enum topic_state state;
    bool group_wanted;
    bool channel_wanted;
    bool query_wanted; /* redis_query.h */
    bool missed; /* messages may have been, and its group is to be told once it is confirmed */
    bool open;  /* counted in its node's open_topics */
    bool alone; /* was refused together with others: ask for it by itself */
    char *refusal; /* what Redis said last against it; mem_free(); or NULL */
    unsigned refusals;   /* in a row */
    uint64_t refused_at; /* clock_ms(), of the last */
    size_t prefix_length; /* of name, before the group */
    struct name name;
};

/* A topic with a copy of prefix and rest. Aborts where there is no memory: names are short. */
struct topic *topic_create(struct name prefix, struct name rest);
void topic_destroy(struct topic *topic);

static inline bool topic_wanted(const struct topic *topic)
{
    return topic->group_wanted || topic->channel_wanted || topic->query_wanted;
}

/* Whether Redis has heard what is wanted. */
static inline bool topic_settled(const struct topic *topic)
{
    return topic->state == TOPIC_REFUSED || topic->state == (topic_wanted(topic) ? TOPIC_CONFIRMED : TOPIC_IDLE);
}

struct topic *topic_find(const struct table *table, struct name name);

#endif
