/* hub.h: the bus of the processes of one machine, over the hub (hub_server.h).
 *
 * Owner:   its layer.
 * Thread:  as bus.h says.
 * Limits:  remote.h's buffer_limit; what is published waits at most buffer_time_ms while there is no hub.
 */
#ifndef PENEUS_CHANNELLAYER_BUS_HUB_H
#define PENEUS_CHANNELLAYER_BUS_HUB_H

#include <stddef.h>
#include <stdint.h>

#include "channellayer/bus.h"

struct hub_settings {
    const char *path;
    const char *client; /* of this process's channels: `prefix.{client}!…` */
    size_t buffer_limit;
    uint64_t buffer_time_ms;
    uint64_t settle_time_ms; /* within which the hub must answer; 0: 10 s */
};

/* layer_config.bus_create; settings is a struct hub_settings, used during the call alone. */
struct bus *bus_hub_create(struct layer *layer, const void *settings);

#endif
