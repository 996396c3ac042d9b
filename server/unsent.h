/* unsent.h: bytes of responses and messages that clients have not taken yet: those of one HTTP/2 connection, and of all connections.
 *
 * Owner:   server_state.h has the one for all connections, each HTTP/2 session one for its streams; connections embed the holders.
 * Thread:  the I/O thread.
 * Limits:  unsent_window and unsent_backlog; the caller compares, and resets what unsent_find_stalled() returns. One holder alone may have
 *          more. Files and broadcasts are not counted: they are in no memory of the client's own, and have limits elsewhere.
 */
#ifndef PENEUS_SERVER_UNSENT_H
#define PENEUS_SERVER_UNSENT_H

#include <stddef.h>
#include <stdint.h>

#include "base/list.h"

struct connection;

struct unsent {
    struct list_node holders; /* those with bytes; first the one that was looked at longest ago */
    size_t count;
    size_t bytes;
};

struct unsent_holder {
    struct list_node of_unsent;
    struct connection *connection;
    struct unsent *unsent; /* NULL: it is not counted */
    size_t bytes;
    uint64_t taken; /* transport_delivered() when it was last looked at */
};

void unsent_init(struct unsent *unsent);
void unsent_holder_init(struct unsent_holder *holder, struct connection *connection, struct unsent *unsent);

/* The holder has bytes from now on; 0: it leaves. */
void unsent_set(struct unsent_holder *holder, size_t bytes);

/* Of the connections that hold the average or more, the one whose client has taken nothing for the longest time. NULL: there are fewer
 * than two holders. */
struct connection *unsent_find_stalled(struct unsent *unsent);

#endif
