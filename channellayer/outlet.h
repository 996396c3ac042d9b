/* outlet.h: where messages go that are themselves something to send to a client (relay_event.h): past the application,
 * straight to the sockets.
 *
 * Owner:   counted: whoever runs the sockets, and every owner with one.
 * Thread:  relay from any; it may be called with a layer's lock held, so it must neither block nor call a layer.
 * Limits:  the outlet bounds what waits for its sockets; relay says when it is full.
 */
#ifndef PENEUS_CHANNELLAYER_OUTLET_H
#define PENEUS_CHANNELLAYER_OUTLET_H

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

#include "channellayer/layer.h"
#include "channellayer/overflow.h"
#include "channellayer/relay_event.h"

struct outlet;

/* A client of an outlet, and the channel by which the message came: for layer_relay_dropped(). */
struct relay_target {
    uint64_t socket;
    uint64_t channel;
};

/* What is relayed. Everything is the caller's, and valid during the call. */
struct relay_request {
    struct layer *layer;
    struct name group;      /* empty: it was sent to a channel */
    enum overflow overflow; /* what a socket does that takes no more */
    const struct message *message;
    const struct relay_event *event;
};

struct outlet_operations {
    /* Sends the event to targets[count], which is the outlet's from then on (mem_free): LAYER_OK. LAYER_FULL, LAYER_NO_MEMORY:
     * nothing was sent or taken. */
    int (*relay)(struct outlet *outlet, const struct relay_request *request, struct relay_target *targets, size_t count);
    void (*destroy)(struct outlet *outlet);
};

struct outlet {
    const struct outlet_operations *operations;
    atomic_uint references; /* starts with 1 */
};

static inline struct outlet *outlet_retain(struct outlet *outlet)
{
    atomic_fetch_add_explicit(&outlet->references, 1, memory_order_relaxed);
    return outlet;
}

/* NULL is allowed. */
static inline void outlet_release(struct outlet *outlet)
{
    if (outlet != NULL && atomic_fetch_sub_explicit(&outlet->references, 1, memory_order_acq_rel) == 1)
        outlet->operations->destroy(outlet);
}

/* A socket dropped count messages that came by channel (a relay_target's) from group, as overflow says. Thread: any, no lock held. */
void layer_relay_dropped(struct layer *layer, struct name group, uint64_t channel, enum overflow overflow, uint64_t count);

#endif
