/* ledger.h: what has been asked of a bus and is not confirmed, so that whoever settles hears when everything before it is.
 *
 * Owner:   a bus.
 * Thread:  that of its bus.
 * Limits:  one batch for each settle that waits, and one more.
 *
 * What is asked between two settles is a batch, and a batch only counts. Settles are told in order, each when its batch and
 * all before it are empty.
 */
#ifndef PENEUS_CHANNELLAYER_BUS_LEDGER_H
#define PENEUS_CHANNELLAYER_BUS_LEDGER_H

#include <stdbool.h>
#include <stdint.h>

#include "base/list.h"

struct batch;
struct remote_item;

struct ledger {
    struct list_node batches; /* oldest first; the last one is open: its settle has not been asked for */
    uint64_t newest;          /* number of the last */
    uint64_t failed_through;  /* settles up to this batch are told that something has failed; 0: none */
};

void ledger_init(struct ledger *ledger);

/* Fails every settle that waits. What was noted need not be confirmed any more. */
void ledger_deinit(struct ledger *ledger);

/* Notes one thing that is asked for now. The batch goes to ledger_confirm(). */
struct batch *ledger_note(struct ledger *ledger);

/* It has been confirmed, or has failed: then every settle that has been asked for since, and one asked for within
 * 100 ms of asked_at (clock_ms()), is told so: it may be late because the failure was quick. */
void ledger_confirm(struct ledger *ledger, struct batch *batch, bool done, uint64_t asked_at);

/* Takes a REMOTE_SETTLE; ends it with remote_done(), at once where nothing is outstanding. */
void ledger_settle(struct ledger *ledger, struct remote_item *item);

/* Fails settles that were asked for before then. */
void ledger_expire(struct ledger *ledger, uint64_t then);

#endif
