/* redis_pubsub_state.h: the inside of the pubsub bus: its items and messages (redis_pubsub.c), its nodes (redis_node.c) and
 * the map of a cluster (redis_cluster.c).
 *
 * Owner:   the layer, by way of struct remote.
 * Thread:  the bus's.
 * Limits:  see redis_pubsub.h.
 */
#ifndef PENEUS_CHANNELLAYER_BUS_REDIS_PUBSUB_STATE_H
#define PENEUS_CHANNELLAYER_BUS_REDIS_PUBSUB_STATE_H

#include <stdbool.h>
#include <uv.h>

#include "channellayer/bus/ledger.h"
#include "channellayer/bus/redis_node.h"
#include "channellayer/bus/redis_query.h"
#include "channellayer/bus/remote.h"
#include "channellayer/table.h"

struct fernet;
struct redis_cluster;

struct redis_pubsub {
    struct remote remote;            /* first */
    struct redis_settings *settings; /* counted */
    struct fernet *fernet;           /* NULL: not encrypted */
    struct name group_prefix;        /* "{prefix}__group__" */
    struct ledger ledger;
    struct table topics;
    struct topic *anchor;            /* nobody's: it keeps the table from being empty, so that no insertion fails */
    struct redis_queries queries;
    struct list_node holding;        /* topics that hold publishes */
    struct list_node refused;        /* topics that are wanted, and that Redis has refused */
    struct list_node nodes;
    struct redis_node **shards;      /* settings->host_count; of a cluster: one, the node of what has no place yet */
    struct redis_cluster *cluster;   /* NULL: there is none */
    uv_prepare_t flush;              /* before the loop sleeps: what is dirty */
    uv_timer_t expiry;
    unsigned open_handles;           /* stopping: links' nodes, timers */
    bool stopping;
};

static inline uv_loop_t *pubsub_loop(const struct redis_pubsub *bus)
{
    return remote_loop(&bus->remote);
}

/* Something is dirty: redis_node_flush() comes before the loop sleeps. */
void pubsub_flush_soon(struct redis_pubsub *bus);

/* A message of a subscription has come. */
void pubsub_heard(struct redis_pubsub *bus, struct name topic, struct name payload);

/* The topic of that name, made where there is none: redis_node_update() then. */
struct topic *pubsub_topic(struct redis_pubsub *bus, struct name prefix, struct name rest);

/* publish has been answered, or will not be: ends it. status and reason as ledger_confirm() has them. */
void pubsub_end(struct redis_pubsub *bus, struct publish *publish, int status, const char *reason);

/* Sends publish where its topic belongs, or holds it until its group's own subscription is confirmed. */
void pubsub_route(struct redis_pubsub *bus, struct publish *publish);

/* node's subscriber is lost; or has everything again, after messages may have been missed. */
void pubsub_lost(struct redis_pubsub *bus, struct redis_node *node);
void pubsub_recovered(struct redis_pubsub *bus, struct redis_node *node);

/* The topic has gone everywhere. */
void pubsub_forget(struct redis_pubsub *bus, struct topic *topic);

/* One of the nodes has closed its links. */
void pubsub_node_closed(struct redis_pubsub *bus, struct redis_node *node);

/* A handle or a link of the bus has been closed, while it stops. */
void pubsub_closed(struct redis_pubsub *bus);

/* Where topic's messages lie. */
struct redis_node *pubsub_node_of(struct redis_pubsub *bus, struct name topic);

#endif
