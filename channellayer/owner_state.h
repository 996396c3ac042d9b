/* owner_state.h: what the registry of owners consists of. Private to owner.c and holding.c.
 *
 * Owner:   the registry.
 * Thread:  any, with the registry's lock held. It is the innermost lock: nothing else is locked under it.
 * Limits:  see owner.h.
 */
#ifndef PENEUS_CHANNELLAYER_OWNER_STATE_H
#define PENEUS_CHANNELLAYER_OWNER_STATE_H

#include <pthread.h>
#include <stdbool.h>

#include "base/list.h"
#include "base/slots.h"
#include "channellayer/holding.h"
#include "channellayer/outlet.h"

enum owner_state {
    OWNER_OPEN,
    OWNER_CLOSED,
    OWNER_ENDING, /* gone for everyone; its channels are being freed */
};

struct owner {
    uint64_t id;
    uint64_t tag;
    enum owner_state state;
    struct outlet *outlet;          /* counted; or NULL */
    uint64_t socket;                /* in outlet */
    bool accepted;
    bool overflow_told;             /* overflow_close is called once */
    struct list_node overflow_link; /* in owners.overflowed until it is called */
    struct list_node holdings;
    uint64_t last_sequence;
    struct owner_report *closed_report; /* the groups that owner_close ended; NULL: none, or no memory */
    size_t closed_groups;
};

struct owners {
    pthread_mutex_t lock;
    struct slots slots;
    struct list_node overflowed;
    void (*overflow_close)(void *context, uint64_t tag);
    void *context;
};

#endif
