/* awaitable.h: what receive() and send() return: an object like a coroutine, that asks its source for a result and, while
 * there is none, waits on a pause.
 *
 * Owner:   Python. While it waits for awaitable_wake(), the list of its source in which it stands has a reference too: the event
 *          loop has weak references to tasks only, so nobody else need refer to the task that awaits it.
 * Thread:  its loop's, with the GIL.
 * Limits:  none: an awaitable holds no result, so one that is cancelled loses nothing.
 *
 *     FRESH ──send──▶ ATTEMPTING ──not yet──▶ WAITING ──send──▶ ATTEMPTING
 *                          └── the source has the result ──▶ DONE ◀── throw, close
 *
 * A repeatable one is FRESH again when it is awaited again.
 */
#ifndef PENEUS_ASGI_AWAITABLE_H
#define PENEUS_ASGI_AWAITABLE_H

#include <Python.h>

#include "asgi/state.h"
#include "base/list.h"

struct awaitable;

struct awaitable_operations {
    /* 1: *result is a new reference; -1: an exception is set; 0: not yet, and the awaitable's link stands in a list of those for
     * which awaitable_wake() will be called, or in none where that will never be; AWAITABLE_TURN: not before the loop has had its
     * turn, then again. */
    int (*attempt)(struct awaitable *awaitable, PyObject **result);
    /* The loop, borrowed. */
    PyObject *(*loop)(struct awaitable *awaitable);
    /* It no longer waits: attempt() returned 0 before, and will be called again or never. woken: awaitable_wake() was
     * called since. again: attempt() follows. */
    void (*left)(struct awaitable *awaitable, int woken, int again);
    /* When it is DONE, it may be awaited again. */
    int repeatable;
};

enum { AWAITABLE_TURN = 2 };

enum awaitable_phase {
    AWAITABLE_FRESH,      /* nobody has awaited it */
    AWAITABLE_ATTEMPTING, /* attempt() runs, and with it perhaps the application's code: nobody else may await it */
    AWAITABLE_WAITING,    /* on pause */
    AWAITABLE_DONE,       /* it gave its result, or raised, or was closed */
};

struct awaitable {
    PyObject_HEAD
    const struct awaitable_operations *operations;
    enum awaitable_phase phase;
    int woken;
    PyObject *source;   /* a connection or a layer */
    PyObject *pause;    /* WAITING */
    struct list_node link; /* WAITING: in a list of its source, which has a reference; in none once it is woken */
};

/* A new one, untracked, for source (a reference is taken). For the types that embed it. */
void awaitable_init(struct awaitable *awaitable, const struct awaitable_operations *operations, PyObject *source);

/* An awaitable of the plain type, for source (a reference is taken). */
PyObject *awaitable_new(struct state *state, const struct awaitable_operations *operations, PyObject *source);

/* Ends the wait of awaitable if it waits: its task runs before this returns where at_once is true, for callers from a
 * callback of the loop, where no task is running; otherwise soon. The caller has a reference. 0, or -1 with a KeyboardInterrupt
 * or SystemExit. */
int awaitable_wake(struct awaitable *awaitable, int at_once);

/* It will never be woken after all: whether its task lives on is nobody's business but the application's. */
void awaitable_forget(struct awaitable *awaitable);

/* Wakes everyone in a list of awaitables by link. */
int awaitable_wake_all(struct list_node *list, int at_once);

/* For the types that embed struct awaitable: their slots begin with these, and end with {0, NULL}. */
#define AWAITABLE_SLOTS                                                                                                \
    {Py_am_await, awaitable_self}, {Py_am_send, awaitable_send}, {Py_tp_iter, awaitable_self},                         \
        {Py_tp_iternext, awaitable_next}, {Py_tp_methods, awaitable_methods}

PyObject *awaitable_self(PyObject *self);
PyObject *awaitable_next(PyObject *self);
PySendResult awaitable_send(PyObject *self, PyObject *value, PyObject **result);
extern PyMethodDef awaitable_methods[];

/* For tp_dealloc of those types: leaves what it waits for. */
void awaitable_leave(struct awaitable *awaitable);

/* For the traverse of whatever has such a list. */
int awaitable_visit_all(const struct list_node *list, visitproc visit, void *arg);

/* For their traverse and clear. */
int awaitable_traverse(PyObject *self, visitproc visit, void *arg);
int awaitable_clear(PyObject *self);

extern PyType_Spec awaitable_spec; /* struct awaitable itself */

#endif
