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
#include "asgi/peers.h"
#include "asgi/port.h"
#include "asgi/state.h"
#include "asgi/tags.h"
#include "base/queue.h"
#include "server/command.h"
#include "server/event.h"
#include "server/server.h"

enum { EVENTS_AT_ONCE = 64 };

struct connection;

enum server_phase {
    PHASE_NEW,     /* listeners may be added */
    PHASE_RUNNING, /* the I/O thread runs */
    PHASE_STOPPED, /* EVENT_STOPPED has come */
    PHASE_CLOSED,  /* native is gone */
};

/* When commands are handed over. */
enum server_output {
    OUTPUT_IDLE,     /* the next command arms a flush */
    OUTPUT_DRAINING, /* at the end of server_drain() */
    OUTPUT_ARMED,    /* by the flush that the loop will call */
};

struct server_object {
    PyObject_HEAD
    struct state *state;
    enum server_phase phase;
    struct server *native;
    struct tags tags;          /* the hooks' */
    size_t receive_window;
    size_t send_window;

    struct port *port;
    struct port_drain drain;
    struct queue events;
    struct queue_item *pending; /* taken from events, not yet acted on */

    struct queue_chain output;
    enum server_output output_state;
    bool woke;                 /* a task was woken in this drain: it will run, and send, before the flush armed after it */

    PyObject *loop;
    PyObject *create_future;   /* loop's, bound */
    PyObject *call_soon;       /* loop's, bound, as a user of the loop finds it */
    PyObject *flush;           /* what call_soon gets */
    PyObject *context;         /* start()'s: each application gets a copy */
    struct eager eager;

    PyObject *application;
    PyObject *root_path;
    PyObject *lifespan_state;  /* dict or NULL */
    PyObject *on_access;       /* or NULL */
    PyObject *on_error, *on_fault, *on_kill, *on_drained, *on_stopped;
    PyObject *prepare_scope;   /* or NULL */

    struct connection **connections; /* by slots_index(exchange); a reference each */
    size_t connection_room;
    size_t applications;
    uint64_t applications_killed;
    struct peers peers;
};

/* The running connection of exchange, borrowed, or NULL. */
struct connection *server_find(const struct server_object *server, uint64_t exchange);

/* Adds a reference to connection to the table: 0, or -1 with an exception. */
int server_add(struct server_object *server, struct connection *connection);

/* Takes it out again. */
void server_remove(struct server_object *server, struct connection *connection);

/* Sends command soon, with the others of this turn of the loop. Takes it. */
void server_command(struct server_object *server, struct command *command);

/* Acts on one event and frees it: 0, or -1 with an exception that must end the loop (drain.c). */
int server_event(struct server_object *server, struct event *event);

/* port_drain.run and the flush of a server (drain.c). */
int server_drain(struct port_drain *drain);
PyObject *server_flush(PyObject *server, PyObject *ignored);

/* Free the events that nobody will act on, and the commands that nobody will send. */
void server_discard_events(struct server_object *server);
void server_discard_output(struct server_object *server);

extern PyType_Spec server_spec;

#endif
