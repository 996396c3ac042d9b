/* pause.h: what a task waits on: like an asyncio future (asyncio.isfuture), but when it is over its task runs at once,
 * inside the callback of the loop that ended it, instead of one turn of the loop later.
 *
 * Owner:   the awaitable that yields it, and the task that waits on it.
 * Thread:  the loop's, with the GIL.
 * Limits:  one callback: the task's.
 *
 *     PENDING ──pause_end──▶ OVER        PENDING ──cancel()──▶ CANCELLED
 */
#ifndef PENEUS_ASGI_PAUSE_H
#define PENEUS_ASGI_PAUSE_H

#include <Python.h>

#include "asgi/state.h"

/* A new pause of loop; NULL with an exception. */
PyObject *pause_new(struct state *state, PyObject *loop);

/* Ends it, if it is pending. at_once: no task is running, so its own may run now; otherwise the loop will run it soon.
 * 0, or -1 with a KeyboardInterrupt or SystemExit of the task. */
int pause_end(PyObject *pause, int at_once);

/* It is pending. */
int pause_pending(PyObject *pause);

extern PyType_Spec pause_spec;

#endif
