/* channel.h: one named mailbox, who waits on it, and which groups it is in.
 *
 * Owner:   the layer: until its owner ends, or, for one without owner, until layer_sweep() finds it idle.
 * Thread:  any, with the layer's lock held.
 * Limits:  one mailbox.
 */
#ifndef PENEUS_CHANNELLAYER_CHANNEL_H
#define PENEUS_CHANNELLAYER_CHANNEL_H

#include <stdbool.h>
#include <stdint.h>

#include "channellayer/aftermath.h"
#include "channellayer/layer_state.h"
#include "channellayer/mailbox.h"

struct holding;
struct outlet;
struct owner_view;
struct waiter;

/* Which list of the layer a channel is in. channel_settle() is the only one to write it. */
enum channel_rest {
    CHANNEL_BUSY,   /* none: it has an owner, a group or a waiter, and no message */
    CHANNEL_QUEUED, /* queued: it has messages */
    CHANNEL_IDLE,   /* idle or idle_local: nothing keeps it */
};

struct channel {
    struct mailbox mailbox;
    struct list_node waiters;
    enum channel_rest rest;
    bool closed;        /* its owner is CLOSED: it joins no group */
    bool local;         /* a "!" in its name */
    bool overflow_told; /* its owner's connection was told to close */
    bool made;          /* by layer_channel_create(): it is this process's alone */
    bool received;      /* the bus knows that this process receives from it */
    bool gaps;          /* wants layer_gap()'s messages */
    uint64_t id;
    struct list_node rest_link;
    uint64_t idle_since;
    struct list_node memberships;
    uint64_t owner; /* 0: nobody */
    struct list_node of_holding;
    bool relays;           /* its owner has an outlet: relay events do not go to the application */
    struct outlet *outlet; /* that; NULL when its owner is CLOSED */
    uint64_t socket;       /* in outlet */
    bool accepted;         /* relay events go to the socket; before, they wait in held */
    struct mailbox held;
    uint64_t dropped; /* group messages, by overflow */
    struct table_node by_name;
    struct name name;
    char text[];
};

/* NULL when there is none. */
struct channel *channel_find(const struct layer *layer, struct name name, uint64_t hash);

/* Makes a channel without owner; name must not exist. NULL when there is no memory. */
struct channel *channel_make(struct layer *layer, struct name name, uint64_t hash, size_t capacity);

/* This process receives from channel: tells the bus, once. */
void channel_receive(struct layer *layer, struct channel *channel);

/* Gives channel, which has no owner, to holding's owner. */
void channel_give(struct channel *channel, struct holding *holding, const struct owner_view *owner);

/* Its owner is CLOSED: ends its memberships, counted and for the owner's report. The channel is the caller's to settle. */
void channel_unsubscribe(struct layer *layer, struct channel *channel);

/* Tells whoever waits on it that nothing will come: LAYER_UNKNOWN. */
void channel_dismiss(struct layer *layer, struct channel *channel, struct aftermath *aftermath);

/* Ends its memberships, frees its messages and waiters, and itself. */
void channel_free(struct layer *layer, struct channel *channel, struct aftermath *aftermath);

/* After each change: puts channel into the list that fits. */
void channel_settle(struct layer *layer, struct channel *channel, uint64_t now);

/* Drops expired messages. */
void channel_expire(struct layer *layer, struct channel *channel, uint64_t now);

/* Tells the receiver that has waited longest. */
void channel_tell(struct layer *layer, struct channel *channel, struct aftermath *aftermath);

#endif
