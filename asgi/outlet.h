/* outlet.h: how the channel layer's relay events reach a server's sockets: the second place where the two meet, beside tags.h.
 *
 * Owner:   counted: struct pyserver, and every owner of a WebSocket.
 * Thread:  relay from any, without the GIL; the rest on the loop's thread.
 * Limits:  server_settings.broadcast_backlog.
 */
#ifndef PENEUS_ASGI_OUTLET_H
#define PENEUS_ASGI_OUTLET_H

#include "base/queue.h"
#include "channellayer/outlet.h"

struct command;
struct server;

/* For server. output: the commands that the loop's thread has not handed over yet; a relay from that thread goes behind them. */
struct outlet *server_outlet_create(struct server *server, struct queue_chain *output);

/* Adds command to output, in another thread than the loop's, with the GIL: the loop's may be relaying without it. */
void server_outlet_add(struct outlet *outlet, struct command *command);

/* There too: sends what output has. */
void server_outlet_hand_over(struct outlet *outlet);

/* The calling thread is the loop's. */
void server_outlet_start(struct outlet *outlet);

/* The server is about to be destroyed: nothing is relayed any more. */
void server_outlet_detach(struct outlet *outlet);

#endif
