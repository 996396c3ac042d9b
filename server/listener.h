/* listener.h: a listening socket.
 *
 * Owner:   the server's list; freed with the server.
 * Thread:  listener_open before the I/O thread starts; then the I/O thread.
 * Limits:  max_connections: above, one accepted connection for each listener waits for another to end, the others in the backlog.
 */
#ifndef PENEUS_SERVER_LISTENER_H
#define PENEUS_SERVER_LISTENER_H

#include <stdbool.h>
#include <stddef.h>
#include <uv.h>

#include "base/list.h"
#include "server/server.h"

struct listener {
    struct list_node of_server;
    struct server *server;
    union {
        uv_handle_t handle;
        uv_stream_t stream;
        uv_tcp_t tcp;
        uv_pipe_t pipe;
    };
    struct listen_address address;
    char *unlink_path; /* of a Unix socket that we made */
    bool waiting;      /* a connection waits to be accepted */
};

/* As server_listen(). */
int listener_open(struct server *server, const struct listen_spec *spec, char *error, size_t size);

/* Accepts what waits, as far as max_connections allows. */
void listener_accept(struct listener *listener);

/* Stops listening; twice is allowed. */
void listener_close(struct listener *listener);

/* Frees every listener, after the loop has stopped. */
void listeners_destroy(struct server *server);

#endif
