/* redis_pubsub.h: the bus that says what channels_redis.pubsub 4.3 says: PUBLISH of a group's message on
 * `{prefix}__group__{group}`, of a channel's on its name, each on its shard; so old and new processes share one Redis.
 *
 * Owner:   the layer.
 * Thread:  as bus.h and remote.h say.
 * Limits:  buffer_limit bytes and buffer_time_ms for what cannot be sent; one subscription for a group and for each channel
 *          made here; two connections for each shard (and one to a Sentinel for each of them).
 *
 * On a cluster it is sharded publish and subscribe (SPUBLISH, SSUBSCRIBE: Redis 7, Valkey), which channels_redis does not
 * speak; every node there has its two connections, and one more asks for the map.
 */
#ifndef PENEUS_CHANNELLAYER_BUS_REDIS_PUBSUB_H
#define PENEUS_CHANNELLAYER_BUS_REDIS_PUBSUB_H

#include "channellayer/bus.h"

/* settings: a struct redis_settings, which is retained. NULL when there is no memory. */
struct bus *bus_redis_create(struct layer *layer, const void *settings);

#endif
