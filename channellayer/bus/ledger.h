/* ledger.h: what has been asked of a bus and is not confirmed, so that whoever settles hears when everything before it is.
 *
 * Owner:   a bus.
 * Thread:  that of its bus.
 * Limits:  one account for each name that something is outstanding for; in it one batch for each settle that waits, and one more.
 *
 * Everything that is asked for concerns a name: a group, or a channel. Each name has an account of its own, so that a server that
 * is away delays nobody who asked for something on another one. One more account has everything, for settles without a name.
 *
 * What is asked between two settles of an account is a batch, and a batch only counts. The settles of an account are told in
 * order, each when its batch and all before it are empty.
 */
#ifndef PENEUS_CHANNELLAYER_BUS_LEDGER_H
#define PENEUS_CHANNELLAYER_BUS_LEDGER_H

#include <stdbool.h>
#include <stdint.h>

#include "base/list.h"
#include "channellayer/layer.h"
#include "channellayer/table.h"

struct account;
struct batch;
struct remote_item;

struct ledger {
    struct table accounts;
    struct account *all;         /* the one of the empty name */
    struct list_node settles;    /* batches whose settle has been asked for and not told */
    struct list_node failed;     /* accounts kept for a settle that follows a failure, in the order of their failures */
};

/* One thing that was asked for. Kept by whoever asked, until ledger_confirm(). */
struct note {
    struct account *account;
    struct batch *batch;  /* of account */
    struct batch *in_all; /* of ledger.all; NULL: the name is empty, so it is the batch above */
    uint64_t asked_at;    /* clock_ms() */
};

/* The same, in a list. */
struct receipt {
    struct list_node link;
    struct note note;
};

/* 0, or -1 when there is no memory. */
int ledger_init(struct ledger *ledger);

/* Fails every settle that waits. What was noted need not be confirmed any more. */
void ledger_deinit(struct ledger *ledger);

/* Notes one thing that was asked for, at asked_at. An empty name: it concerns settles without a name alone. */
struct note ledger_note(struct ledger *ledger, struct name name, uint64_t asked_at);

/* It has been confirmed (LAYER_OK), or has failed (LAYER_UNSENT, or LAYER_REFUSED with a reason for people). Every settle that has
 * been asked for since is told so, and one that is asked for within 100 ms: it may be late because the failure was quick. */
void ledger_confirm(struct ledger *ledger, const struct note *note, int status, const char *reason);

/* Takes a REMOTE_SETTLE for name, or for everything where that is empty; ends it with remote_settled(), at once where nothing is
 * outstanding, or where !may_wait: then with LAYER_UNSENT. */
void ledger_settle(struct ledger *ledger, struct name name, struct remote_item *item, bool may_wait);

/* Fails the settles for which is_late(context, settle) is true. Call it about ten times a second. */
void ledger_expire(struct ledger *ledger, bool (*is_late)(void *context, const struct remote_item *settle), void *context);

/* Whether ledger_expire() has something to do. */
static inline bool ledger_waits(const struct ledger *ledger)
{
    return !list_empty(&ledger->settles) || !list_empty(&ledger->failed);
}

/* Appends a receipt for something that is asked for now. */
void receipts_add(struct list_node *receipts, struct ledger *ledger, struct name name, uint64_t asked_at);

/* Confirms them all, as ledger_confirm() does, and frees them. */
void receipts_confirm(struct list_node *receipts, struct ledger *ledger, int status, const char *reason);

#endif
