/* hub_names.h: the names that a process announces to the hub: groups, or channels. For each it knows what is wanted and what has been
 * announced, so that a hub that reads slowly costs one entry for a name, however often that is joined and left.
 *
 * Owner:   struct bus_hub embeds one of each.
 * Thread:  the bus thread.
 * Limits:  none here: the groups and channels of the process, and those it has left that the hub has not been told of.
 */
#ifndef PENEUS_CHANNELLAYER_BUS_HUB_NAMES_H
#define PENEUS_CHANNELLAYER_BUS_HUB_NAMES_H

#include <stdbool.h>

#include "base/list.h"
#include "channellayer/layer.h"
#include "channellayer/table.h"

struct hub_names {
    struct table table;
    struct list_node changed; /* entries that are to be announced, or taken back, in the order of the changes */
};

void hub_names_init(struct hub_names *names);
void hub_names_deinit(struct hub_names *names);

/* name is wanted, or no more. */
void hub_names_want(struct hub_names *names, struct name name, bool wanted);

/* The next change, which counts as announced from now on: calls each(context, name, wanted). False: there is none. */
bool hub_names_next(struct hub_names *names, void (*each)(void *context, struct name name, bool wanted), void *context);

/* Another hub, which has been told nothing. */
void hub_names_begin(struct hub_names *names);

#endif
