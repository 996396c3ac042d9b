/* listener.h: a listening socket.
 *
 * Owner:   the server's list; freed with the server.
 * Thread:  listener_open before the I/O thread starts; then the I/O thread.
 * Limits:  max_connections: above, who comes waits in the backlog; so it does when there is no descriptor left.
 */
#ifndef PENEUS_SERVER_LISTENER_H
#define PENEUS_SERVER_LISTENER_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>
#include <uv.h>

#include "base/list.h"
#include "server/server.h"

struct listener {
    struct list_node of_server;
    struct server *server;
    uv_poll_t poll;    /* and not uv_listen(), which closes who comes when there is no descriptor left */
    uv_timer_t pause;  /* runs after accept() has failed, and while others of the crew go first */
    int fd;
    struct listen_address address;
    struct tls_store *tls; /* counted; NULL: connections are not encrypted */
    char *unlink_path; /* of a Unix socket that we made */
    dev_t device;      /* of that file: another server may have put its own there since */
    ino_t inode;
    bool waiting;      /* nothing is accepted: max_connections, or pause */
};

/* As server_listen(). */
int listener_open(struct server *server, const struct listen_spec *spec, char *error, size_t size);

/* Accepts again, as far as max_connections allows. */
void listener_accept(struct listener *listener);

/* Stops listening; twice is allowed. */
void listener_close(struct listener *listener);

/* Frees every listener, after the loop has stopped. */
void listeners_destroy(struct server *server);

#endif
