/* work.h: what would hold the I/O thread for long, in slices: those who have such work take turns, one slice in each round of the loop,
 * between which all others are served.
 *
 * Owner:   the server; who has work embeds a struct work.
 * Thread:  the I/O thread.
 * Limits:  a slice is its owner's to bound: WEBSOCKET_SLICE bytes for zlib.
 */
#ifndef PENEUS_SERVER_WORK_H
#define PENEUS_SERVER_WORK_H

#include "base/list.h"

struct server;

struct work {
    struct list_node of_server;
    void (*turn)(struct work *work); /* does one slice; work_add() again where there is more. It may free work */
};

static inline void work_init(struct work *work, void (*turn)(struct work *work))
{
    list_init(&work->of_server);
    work->turn = turn;
}

/* Its turn comes. Nothing, where it is waited for already. */
void work_add(struct server *server, struct work *work);

/* Its turn does not come. */
static inline void work_forget(struct work *work)
{
    list_remove(&work->of_server);
}

/* With the server's loop. */
void works_init(struct server *server);
void works_stop(struct server *server);

#endif
