/* group.h: the channels that get what is sent to one name.
 *
 * Owner:   the layer: a group exists while it has members.
 * Thread:  any, with the layer's lock held.
 * Limits:  a membership lasts group_expiry_ms after it was last renewed.
 */
#ifndef PENEUS_CHANNELLAYER_GROUP_H
#define PENEUS_CHANNELLAYER_GROUP_H

#include "channellayer/channel.h"

struct group;
struct relay;

struct membership {
    struct group *group;
    struct channel *channel;
    size_t index; /* in the group's members */
    struct list_node of_channel;
    struct list_node renewal; /* in the layer's renewals */
    uint64_t expires_at;
    struct table_node by_pair;
};

/* The channel stands here too: a broadcast then does not read the memberships. */
struct member {
    struct channel *channel;
    struct membership *membership;
};

struct group {
    struct member *members;
    size_t count;
    size_t room;
    enum overflow overflow;
    uint64_t messages; /* sent to it while it had members here */
    uint64_t dropped;  /* of its messages, or for them */
    struct table_node by_name;
    struct name name;
    char text[];
};

/* NULL when there is none. */
struct group *group_find(const struct layer *layer, struct name name, uint64_t hash);

/* Makes or renews channel's membership, and the group with overflow. LAYER_OK; LAYER_NO_MEMORY: nothing was changed. */
int group_join(struct layer *layer, struct name name, uint64_t hash, struct channel *channel, enum overflow overflow,
               uint64_t now);

/* NULL when channel is no member. */
struct membership *group_membership(const struct layer *layer, struct group *group, struct channel *channel);

/* Ends membership, and its group with its last. The channel is the caller's to settle. */
void group_leave(struct layer *layer, struct membership *membership);

/* Ends the memberships that have expired at now. */
void group_expire(struct layer *layer, uint64_t now);

/* Ends them all. The channels are settled. */
void group_clear(struct layer *layer, uint64_t now);

/* Offers message to every member's mailbox, or adds the member to relay. LAYER_OK, or LAYER_NO_MEMORY when some had no room for it. */
int group_deliver(struct layer *layer, struct group *group, struct message *message, struct relay *relay, uint64_t now,
                  struct aftermath *aftermath);

/* The same for one of its members. room: how many may come in this message's relay. */
int group_deliver_one(struct layer *layer, struct group *group, struct channel *channel, struct message *message, struct relay *relay,
                      size_t room, uint64_t now, struct aftermath *aftermath);

#endif
