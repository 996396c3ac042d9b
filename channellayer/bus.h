/* bus.h: how group messages reach the members in other processes. Today one bus: local, where there are none.
 *
 * Owner:   the layer creates and destroys its bus.
 * Thread:  the layer calls it with its lock held for subscribe and unsubscribe, without it for publish.
 * Limits:  each bus bounds what it buffers; publish says when it is full.
 */
#ifndef PENEUS_CHANNELLAYER_BUS_H
#define PENEUS_CHANNELLAYER_BUS_H

#include "channellayer/layer.h"

struct bus {
    const struct bus_operations *operations;
};

struct bus_operations {
    const char *name;
    /* The group has its first member, or has lost its last, in this process. Must not block. */
    void (*subscribe)(struct bus *bus, struct name group);
    void (*unsubscribe)(struct bus *bus, struct name group);
    /* Sends message to the group's members everywhere, this process included (layer_deliver). An enum layer_result. */
    int (*publish)(struct bus *bus, struct name group, struct message *message);
    void (*destroy)(struct bus *bus);
};

/* Puts message into the mailboxes of the members in this process. Thread: any. An enum layer_result. */
int layer_deliver(struct layer *layer, struct name group, struct message *message);

/* The bus of a process that is alone: publish delivers at once. NULL when there is no memory. */
struct bus *bus_local_create(struct layer *layer);

#endif
