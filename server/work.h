/* work.h: what would hold the I/O thread for long, in slices: connections with such work take turns, one slice in each round of the loop,
 * between which all others are served.
 *
 * Owner:   the server.
 * Thread:  the I/O thread.
 * Limits:  a slice is the connection's to bound: WEBSOCKET_SLICE bytes in, and out.
 */
#ifndef PENEUS_SERVER_WORK_H
#define PENEUS_SERVER_WORK_H

struct connection;
struct server;

void work_init(struct server *server);

/* connection's turn comes: websocket_work(). Nothing, where it is waited for already. A connection that is closed forgets it. */
void work_add(struct connection *connection);

/* Closes what it holds of the loop. */
void work_stop(struct server *server);

#endif
