/* server_state.h: what a server consists of. Private to server/.
 *
 * Owner:   server_create() and server_destroy().
 * Thread:  the I/O thread while it runs; the fields that others read say so.
 * Limits:  struct server_settings.
 */
#ifndef PENEUS_SERVER_SERVER_STATE_H
#define PENEUS_SERVER_SERVER_STATE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <uv.h>

#include "base/list.h"
#include "base/queue.h"
#include "base/slots.h"
#include "server/census.h"
#include "server/crew.h"
#include "server/date.h"
#include "server/http1_writer.h"
#include "server/deflate.h"
#include "server/server.h"
#include "server/transport.h"
#include "server/trim.h"
#include "server/trust.h"
#include "server/unsent.h"

struct command;
struct event;
struct load;

/* The fields of struct server_stats; written by the I/O thread alone, read by anyone. */
struct server_counters {
    _Atomic uint64_t connections, exchanges, websockets, read_paused, bytes_unwritten;
    _Atomic uint64_t connections_total, requests_total, websockets_total, messages_in_total, messages_out_total;
    _Atomic uint64_t bytes_in_total, bytes_out_total, bad_requests_total, timeouts_total, kills_total, kicks_total;
    _Atomic uint64_t accept_errors_total, broadcasts_total, relayed_total, broadcasts_refused_total;
    _Atomic uint64_t http2_connections, http2_refused_total, http2_floods_total, applications_refused_total;
    _Atomic uint64_t heads_refused_total, heads_held_total;
    _Atomic uint64_t tls_handshakes_total, tls_errors_total;
    _Atomic uint64_t handshakes, connections_refused_total, addresses_refused_total, handshakes_dropped_total;
    _Atomic uint64_t handshake_timeouts_total, header_timeouts_total, body_timeouts_total, send_timeouts_total;
    _Atomic uint64_t idle_timeouts_total, ping_timeouts_total, descriptors_exhausted_total, files_cut_total;
    _Atomic uint64_t proxy_errors_total, unsent_resets_total;
};

/*   CREATED ──server_start──▶ RUNNING ──SHUTDOWN──▶ DRAINING ──STOP──▶ STOPPING ──▶ STOPPED
 *                                └──────────────────STOP────────────────┘
 */
enum server_phase {
    SERVER_CREATED,  /* waits for server_start() */
    SERVER_RUNNING,  /* accepts */
    SERVER_DRAINING, /* accepts nothing, waits for its connections to end */
    SERVER_STOPPING, /* closes every handle */
    SERVER_STOPPED,  /* the I/O thread is ending, or has ended */
};

struct server {
    struct server_settings settings;
    struct trust trust;         /* settings.trusted_proxies */
    struct server_hooks hooks;
    struct queue *events;
    struct queue commands;
    struct queue_item *taken;   /* a batch of commands, not yet obeyed */
    _Atomic size_t backlog;     /* command_broadcast_weight() of what is queued */
    struct queue_chain announced; /* events of this batch, pushed by server_flush() */
    uv_loop_t loop;
    uv_async_t wake;
    uv_prepare_t before_wait;
    uv_check_t after_wait;
    struct trim trim;
    uv_thread_t thread;
    bool thread_started;
    bool thread_ended; /* and joined */
    atomic_bool halted;         /* the thread leaves its loop as it is: the process ends */
    struct list_node of_running;
    enum server_phase phase;
    bool drained_told;
    struct slots exchanges;
    struct load *load;          /* counted: of all connections */
    struct unsent unsent;       /* the same */
    struct list_node held;      /* HTTP/1 connections whose next request is read when there is room for its head */
    struct list_node connections;
    struct list_node handshakes; /* connections that are not ready for requests yet, the oldest first */
    struct census census;
    unsigned refused;           /* connections that were too many, and have not gone yet */
    bool exhausted;             /* there was no descriptor for who came: the crew goes first */
    struct list_node working;   /* struct work that waits for its turn */
    uv_idle_t rounds;           /* runs while there is some */
    struct list_node squeezes;  /* broadcasts that are being compressed (squeeze.h) */
    struct list_node awaiting;  /* connections whose outboxes wait for them */
    struct list_node corked;    /* connections with output for server_flush() */
    struct list_node listeners; /* only closed, never removed: server_address() reads them */
    uint64_t last_connection;   /* id */
    struct date date;
    struct server_counters counters;
    struct deflate_pool deflate_pool;
    struct crew crew;           /* who shares the listeners */
    unsigned char read_buffer[TRANSPORT_BUFFER_SIZE];
};

/* Adds to a counter or gauge; amount may wrap around to subtract. */
static inline void count(_Atomic uint64_t *counter, uint64_t amount)
{
    atomic_store_explicit(counter, atomic_load_explicit(counter, memory_order_relaxed) + amount, memory_order_relaxed);
}

/* amount 1 or, to subtract, (uint64_t)-1. */
static inline void server_count_connection(struct server *server, uint64_t amount)
{
    count(&server->counters.connections, amount);
    if (server->phase == SERVER_RUNNING && !server->exhausted)
        crew_tell(&server->crew, atomic_load_explicit(&server->counters.connections, memory_order_relaxed));
}

/* Something took too long; counter is for what. */
static inline void server_count_timeout(struct server *server, _Atomic uint64_t *counter)
{
    count(&server->counters.timeouts_total, 1);
    count(counter, 1);
}

/* Queues event for the application's thread; it is sent with the others of this batch. */
void server_announce(struct server *server, struct event *event);

/* A COMMAND_BROADCAST that was kept is over: it does not count in broadcast_backlog any more, and is destroyed. */
void server_broadcast_done(struct server *server, struct command *command);

/* Whether the heads that wait for the application's thread leave room for another one (head_backlog). */
bool server_takes_heads(const struct server *server);

/* Reads held connections for which there is room, writes what connections have corked, and sends the announced events. */
void server_flush(struct server *server);

/* A connection has gone: accepts a waiting one, and says when the last one has drained. */
void server_connection_gone(struct server *server);

static inline struct http1_identity server_identity(struct server *server)
{
    return (struct http1_identity){ .date = date_text(&server->date), .name = server->settings.server_name };
}

#endif
