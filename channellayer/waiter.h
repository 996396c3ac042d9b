/* waiter.h: one receiver that waits on a channel, and later the item by which its sink is told.
 *
 * Owner:   the channel while it is armed; then the aftermath; then the sink's queue.
 * Thread:  none of its own: the layer's lock, then whoever owns it.
 * Limits:  one for each layer_receive() that found nothing.
 *
 * It is one allocation for its whole life, so telling a receiver never needs memory.
 */
#ifndef PENEUS_CHANNELLAYER_WAITER_H
#define PENEUS_CHANNELLAYER_WAITER_H

#include <stdbool.h>

#include "base/list.h"
#include "base/queue.h"
#include "channellayer/sink.h"

struct waiter {
    struct list_node of_channel;
    struct sink *sink;     /* counted until it is told */
    struct sink_item told; /* its layer is counted from the moment it is told */
    /* In an aftermath: the first waiter of each sink carries the chain of them all. */
    struct waiter *next_sink;
    struct queue_chain chain;
    unsigned chain_length;
    struct queue_item item;
};

/* NULL when there is no memory. */
struct waiter *waiter_create(struct sink *sink, uint64_t token);

/* For one that was never told. */
void waiter_destroy(struct waiter *waiter);

/* Gives the sink a chain of waiters (by their item), each with a count of its layer; wakes its loop once. Then gives back
 * count references of the sink. No lock may be held: what a closed sink gets goes to layer_pass(). */
void sink_tell(struct sink *sink, struct queue_chain *chain, unsigned count);

/* A waiter of layer_settle() or layer_query(), which a bus had: tells its sink status, and answer (its reference is taken; or NULL). */
void waiter_answered(struct waiter *waiter, int status, struct message *answer);

/* A hint: nobody will take what this sink is told. */
bool sink_is_closed(const struct sink *sink);

#endif
