/* hub_names.h: the names that a process has announced to the hub: groups, or channels.
 *
 * Owner:   struct bus_hub embeds one of each.
 * Thread:  the bus thread.
 * Limits:  none here: the groups and channels of the process.
 */
#ifndef PENEUS_CHANNELLAYER_BUS_HUB_NAMES_H
#define PENEUS_CHANNELLAYER_BUS_HUB_NAMES_H

#include "channellayer/layer.h"
#include "channellayer/table.h"

struct hub_names {
    struct table table;
};

void hub_names_init(struct hub_names *names);
void hub_names_deinit(struct hub_names *names);

/* A name that is there already, or is not, changes nothing. */
void hub_names_add(struct hub_names *names, struct name name);
void hub_names_remove(struct hub_names *names, struct name name);

/* Calls each(context, name) for all of them; it must not change them. */
void hub_names_each(const struct hub_names *names, void (*each)(void *context, struct name name), void *context);

#endif
