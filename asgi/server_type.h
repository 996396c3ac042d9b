/* server_type.h: peneus._core.Server: where server/ and channellayer/ meet, on one event loop.
 *
 * Owner:   Python. Its native server is destroyed by close(), or with it.
 * Thread:  the loop's, with the GIL; shutdown() and stop() any. The hooks run on the I/O thread, without.
 * Limits:  EVENTS_AT_ONCE events in one callback of the loop.
 */
#ifndef PENEUS_ASGI_SERVER_TYPE_H
#define PENEUS_ASGI_SERVER_TYPE_H

#include <Python.h>
#include <stdbool.h>
#include <stdint.h>

#include "asgi/eager.h"
#include "asgi/loop_clock.h"
#include "asgi/peers.h"
#include "asgi/port.h"
#include "asgi/state.h"
#include "asgi/tags.h"
#include "base/queue.h"
#include "server/command.h"
#include "server/event.h"
#include "server/server.h"

enum { EVENTS_AT_ONCE = 64 };

struct pyconnection;

enum pyserver_phase {
    PHASE_NEW,     /* listeners may be added */
    PHASE_RUNNING, /* the I/O thread runs */
    PHASE_STOPPED, /* EVENT_STOPPED has come */
    PHASE_CLOSED,  /* native is gone */
};

struct pyserver {
    PyObject_HEAD
    struct state *state;
    enum pyserver_phase phase;
    struct server *native;
    struct tags tags;          /* the hooks' */
    size_t receive_window;
    size_t send_window;
    uint64_t close_timeout_ns; /* application_close_timeout; 0: nothing is killed */

    struct port *port;
    struct port_drain drain;
    struct queue events;
    struct queue_item *pending; /* taken from events, not yet acted on */

    struct list_node turns;     /* of struct pyconnection: something came for them in this batch */

    struct queue_chain output; /* handed over when the port has run, or by the flush that is armed */
    bool flush_armed;
    uint64_t loop_turn;        /* another number in each turn of the loop that pyserver_end_turn() was called in */

    PyObject *loop;
    struct loop_clock loop_clock;
    PyObject *call_soon;       /* loop's, bound, as a user of the loop finds it */
    PyObject *flush;           /* what call_soon gets */
    PyObject *context;         /* start()'s: each application gets a copy */
    struct eager eager;

    PyObject *application;
    PyObject *http_scope;      /* dicts with every key of a scope: those of an exchange are copies */
    PyObject *websocket_scope;
    PyObject *lifespan_state;  /* dict or NULL */
    PyObject *on_access;       /* or NULL */
    PyObject *on_error, *on_fault, *on_kill, *on_drained, *on_stopped;
    PyObject *prepare_scope;   /* or NULL */
    PyObject *on_malformed;    /* or NULL */
    PyObject *on_refused;      /* or NULL */
    PyObject *on_closed;       /* or NULL */

    struct pyconnection **connections; /* by slots_index(exchange); a reference each */
    size_t connection_room;
    size_t applications;
    uint64_t applications_killed;
    bool draining;             /* end_streams() has been called */
    bool offers_files;         /* its scopes have http.response.pathsend and http.response.zerocopysend */
    uint64_t forwarded_errors; /* values of proxy headers that were ignored */
    struct peers peers;
};

/* The running connection of exchange, borrowed, or NULL. */
struct pyconnection *pyserver_find(const struct pyserver *server, uint64_t exchange);

/* Adds a reference to connection to the table: 0, or -1 with an exception. */
int pyserver_add(struct pyserver *server, struct pyconnection *connection);

/* Takes it out again. */
void pyserver_remove(struct pyserver *server, struct pyconnection *connection);

/* Sends command soon, with the others of this turn of the loop. Takes it. Any thread with the GIL. */
void pyserver_command(struct pyserver *server, struct command *command);

/* The calling thread is not the loop's: the application awaits send() on another loop. */
static inline bool pyserver_is_elsewhere(const struct pyserver *server)
{
    return server->port != NULL && server->port->thread != PyThread_get_thread_ident();
}

/* A new loop_turn follows this one. May run any code (the loop's call_soon). */
void pyserver_end_turn(struct pyserver *server);

/* Sends now what pyserver_command() was given. */
void pyserver_hand_over(struct pyserver *server);

/* Acts on one event and frees it: 0, or -1 with an exception that must end the loop (drain.c). */
int pyserver_event(struct pyserver *server, struct event *event);

/* port_drain.run and end, and what call_soon gets (drain.c). */
int pyserver_drain(struct port_drain *drain);
void pyserver_drained(struct port_drain *drain);
PyObject *pyserver_flush(PyObject *server, PyObject *ignored);

/* Free the events that nobody will act on, and the commands that nobody will send. */
void pyserver_discard_events(struct pyserver *server);
void pyserver_discard_output(struct pyserver *server);

extern PyType_Spec pyserver_spec;

#endif
