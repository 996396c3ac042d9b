/* squeeze.h: the one compression of a large broadcast for all sockets that can read it, in slices (work.h). Until it is done, a stand-in
 * has the message's place in their outboxes.
 *
 * Owner:   the server; freed when it is done, or nobody waits for it any more.
 * Thread:  the I/O thread.
 * Limits:  it keeps its command, which counts in broadcast_backlog until then. Its message weighs next to nothing in an outbox while its
 *          size is not known: there websocket_write_limit may be exceeded by what is compressed at the same time, which all sockets share.
 */
#ifndef PENEUS_SERVER_SQUEEZE_H
#define PENEUS_SERVER_SQUEEZE_H

struct command;
struct connection;
struct server;

/* Begins to compress the message of a COMMAND_BROADCAST, which it keeps; command->broadcast.compressed is the stand-in. 0, or -1: it is not
 * worth it, or there is no memory. */
int squeeze_begin(struct server *server, struct command *command);

/* A stand-in is in connection's outbox. */
void squeeze_await(struct connection *connection);

/* Gives up all that are under way. */
void squeeze_stop(struct server *server);

#endif
