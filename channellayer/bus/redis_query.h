/* redis_query.h: which channels the processes of Peneus on one Redis have in a group. Redis itself knows how many listen to a
 * topic, not who; so a process asks, on a topic of Peneus's own, and those that listen answer there.
 *
 * Owner:   the pubsub bus.
 * Thread:  the bus's.
 * Limits:  an answer is waited for a second; then those that came are given. A process listens while it has a group, or asks.
 *
 * The topic is "{prefix}__peneus__query"; the rest of the wire is as channels_redis.pubsub has it, whose processes know nothing of
 * this and are not among those that answer. A question is "?", 16 letters that name it, and the group; an answer "!", the same
 * letters, and a length byte and a name for each channel.
 */
#ifndef PENEUS_CHANNELLAYER_BUS_REDIS_QUERY_H
#define PENEUS_CHANNELLAYER_BUS_REDIS_QUERY_H

#include <stdbool.h>
#include <stddef.h>

#include "base/list.h"
#include "channellayer/layer.h"

struct redis_pubsub;
struct redisReply;
struct remote_item;

struct redis_queries {
    struct list_node open;  /* struct query, oldest first */
    struct topic *topic;    /* NULL: nobody needs it */
    size_t groups;          /* with members here */
};

void redis_queries_init(struct redis_queries *queries);

/* Ends every question; what was asked has failed. */
void redis_queries_deinit(struct redis_queries *queries);

/* A group has its first member here, or has lost its last. */
void redis_queries_count(struct redis_pubsub *bus, bool more);

/* Takes a REMOTE_QUERY. */
void redis_query_ask(struct redis_pubsub *bus, struct remote_item *item);

/* A message of the topic. */
void redis_query_heard(struct redis_pubsub *bus, struct name payload);

/* Often: asks what could not be asked before, and ends what has waited long enough. */
void redis_queries_pump(struct redis_pubsub *bus);

#endif
