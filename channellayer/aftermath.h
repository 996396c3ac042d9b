/* aftermath.h: what one call into a layer leaves to be done once the layer's lock is released.
 *
 * Owner:   the call: a local variable, begun empty ({0}) and run once.
 * Thread:  the caller's; filled under the layer's lock, run without.
 * Limits:  it never needs memory.
 */
#ifndef PENEUS_CHANNELLAYER_AFTERMATH_H
#define PENEUS_CHANNELLAYER_AFTERMATH_H

#include <stdbool.h>
#include <stdint.h>

struct layer;
struct owners;
struct waiter;

struct aftermath {
    struct waiter *sinks;    /* the first told waiter of each sink */
    struct waiter *last;     /* the one that was added to last: a batch mostly has one sink */
    struct waiter *unwanted; /* waiters to free */
    bool overflow;           /* owners_overflow_run() has something to do */
};

/* Moves waiter out of its channel's list: it will be told. */
void aftermath_tell(struct aftermath *aftermath, struct waiter *waiter, struct layer *layer, uint64_t channel);

/* Moves waiter out of its channel's list: it will be freed. */
void aftermath_free(struct aftermath *aftermath, struct waiter *waiter);

/* Tells each sink its waiters as one chain, frees, and closes connections whose mailbox overflowed. */
void aftermath_run(struct aftermath *aftermath, struct owners *owners);

#endif
