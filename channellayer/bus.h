/* bus.h: how messages reach the channels and group members of other processes. local: there are none; hub: the processes of
 * one machine; redis: the wire of channels_redis.pubsub; core: that of channels_redis.core.
 *
 * Owner:   the layer creates (layer_config.bus_create) and destroys its bus.
 * Thread:  the layer calls joined, left, elsewhere, made, gone and wanted with its lock held: they must neither block nor call the layer.
 *          The others it calls without, from any thread: they must not block either.
 * Limits:  each bus bounds what waits to be sent; publish and send say when it is full.
 *
 * Buses that have a thread stand on bus/remote.h, which turns these calls into items on that thread.
 */
#ifndef PENEUS_CHANNELLAYER_BUS_H
#define PENEUS_CHANNELLAYER_BUS_H

#include <stdbool.h>
#include <stdint.h>

#include "channellayer/layer.h"

struct settling;
struct waiter;

struct bus {
    const struct bus_operations *operations;
};

struct bus_operations {
    const char *name;
    bool pairs; /* joined and left are wanted for each member and each renewal; otherwise for the group's first and last here */
    /* channel has become a member of group, or renewed it; first: the first one in this process. left: no more; last: no other. */
    void (*joined)(struct bus *bus, struct name group, struct name channel, bool first);
    void (*left)(struct bus *bus, struct name group, struct name channel, bool last);
    /* A channel that another process receives from joins group, or renews, or leaves. overflow: the group's policy where the channel is
     * its first member. False: it cannot be another's. NULL: nobody but the process that a channel belongs to can make it a member. */
    bool (*elsewhere)(struct bus *bus, struct name group, struct name channel, bool joins, enum overflow overflow);
    /* This process receives from channel, or no more. */
    void (*made)(struct bus *bus, struct name channel);
    void (*gone)(struct bus *bus, struct name channel);
    /* receivers wait on channel, which anybody may receive from, for a message that this process has not. NULL: not wanted. */
    void (*wanted)(struct bus *bus, struct name channel, size_t receivers);
    /* Sends message to the group's members everywhere, this process included. LAYER_OK, LAYER_UNSENT, LAYER_NO_MEMORY,
     * or what layer_deliver() returns where the bus delivers here at once. */
    int (*publish)(struct bus *bus, struct name group, struct message *message);
    /* Sends message to a channel that this process does not receive from. NULL: there is nobody else; the layer keeps it.
     * LAYER_OK, LAYER_UNSENT, LAYER_NO_MEMORY. */
    int (*send)(struct bus *bus, struct name channel, size_t capacity, struct message *message);
    /* True: the bus has taken waiter, and tells it (waiter_answered) once what was asked of it before (layer.h) has been confirmed,
     * or has failed. False: there is nothing to wait for. NULL: there never is. */
    bool (*settle)(struct bus *bus, const struct settling *what, struct waiter *waiter);
    /* Asks every process which channels it has in group: tells waiter (waiter_answered) a length byte and a name for each, those of
     * this process perhaps too, in any order. NULL: there are none elsewhere, or it cannot be known. */
    void (*query)(struct bus *bus, struct name group, struct waiter *waiter);
    /* Forgets what the bus keeps elsewhere; the layer has emptied its groups. NULL: nothing. */
    void (*flush)(struct bus *bus);
    /* NULL: all zero. */
    void (*stats)(struct bus *bus, struct bus_stats *stats);
    /* When it returns the bus does not call the layer any more. May be called on the bus's own thread. */
    void (*destroy)(struct bus *bus);
};

/* What a bus calls. Thread: any, no lock held. */

/* Puts message into the mailboxes of the members in this process, or relays it. An enum layer_result. */
int layer_deliver(struct layer *layer, struct name group, struct message *message);

/* As layer_deliver, of a group that the message does not name: to those of count channels, with "!" in their names, that are
 * here. Where they are just the members that one group has here it is that group's; otherwise each channel's groups say what a full
 * one does, and where those differ the oldest message makes room. An enum layer_result. */
int layer_deliver_to(struct layer *layer, const struct name *channels, size_t count, struct message *message);

/* Puts a message that came from elsewhere into channel: made if need be, unless its name has a "!"; the oldest message makes
 * room in a full one. LAYER_OK, LAYER_TOO_LARGE, LAYER_UNKNOWN (counted), LAYER_NO_MEMORY. */
int layer_put(struct layer *layer, struct name channel, size_t capacity, struct message *message);

/* Messages of the groups for which missed(context, group) is true may have been lost: tells each channel in one of them
 * that asked for it (layer_channel_create) with a message {"type": "channel.layer.gap", "groups": [its own of them]}. */
void layer_gap(struct layer *layer, bool (*missed)(void *context, struct name group), void *context);

/* Puts message into every channel that belongs to an owner (on_disconnect and on_reconnect of channels_redis). */
void layer_put_all(struct layer *layer, struct message *message);

/* The bus of a process that is alone: publish delivers at once. NULL when there is no memory. */
struct bus *bus_local_create(struct layer *layer);

#endif
