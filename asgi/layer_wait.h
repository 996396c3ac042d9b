/* layer_wait.h: an awaitable that waits for something of a layer: what all of them share.
 *
 * Owner:   Python; while it waits its token stands in its port's table, and it in a list that has a reference to it.
 * Thread:  its loop's, with the GIL.
 * Limits:  one token.
 */
#ifndef PENEUS_ASGI_LAYER_WAIT_H
#define PENEUS_ASGI_LAYER_WAIT_H

#include <Python.h>
#include <stdint.h>

#include "asgi/awaitable.h"
#include "asgi/layer_type.h"
#include "asgi/port.h"

struct layer_wait {
    struct awaitable awaitable; /* source: the layer object */
    PyObject *loop;
    struct port *port;
    uint64_t token;        /* 0 while it does not wait */
    uint64_t told_channel; /* of the sink_item, when it was told */
    int told_status;
    struct message *told_answer; /* counted; or NULL */
    int told;
    int begun; /* it waits for the layer alone: layer_wait_begin() */
    void (*never)(struct layer_wait *wait); /* called when nothing will come from the layer any more; or NULL */
};

static inline struct layer *layer_wait_native(const struct layer_wait *wait)
{
    return ((struct layer_object *)wait->awaitable.source)->layer;
}

/* A new one of type, untracked, for layer. NULL with an exception. */
struct layer_wait *layer_wait_new(PyTypeObject *type, const struct awaitable_operations *operations, struct layer_object *layer);

/* Gets a token of the running loop's port: 0, or -1 with an exception. The loop is known only when somebody awaits. */
int layer_wait_arm(struct layer_wait *wait);

/* It is armed, and attempt() returns 0: its link goes into the port's list. The loop and its port can be collected together with it. */
void layer_wait_begin(struct layer_wait *wait);

/* It does not wait after all, or no more. */
void layer_wait_disarm(struct layer_wait *wait);

/* awaitable_operations.loop */
PyObject *layer_wait_loop(struct awaitable *awaitable);

/* For traverse and clear. */
int layer_wait_traverse(PyObject *self, visitproc visit, void *arg);
int layer_wait_clear(PyObject *self);

#endif
