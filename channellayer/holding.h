/* holding.h: what one owner has in one layer, and what a layer asks the registry of owners. Private to channellayer/.
 *
 * Owner:   made by a layer for an owner's first channel in it; ends with the owner or with the layer.
 * Thread:  any. Lock order: a layer's lock, then the registry's, which is taken and released inside each function here.
 *          A holding that the layer found stays while the layer's lock is held.
 * Limits:  one for each pair of owner and layer.
 */
#ifndef PENEUS_CHANNELLAYER_HOLDING_H
#define PENEUS_CHANNELLAYER_HOLDING_H

#include <stdbool.h>
#include <stdint.h>

#include "base/list.h"
#include "channellayer/layer.h"
#include "channellayer/owner.h"

struct holding {
    struct layer *layer;
    struct list_node of_layer; /* the layer's lock */
    struct list_node channels; /* the layer's lock */
    struct list_node of_owner; /* the registry's lock; in order of sequence */
    uint64_t sequence;         /* counts the holdings of one owner */
};

/* What a layer has to know of an owner. */
struct owner_view {
    uint64_t id;
    bool closed;
    bool accepted;         /* owner_accept() was called */
    bool relays;
    struct outlet *outlet; /* NULL: it has none, or is closed; lives until owner_close() has left the layer */
    uint64_t socket;
};

/* owner's holding in layer, made if need be, and what it is like. The layer's lock is held.
 * LAYER_OK, LAYER_CLOSED (owner is gone), LAYER_NO_MEMORY. */
int owners_hold(struct owners *owners, uint64_t owner, struct layer *layer, struct holding **holding, struct owner_view *view);

/* owner's holding in layer, or NULL. The layer's lock is held. */
struct holding *owners_held(struct owners *owners, uint64_t owner, const struct layer *layer);

/* Unlinks and frees holding, which has no channels any more. The layer's lock is held, or the layer is being destroyed. */
void owners_let_go(struct owners *owners, struct holding *holding);

/* False when owner has ended and all its channels should be gone. */
bool owners_known(struct owners *owners, uint64_t owner);

/* owner_close() ended a membership in group: for the report. The layer's lock is held. */
void owners_record(struct owners *owners, uint64_t owner, struct name group);

/* A mailbox of owner's met OVERFLOW_CLOSE: true when owners_overflow_run() has something to do. */
bool owners_overflow(struct owners *owners, uint64_t owner);

/* Calls overflow_close for the owners that owners_overflow() noted. No lock is held. */
void owners_overflow_run(struct owners *owners);

/* The layer's side; each takes the layer's lock, and finds nothing when the owner has no holding there. */

/* A count, or false when the last one is gone and the layer is being destroyed. Under the registry's lock. */
bool layer_try_retain(struct layer *layer);

/* Ends all memberships of owner's channels, and lets none be made. */
void layer_owner_closed(struct layer *layer, uint64_t owner);

/* Relay events that waited for owner's client go to it, and so do all that follow. */
void layer_owner_accepted(struct layer *layer, uint64_t owner);

/* Frees owner's channels and its holding. */
void layer_owner_ended(struct layer *layer, uint64_t owner);

/* Adds what owner holds to report. */
void layer_owner_report(struct layer *layer, uint64_t owner, struct owner_report *report);

/* Adds a group to report: its name too, while there is room and memory. */
void owner_report_group(struct owner_report *report, struct name group);

#endif
