/* relay.h: one message on its way past the applications: collected under the layer's lock, sent without.
 *
 * Owner:   the call into the layer: a local variable.
 * Thread:  the caller's.
 * Limits:  one target for each member of the group.
 */
#ifndef PENEUS_CHANNELLAYER_RELAY_H
#define PENEUS_CHANNELLAYER_RELAY_H

#include <stdbool.h>

#include "channellayer/channel.h"
#include "channellayer/outlet.h"

struct relay_part;

struct relay {
    bool wanted;               /* the message is a relay event */
    struct relay_event event;
    struct span key;           /* relay_event_read() */
    struct relay_request request;
    struct message *keyed;     /* counted; or NULL */
    struct relay_part *parts;  /* one for each outlet */
};

/* Looks what message is. LAYER_OK or LAYER_NO_MEMORY. Ended by relay_run(). */
int relay_init(struct relay *relay, struct layer *layer, struct name group, const struct message *message);

/* Whether message goes to channel's client, and not to its application. */
static inline bool relay_takes(const struct relay *relay, const struct channel *channel)
{
    return relay->wanted && channel->relays;
}

/* Sends it to channel's client too, or keeps it until that has been accepted. room: how many more there may be. The layer's
 * lock is held. LAYER_OK, LAYER_FULL (counted), LAYER_UNKNOWN (the client has gone; counted), LAYER_NO_MEMORY. */
int relay_add(struct relay *relay, struct channel *channel, enum overflow overflow, size_t room, uint64_t now);

/* Gives the collected targets to their outlets, counts what those refuse, and frees. locked: whether the layer's lock is held. */
void relay_run(struct relay *relay, bool locked);

/* channel's client has been accepted: sends what waited. The layer's lock is held. */
void relay_release_held(struct layer *layer, struct channel *channel);

#endif
