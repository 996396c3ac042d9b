/* server.h: the server: listeners, connections and the I/O thread that runs them. The door of this room.
 *
 * Owner:   asgi/server_type.c creates and destroys it.
 * Thread:  server_send and server_stats from any; everything else from the thread that created it.
 * Limits:  struct server_settings.
 *
 * server_create -> server_listen (several) -> server_start -> server_send … -> server_send(COMMAND_STOP) -> EVENT_STOPPED -> server_destroy
 */
#ifndef PENEUS_SERVER_SERVER_H
#define PENEUS_SERVER_SERVER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/queue.h"
#include "server/settings.h"

struct command;
struct server;
struct tls_store;
struct trust;

/* Called on the I/O thread, without a lock; they must not block. */
struct server_hooks {
    void *context;
    /* An exchange begins, a WebSocket or a request: returns the owner of what its application will subscribe to (request_event.owner). */
    uint64_t (*exchange_begun)(void *context, uint64_t exchange, bool websocket);
    /* The exchange has ended, whoever ended it. Called before EVENT_DISCONNECT is queued, and also after a complete response. */
    void (*exchange_ended)(void *context, uint64_t exchange, uint64_t owner);
};

enum server_error {
    SERVER_OK = 0,
    SERVER_NO_MEMORY = -1,
    SERVER_ADDRESS = -2, /* the address cannot be resolved or bound: see the message */
    SERVER_THREAD = -3,  /* the I/O thread cannot be started */
    SERVER_TRUST = -5,   /* trusted_proxies cannot be read */
    SERVER_FULL = -4,    /* broadcast_backlog bytes wait already */
    SERVER_DESCRIPTORS = -6, /* too few file descriptors are left */
};

enum listen_kind { LISTEN_TCP, LISTEN_UNIX, LISTEN_FD };

struct listen_spec {
    enum listen_kind kind;
    const char *host; /* LISTEN_TCP: name or numeric address, v4 or v6; "" is every interface */
    uint16_t port;    /* LISTEN_TCP: 0 lets the kernel choose */
    const char *path; /* LISTEN_UNIX: a stale socket is replaced, any other file is an error */
    int mode;         /* LISTEN_UNIX: permissions; -1: as umask has it */
    int fd;           /* LISTEN_FD: a bound stream socket, already listening or not; the server closes it */
    struct tls_store *tls; /* what connections are encrypted with; the listener takes a reference. NULL: they are not */
};

/* Where a listener listens. */
struct listen_address {
    int family;      /* AF_INET, AF_INET6, AF_UNIX */
    char host[108];  /* numeric, or the path */
    uint16_t port;
};

struct server_stats {
    uint64_t connections;        /* gauges */
    uint64_t exchanges;          /* announced and not FINISHED: running applications */
    uint64_t websockets;
    uint64_t read_paused;        /* connections whose reads wait for the application */
    uint64_t bytes_unwritten;    /* in write queues */
    uint64_t head_bytes_waiting; /* of requests that the application's thread has not taken */
    uint64_t connections_total;  /* counters */
    uint64_t requests_total;
    uint64_t websockets_total;
    uint64_t messages_in_total, messages_out_total;
    uint64_t bytes_in_total, bytes_out_total;
    uint64_t bad_requests_total; /* answered 4xx by the server itself */
    uint64_t timeouts_total;     /* header, keep-alive, http, connect, ping, lifetime */
    uint64_t kills_total;        /* EVENT_KILL, those that were answered by COMMAND_SPARE too */
    uint64_t kicks_total;        /* COMMAND_KICK that found somebody */
    uint64_t accept_errors_total; /* EMFILE and the like */
    uint64_t broadcasts_total;    /* messages relayed, each counted once for all its sockets */
    uint64_t relayed_total;       /* the same, once for each socket that it was queued for */
    uint64_t broadcasts_refused_total; /* because broadcast_backlog was full */
    uint64_t tls_handshakes_total;     /* those that were successful */
    uint64_t tls_errors_total;         /* handshakes that were refused, or were none */
    uint64_t http2_connections;        /* a gauge */
    uint64_t http2_refused_total;      /* streams: http2_max_concurrent_streams */
    uint64_t applications_refused_total; /* streams: http2_max_applications */
    uint64_t heads_refused_total; /* streams: head_window, head_backlog */
    uint64_t heads_held_total;    /* requests over HTTP/1 that were not read at once: head_backlog */
    uint64_t http2_floods_total;       /* connections: http2_control_rate */
    uint64_t handshakes;               /* a gauge: TLS handshakes and PROXY headers to come */
    uint64_t connections_refused_total; /* limit_connections */
    uint64_t addresses_refused_total;  /* limit_connections_per_address */
    uint64_t handshakes_dropped_total; /* limit_handshakes */
    uint64_t handshake_timeouts_total, header_timeouts_total, body_timeouts_total, send_timeouts_total; /* of timeouts_total */
    uint64_t idle_timeouts_total, ping_timeouts_total;
    uint64_t files_cut_total;          /* DISCONNECT_FILE */
    uint64_t unsent_resets_total; /* connections and streams: unsent_window, unsent_backlog */
    uint64_t proxy_errors_total; /* connections closed because they did not begin with a PROXY header of a trusted peer */
    uint64_t descriptors_exhausted_total; /* EMFILE, ENFILE and the like: of accept_errors_total */
};

/* events is where events go; it outlives the server. SERVER_OK, SERVER_NO_MEMORY, SERVER_DESCRIPTORS or, where trusted_proxies is no list of trust.h's,
 * SERVER_TRUST. */
int server_create(struct server **result, const struct server_settings *settings, const struct server_hooks *hooks,
                  struct queue *events);

/* Its own copy of the settings, and what it makes of trusted_proxies; any thread, until server_destroy. */
const struct server_settings *server_settings(const struct server *server);
const struct trust *server_trust(const struct server *server);

/* Binds. SERVER_OK; or SERVER_ADDRESS with a sentence in error (size bytes) that names the address and the cause. */
int server_listen(struct server *server, const struct listen_spec *spec, char *error, size_t size);

/* The i-th listening address (a host name may have given several): 0, or -1 past the last. */
int server_address(const struct server *server, size_t i, struct listen_address *address);

/* Before server_start: shares the listening sockets with other processes, at this place (crew.h) in the memory that fd is. 0, or -1
 * with errno. */
int server_join_crew(struct server *server, int fd, unsigned place);

/* Starts the I/O thread. All signals are blocked in it. SERVER_OK or SERVER_THREAD. */
int server_start(struct server *server);

/* Sends a chain of struct command, in order. Any thread, until server_destroy. */
void server_send(struct server *server, struct queue_chain *commands);

/* Sends command, a COMMAND_BROADCAST, behind the commands of before. Any thread, until server_destroy. SERVER_OK; SERVER_FULL: before
 * was sent, command is the caller's. */
int server_broadcast(struct server *server, struct queue_chain *before, struct command *command);

void server_stats(const struct server *server, struct server_stats *stats);

/* Waits for the thread's end, which COMMAND_STOP must have asked for; where server_start never started it, does nothing. The hooks are
 * not called any more. Commands may still be sent, and are not obeyed. */
void server_join(struct server *server);

/* After server_join, or as its first step: frees everything. */
void server_destroy(struct server *server);

#endif
