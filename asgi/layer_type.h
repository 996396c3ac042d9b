/* layer_type.h: peneus._core.Layer: one native channel layer as Python sees it, and its pending receive().
 *
 * Owner:   Python.
 * Thread:  any with the GIL, which is released around what takes long.
 * Limits:  channellayer/layer.h.
 */
#ifndef PENEUS_ASGI_LAYER_TYPE_H
#define PENEUS_ASGI_LAYER_TYPE_H

#include <Python.h>
#include <stdbool.h>

#include "asgi/state.h"
#include "channellayer/layer.h"

struct layer_object {
    PyObject_HEAD
    struct layer *layer;
    bool broad; /* its last group message took long: the next is delivered without the GIL */
};

/* The name in text, a str, as long as text lives: 0, or -1 with an exception. */
int layer_name(PyObject *text, struct name *name);

/* Layer.receive(): an awaitable of channel's next message. */
PyObject *layer_receive_new(struct layer_object *layer, PyObject *channel, size_t capacity, PyObject *decode, PyObject *never);

/* Layer.settled(): an awaitable of whether the bus has confirmed what was asked of it before. */
PyObject *layer_settle_new(struct layer_object *layer, PyObject *name, int group, int joined, uint64_t wait_ms);

/* Layer.group_channels(): an awaitable of the names of the channels in group; None where the others cannot be asked. */
PyObject *layer_query_new(struct layer_object *layer, PyObject *group);

/* Layer.stats(), Layer.trouble(), Layer.groups() and Layer.channels(). */
PyObject *layer_stats_dict(struct layer *layer);
PyObject *layer_trouble_text(struct layer *layer);
PyObject *layer_groups_dict(struct layer *layer);
PyObject *layer_channels_dict(struct layer *layer);

/* Layer.members(). */
PyObject *layer_members_list(struct layer *layer, PyObject *group);

extern PyType_Spec layer_spec;
extern PyType_Spec layer_query_spec;
extern PyType_Spec layer_receive_spec;
extern PyType_Spec layer_settle_spec;
extern PyType_Spec message_spec;

#endif
