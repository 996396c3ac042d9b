/* remote.h: the half of a bus that is the same for all that have a thread: what the layer asks for becomes items, which the
 * bus gets on the bus thread, one after the other and in order.
 *
 * Owner:   the layer, by way of struct bus; freed on the bus thread after remote_stopped().
 * Thread:  bus_operations from any; everything else on the bus thread.
 * Limits:  buffer_limit bytes of messages that are asked for and not done: above, publish and send get LAYER_UNSENT.
 *
 * A bus embeds struct remote as its first member, and calls the layer only through remote_enter(): so it never finds a
 * layer that is being destroyed.
 */
#ifndef PENEUS_CHANNELLAYER_BUS_REMOTE_H
#define PENEUS_CHANNELLAYER_BUS_REMOTE_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/list.h"
#include "base/queue.h"
#include "channellayer/bus.h"
#include "channellayer/bus/thread.h"
#include "channellayer/message.h"
#include "channellayer/span.h"
#include "channellayer/waiter.h"

struct remote;

enum remote_kind {
    REMOTE_JOIN,    /* group, channel, edge: the group's first member here */
    REMOTE_LEAVE,   /* group, channel, edge: its last */
    REMOTE_MADE,    /* channel */
    REMOTE_GONE,    /* channel */
    REMOTE_WANTED,  /* channel; capacity: receivers that wait on it. Only where operations.wants */
    REMOTE_PUBLISH, /* group, message */
    REMOTE_SEND,    /* channel, capacity, message */
    REMOTE_FLUSH,
    REMOTE_SETTLE,  /* waiter; group or channel, or neither: remote_settled() */
    REMOTE_QUERY,   /* group, waiter: remote_answer(). Only where operations.queries */
};

struct remote_item {
    struct queue_item item;
    struct list_node link;  /* the bus's own use, once it has the item */
    struct remote *remote;
    enum remote_kind kind;
    bool edge;
    bool elsewhere;         /* JOIN, LEAVE: another process receives from channel; capacity is the group's overflow */
    bool failed;            /* SETTLE: something asked for before it has failed */
    bool full;              /* SETTLE: the SEND just before it met a full channel elsewhere */
    bool joined;            /* SETTLE: struct settling */
    uint64_t wait_ms;       /* the same */
    uint64_t asked_at;      /* clock_ms() */
    size_t capacity;
    struct name group;      /* this and the next point behind the item; empty where the kind has none */
    struct name channel;
    struct message *message; /* counted; or NULL */
    struct waiter *waiter;
};

struct remote_operations {
    const char *name;
    bool pairs;         /* as in bus.h */
    bool wants;         /* REMOTE_WANTED is wanted (bus.h) */
    bool queries;       /* REMOTE_QUERY can be answered */
    bool delivers_here; /* publish also calls layer_deliver() at once, on the caller's thread */
    void (*start)(struct remote *remote);
    /* The item is now the bus's: it ends each with remote_done(). */
    void (*take)(struct remote *remote, struct remote_item *item);
    /* The layer is gone. Ends every item, closes every handle; then remote_stopped(). */
    void (*stop)(struct remote *remote);
};

struct remote {
    struct bus bus;
    const struct remote_operations *operations;
    struct bus_thread *thread;
    pthread_mutex_t gate;  /* around layer */
    struct layer *layer;   /* not counted; NULL once it is being destroyed */
    struct queue items;
    struct bus_task drain; /* posted by items' wake */
    struct bus_task begin;
    struct bus_task end;
    _Atomic size_t pending; /* bytes of messages in items that are not done */
    size_t buffer_limit;
    struct name own;       /* is in the names of all channels of this process; empty: only those can become members */
    struct list_node troubles; /* of struct trouble, the newest last; under the gate, as the next two */
    char refusal[200];
    uint64_t refused_at;   /* clock_ms() */
    /* struct bus_stats; written on the bus thread, but unsent and published from any */
    _Atomic uint64_t published, received, unsent, refused, unreadable, reconnects, gaps, links, links_up;
};

/* Fills remote, which is zeroed, and starts it. LAYER_OK, or LAYER_NO_MEMORY where there is no thread: remote is the caller's. */
int remote_init(struct remote *remote, const struct remote_operations *operations, struct layer *layer, size_t buffer_limit);

/* The layer, counted, for one call or several; then layer_release(). NULL when it is gone. */
struct layer *remote_enter(struct remote *remote);

/* A SEND of the bus's own. */
struct remote_item *remote_message(struct remote *remote, struct name channel, size_t capacity, struct message *message);

/* Ends an item and frees it. PUBLISH and SEND: sent says whether it went out (else counted as unsent). SETTLE: remote_settled() with
 * LAYER_OK or LAYER_UNSENT. QUERY: tells the waiter that it has failed. */
void remote_done(struct remote_item *item, bool sent);

/* Ends a SETTLE and frees it: tells the waiter status, or LAYER_FULL where item->full, or LAYER_UNSENT where item->failed. reason
 * (or NULL) goes with LAYER_REFUSED. */
void remote_settled(struct remote_item *item, int status, const char *reason);

/* Remembers why whose, which is a connection of the bus, is not there: the reason, for people, and the label of its server. reason
 * NULL: it is there again, or no more. */
void remote_trouble(struct remote *remote, const void *whose, const char *label, const char *reason);

/* Remembers that label's server has refused command with error. It is forgotten with remote_refuses_nothing(), or when it has not
 * happened again for a while. */
void remote_refused(struct remote *remote, const char *label, const char *command, const char *error);

/* What had been refused, and was tried again, has been done. */
void remote_refuses_nothing(struct remote *remote);

/* Ends a QUERY and frees it: names are as query in bus.h says. */
void remote_answer(struct remote_item *item, struct span names);

/* The last handle has been closed: frees remote. Last call of a bus. */
void remote_stopped(struct remote *remote);

static inline uv_loop_t *remote_loop(const struct remote *remote)
{
    return bus_thread_loop(remote->thread);
}

#endif
