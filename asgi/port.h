/* port.h: where other threads reach one event loop: an eventfd that the loop reads, the sink of what waits on channels, and
 * the servers whose events it gets.
 *
 * Owner:   the loop, through its reader; everyone who uses it holds a reference too. It knows its loop weakly, and is
 *          closed with its last reference, so when the loop is closed or dies.
 * Thread:  its loop's, with the GIL; port_wake from any, without.
 * Limits:  one for each loop. Only the loop's public interface is used, so it may be asyncio's, uvloop's or another.
 */
#ifndef PENEUS_ASGI_PORT_H
#define PENEUS_ASGI_PORT_H

#include <Python.h>
#include <stdbool.h>
#include <stdint.h>

#include "asgi/awaitable.h"
#include "asgi/state.h"
#include "base/slots.h"
#include "channellayer/sink.h"

struct port {
    PyObject_HEAD
    struct state *state;
    PyObject *loop_reference; /* weak */
    int fd;
    struct sink *sink;
    struct slots waiters;      /* of struct awaitable, without a reference, by the tokens of the sink */
    struct list_node waiting;  /* of struct awaitable, by their link; a reference each */
    struct list_node drains;   /* of struct port_drain */
    unsigned long thread;      /* the loop's, as it was when it last ran */
    bool running;              /* in the loop's callback: tasks may be run, and each drain's end follows */
    struct list_node of_state; /* in state->ports */
};

/* Someone who has something to do when the loop is woken. */
struct port_drain {
    struct list_node of_port;
    /* Does a bounded part of it: 1 when there is more, 0 when not, -1 with an exception that must end the loop. */
    int (*run)(struct port_drain *drain);
    /* Once after all of them have run. */
    void (*end)(struct port_drain *drain);
};

/* The port of loop, made if need be, as a new reference; NULL with an exception. Thread: loop's. */
struct port *port_of(struct state *state, PyObject *loop);

/* The loop will run the drains soon. argument is the port. */
void port_wake(void *argument);

/* A waiter was told, and its task runs: item is its sink_item, whose layer the callee releases. awaitable is NULL when it has
 * gone. 0, or -1 with a KeyboardInterrupt or SystemExit. */
int port_told(struct awaitable *awaitable, const struct sink_item *item); /* layer_wait.c */

extern PyType_Spec port_spec;

#endif
