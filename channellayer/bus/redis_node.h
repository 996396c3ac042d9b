/* redis_node.h: one Redis as the pubsub bus uses it: a connection that hears, one that publishes, the topics that lie there,
 * and what waits to be published there.
 *
 * Owner:   the pubsub bus.
 * Thread:  the bus's.
 * Limits:  what waits is bounded by struct remote in bytes, and by buffer_time_ms.
 *
 * Two connections, because with RESP2 one that has subscribed can publish nothing, and so that what floods one does not
 * hold up the other.
 */
#ifndef PENEUS_CHANNELLAYER_BUS_REDIS_NODE_H
#define PENEUS_CHANNELLAYER_BUS_REDIS_NODE_H

#include <stdbool.h>
#include <stddef.h>

#include "base/list.h"
#include "channellayer/bus/ledger.h"
#include "channellayer/bus/patience.h"
#include "channellayer/bus/redis_link.h"
#include "channellayer/bus/redis_topic.h"

struct redis_pubsub;
struct remote_item;

/* A message on its way to Redis. */
struct publish {
    struct list_node link;    /* a node's waiting, a topic's held; in none while its answer is waited for */
    struct remote_item *item;
    struct note note;
    uint64_t held_until;      /* uv_now() */
    unsigned moves;           /* how often a cluster has sent it elsewhere */
    struct name topic;
    char *text;               /* topic's; mem_free() */
};

struct redis_node {
    struct list_node link;          /* the bus's nodes */
    struct redis_pubsub *bus;
    const struct redis_host *host;
    struct redis_host *own_host;    /* a cluster's node alone: host, in memory of its own */
    struct redis_link *subscriber;  /* NULL: the node of what has no place in the cluster yet */
    struct redis_link *publisher;
    struct list_node topics;
    struct list_node dirty;
    struct list_node waiting;       /* struct publish */
    size_t open_topics;             /* for which Redis has not yet confirmed what is wanted */
    bool recovering;                /* the subscriber was lost, and not everything has been subscribed again */
    bool told_lost;                 /* on_disconnect has been told, and on_reconnect has not */
    struct note recovery;           /* of recovering: who settles everything now waits for it */
    struct patience patience;       /* with the subscriber */
    unsigned open_links;
    bool leaving;                   /* redis_node_close() */
    bool mapped;                    /* a cluster's map has it: set anew while one is read */
};

/* In the bus's nodes, without links. host lives as long as the node. NULL when there is no memory. */
struct redis_node *redis_node_create(struct redis_pubsub *bus, const struct redis_host *host);

/* Makes the links that it has not. Where there is no memory some are missing: call it again later. */
void redis_node_connect(struct redis_node *node);

/* Closes its links; it has neither topics nor anything waiting. pubsub_node_closed() when that is done; then redis_node_free(). */
void redis_node_close(struct redis_node *node);
void redis_node_free(struct redis_node *node);

/* Puts a topic, that is IDLE and nowhere, on the node; redis_node_update() then. */
void redis_node_add(struct redis_node *node, struct topic *topic);

/* Takes it off again, whatever its state: it is IDLE then. */
void redis_node_remove(struct redis_node *node, struct topic *topic);

/* Something about topic has changed: says it to Redis soon, confirms what is done, and frees the topic where nobody needs it. */
void redis_node_update(struct redis_node *node, struct topic *topic);

/* Asks for a topic that is REFUSED once more. */
void redis_node_retry(struct redis_node *node, struct topic *topic);

/* Sends what is to be said about topics. */
void redis_node_flush(struct redis_node *node);

/* Messages of some of its topics may be missed (topic.missed), until every topic is subscribed: pubsub_recovered() then. */
void redis_node_miss(struct redis_node *node);

/* Publishes payload (encrypted where the bus does so) now. As redis_link_send(). */
int redis_node_say(struct redis_node *node, struct name topic, struct name payload, struct redis_reader reader);

/* Publishes, now or once there is a connection. */
void redis_node_publish(struct redis_node *node, struct publish *publish);

/* Fails what waits and was asked for before then. */
void redis_node_expire(struct redis_node *node, uint64_t then);

#endif
