/* layer_state.h: what a layer consists of. Private to channellayer/.
 *
 * Owner:   the layer.
 * Thread:  any, with the layer's lock held, except where a field says otherwise.
 * Limits:  see layer.h.
 */
#ifndef PENEUS_CHANNELLAYER_LAYER_STATE_H
#define PENEUS_CHANNELLAYER_LAYER_STATE_H

#include <pthread.h>
#include <stdatomic.h>

#include "base/list.h"
#include "base/slots.h"
#include "channellayer/layer.h"
#include "channellayer/table.h"

struct bus;

struct layer {
    atomic_uint references; /* no lock */
    pthread_mutex_t lock;
    struct layer_config config; /* constant */
    struct owners *owners;      /* constant */
    char local_prefix[100];     /* constant; config.local_prefix points here */
    struct bus *bus;            /* constant */
    struct slots channels;
    struct table channel_names;
    struct table groups;
    struct table memberships;
    struct list_node renewals;   /* memberships, in the order in which they expire */
    struct list_node queued;     /* channels that hold messages */
    struct list_node idle;       /* channels that layer_sweep() may forget at once */
    struct list_node idle_local; /* the same with a "!" in their name, in the order in which they may be forgotten */
    struct list_node holdings;
    struct layer_stats counted;  /* the counters; the gauges are counted when asked for */
};

/* when + duration, or for ever. */
static inline uint64_t time_after(uint64_t when, uint64_t duration)
{
    return when <= UINT64_MAX - duration ? when + duration : UINT64_MAX;
}

#endif
