/* eager.h: a real asyncio.Task whose first step runs at once, inside its context, where Python and the loop allow it.
 *
 * Owner:   struct pyserver.
 * Thread:  the loop's, with the GIL, in a callback of the loop (no task is current).
 * Limits:  Python 3.12 has eager_start. In 3.11 a Task schedules its first step by loop.call_soon(step, context=…): for as long
 *          as Task() runs, call_soon is a function that keeps exactly that step (its context is the one made for this task,
 *          so it cannot be confused with another) and passes everything else on. Where the loop does not let its
 *          attribute be set, or has one already, and in 3.10, whose Task has no context=, tasks start in the plain way.
 */
#ifndef PENEUS_ASGI_EAGER_H
#define PENEUS_ASGI_EAGER_H

#include <Python.h>
#include <stdbool.h>

struct pyserver;

struct eager {
    bool usable;
    PyObject *catcher; /* stands for loop.call_soon during Task() */
    PyObject *context; /* borrowed: of the task being made */
    PyObject *step;    /* caught */
};

/* Finds out what server's loop allows. 0, or -1 with an exception. */
int eager_init(struct pyserver *server);

/* A new task of coroutine (whose reference stays the caller's) in context. It may be done when this returns. NULL with an
 * exception; with *task set and -1, KeyboardInterrupt or SystemExit left the task's first step. */
int eager_task(struct pyserver *server, PyObject *coroutine, PyObject *context, PyObject **task);

#endif
