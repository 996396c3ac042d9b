/* redis_cluster.h: which node of a Redis Cluster has which slots.
 *
 * Owner:   the pubsub bus.
 * Thread:  the bus's.
 * Limits:  one connection of its own, to one of the known nodes and the seeds in turn; the map is asked for at most five times a second.
 */
#ifndef PENEUS_CHANNELLAYER_BUS_REDIS_CLUSTER_H
#define PENEUS_CHANNELLAYER_BUS_REDIS_CLUSTER_H

#include <stdbool.h>

#include "channellayer/layer.h"

struct redis_cluster;
struct redis_host;
struct redis_node;
struct redis_pubsub;

/* host is a REDIS_CLUSTER and lives as long. NULL when there is no memory. */
struct redis_cluster *redis_cluster_create(struct redis_pubsub *bus, const struct redis_host *host);

/* pubsub_closed() when everything is closed. */
void redis_cluster_destroy(struct redis_cluster *cluster);

/* Asks for the map soon; then every topic, and all that waits on the node without place, goes where it belongs. */
void redis_cluster_refresh(struct redis_cluster *cluster);

/* The node of topic's slot; NULL: the map has none. */
struct redis_node *redis_cluster_node(const struct redis_cluster *cluster, struct name topic);

/* The slot of topic: CRC-16 of it, or of what stands between its first braces. */
unsigned redis_cluster_slot(struct name topic);

#endif
