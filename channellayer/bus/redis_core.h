/* redis_core.h: the bus on the wire of channels_redis.core: sorted sets for messages and groups, one blocking reader a shard.
 *
 * Owner:   the layer.
 * Thread:  see bus.h; its work is done on the bus thread.
 * Limits:  buffer_limit bytes that wait to be sent, for buffer_time_ms; CORE_ACTIVE group messages looked up and sent at once.
 */
#ifndef PENEUS_CHANNELLAYER_BUS_REDIS_CORE_H
#define PENEUS_CHANNELLAYER_BUS_REDIS_CORE_H

struct bus;
struct layer;

/* settings: struct redis_settings, which it counts. NULL when there is no memory. For layer_config.bus_create. */
struct bus *bus_redis_core_create(struct layer *layer, const void *settings);

#endif
