/* state.h: what one instance of the module has: its types, its strings, its caches, its loops.
 *
 * Owner:   the module object; every object of its types keeps the module alive and points here.
 * Thread:  with the GIL.
 * Limits:  caches.h bounds its caches; SENDINGS_SPARE; ports: one for each event loop that lives.
 */
#ifndef PENEUS_ASGI_STATE_H
#define PENEUS_ASGI_STATE_H

#include <Python.h>

#include "asgi/caches.h"
#include "asgi/strings.h"
#include "base/list.h"

struct port;

enum { SENDINGS_SPARE = 32 };

struct state {
    struct strings strings;
    struct caches caches;

    PyTypeObject *awaitable_type;
    PyTypeObject *connection_type;
    PyTypeObject *delegate_type;
    PyTypeObject *inbox_type;
    PyTypeObject *hub_type;
    PyTypeObject *layer_query_type;
    PyTypeObject *layer_receive_type;
    PyTypeObject *layer_settle_type;
    PyTypeObject *layer_type;
    PyTypeObject *message_type;
    PyTypeObject *pause_type;
    PyTypeObject *port_type;
    PyTypeObject *sending_type;
    PyTypeObject *server_type;
    PyTypeObject *tls_type;

    PyObject *current_connection; /* ContextVar */
    PyObject *client_gone;        /* the OSError of send() after the client has left */
    PyObject *empty_bytes;
    PyObject *task_class;         /* asyncio.Task */
    PyObject *get_running_loop;   /* asyncio.get_running_loop */
    PyObject *cancelled_error;    /* asyncio.CancelledError */
    PyObject *invalid_state_error;
    PyObject *context_name;       /* ("context",) */
    PyObject *eager_names;        /* ("loop", "context", "eager_start") */
    PyObject *context_names;      /* ("loop", "context") */

    /* Prototypes that are copied for each exchange. An HTTP request's says 2.3, although all of 2.5 is there: from 2.4 on Starlette and
     * FastAPI do not listen for the disconnect while they stream, and a stream that has nothing to send outlives its client. */
    PyObject *http_asgi;
    PyObject *websocket_asgi;
    PyObject *bodiless_request; /* {"type": "http.request", "body": b"", "more_body": False} */

    PyObject *sendings[SENDINGS_SPARE]; /* sending.c's spare ones: memory, with a type but without a reference */
    unsigned sending_count, sending_room;

    struct list_node ports;    /* of struct port */
    struct port *recent_port;  /* borrowed: the one found last, or NULL */
};

/* The state of the module that type was made by. */
static inline struct state *state_of(PyTypeObject *type)
{
    return PyType_GetModuleState(type);
}

/* Fills state, which is zeroed; the types are the module's to make. 0, or -1 with an exception. */
int state_init(struct state *state);

int state_traverse(struct state *state, visitproc visit, void *arg);
void state_clear(struct state *state);

#endif
