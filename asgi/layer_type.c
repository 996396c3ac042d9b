#include "asgi/layer_type.h"

#include <string.h>
#include <time.h>

#include "asgi/bus_settings.h"
#include "asgi/connection.h"
#include "asgi/kick.h"

int layer_name(PyObject *text, struct name *name)
{
    Py_ssize_t length;
    name->bytes = PyUnicode_AsUTF8AndSize(text, &length);
    name->length = (size_t)length;
    return name->bytes == NULL ? -1 : 0;
}

static int seconds(double value, const char *what, uint64_t *milliseconds)
{
    if (!(value >= 0 && value < 1e12)) {
        PyErr_Format(PyExc_ValueError, "%s must be a number of seconds, at least 0", what);
        return -1;
    }
    *milliseconds = (uint64_t)(value * 1000 + 0.5);
    return 0;
}

static PyObject *layer_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"expiry", "group_expiry", "message_limit", "mailbox_bytes", "bus", "json", NULL};
    double expiry = -1, group_expiry = -1; /* what is missing is refused as these are */
    Py_ssize_t message_limit = -1, mailbox_bytes = -1;
    PyObject *bus_dict = Py_None;
    int json = 0;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "|$ddnnOp:Layer", names, &expiry, &group_expiry, &message_limit,
                                     &mailbox_bytes, &bus_dict, &json))
        return NULL;
    if (message_limit < 0 || mailbox_bytes <= 0) {
        PyErr_SetString(PyExc_ValueError, "message_limit must be at least 0, and mailbox_bytes more than 0");
        return NULL;
    }
    struct layer_config config = {
        .message_limit = (size_t)message_limit,
        .mailbox_bytes = (size_t)mailbox_bytes,
    };
    if (seconds(expiry, "expiry", &config.expiry_ms) < 0 ||
        seconds(group_expiry, "group_expiry", &config.group_expiry_ms) < 0)
        return NULL;
    struct bus_settings bus;
    if (bus_settings_read(bus_dict, &bus) < 0)
        return NULL;
    config.json = json != 0 || bus.json;
    config.local_prefix = bus.local_prefix;
    config.bus_create = bus.create;
    config.bus_settings = bus.settings;
    struct layer_object *self = (struct layer_object *)type->tp_alloc(type, 0);
    int result = self == NULL ? LAYER_NO_MEMORY : layer_create(&self->layer, &config, kick_owners());
    bus_settings_deinit(&bus);
    if (self == NULL)
        return NULL;
    if (result != LAYER_OK) {
        self->layer = NULL;
        Py_DECREF(self);
        return PyErr_NoMemory();
    }
    return (PyObject *)self;
}

static void layer_dealloc(PyObject *self)
{
    PyTypeObject *type = Py_TYPE(self);
    struct layer *layer = ((struct layer_object *)self)->layer;
    if (layer != NULL)
        layer_release(layer);
    type->tp_free(self);
    Py_DECREF(type);
}

/* What a layer's function returned, as the Python door names it. */
static PyObject *result_name(struct state *state, int result)
{
    switch (result) {
    case LAYER_OK:
        return Py_NewRef(state->strings.ok);
    case LAYER_FULL:
        return Py_NewRef(state->strings.full);
    case LAYER_TOO_LARGE:
        return Py_NewRef(state->strings.too_large);
    case LAYER_CLOSED:
        return Py_NewRef(state->strings.closed);
    case LAYER_UNKNOWN:
        return Py_NewRef(state->strings.unknown);
    case LAYER_UNSENT:
        return Py_NewRef(state->strings.unsent);
    default:
        return PyErr_NoMemory();
    }
}

static int capacity_of(Py_ssize_t value, size_t *capacity)
{
    if (value <= 0) {
        PyErr_SetString(PyExc_ValueError, "capacity must be at least 1");
        return -1;
    }
    *capacity = (size_t)value;
    return 0;
}

static PyObject *new_channel(PyObject *self, PyObject *args)
{
    struct state *state = state_of(Py_TYPE(self));
    PyObject *text;
    Py_ssize_t room;
    size_t capacity;
    int gaps = 0;
    struct name channel;
    if (!PyArg_ParseTuple(args, "Un|p:new_channel", &text, &room, &gaps) || layer_name(text, &channel) < 0 ||
        capacity_of(room, &capacity) < 0)
        return NULL;
    uint64_t owner;
    if (pyconnection_current_owner(state, &owner) < 0)
        return NULL;
    int result = layer_channel_create(((struct layer_object *)self)->layer, channel, capacity, owner, gaps != 0);
    if (result == LAYER_NO_MEMORY)
        return PyErr_NoMemory();
    return PyBool_FromLong(result == LAYER_OK);
}

static PyObject *send_message(PyObject *self, PyObject *args)
{
    PyObject *text;
    Py_ssize_t room;
    Py_buffer payload;
    if (!PyArg_ParseTuple(args, "Uny*:send", &text, &room, &payload))
        return NULL;
    PyObject *answer = NULL;
    struct name channel;
    size_t capacity;
    if (layer_name(text, &channel) == 0 && capacity_of(room, &capacity) == 0) {
        struct message *message = message_create(payload.buf, (size_t)payload.len, NULL, 0);
        int result = LAYER_NO_MEMORY;
        if (message != NULL)
            result = layer_send(((struct layer_object *)self)->layer, channel, capacity, message);
        message_release(message);
        answer = result_name(state_of(Py_TYPE(self)), result);
    }
    PyBuffer_Release(&payload);
    return answer;
}

static PyObject *receive(PyObject *self, PyObject *args)
{
    PyObject *channel, *decode, *never = Py_None;
    Py_ssize_t room;
    size_t capacity;
    if (!PyArg_ParseTuple(args, "UnO|O:receive", &channel, &room, &decode, &never) || capacity_of(room, &capacity) < 0)
        return NULL;
    return layer_receive_new((struct layer_object *)self, channel, capacity, decode, never);
}

static int overflow_named(PyObject *text, enum overflow *overflow)
{
    static const char *const names[OVERFLOW_COUNT] = {
        [OVERFLOW_DROP_OLDEST] = "drop-oldest",
        [OVERFLOW_DROP_NEWEST] = "drop-newest",
        [OVERFLOW_LATEST] = "latest",
        [OVERFLOW_CLOSE] = "close",
    };
    for (int i = 0; i < OVERFLOW_COUNT; i++) {
        if (PyUnicode_CompareWithASCIIString(text, names[i]) == 0) {
            *overflow = (enum overflow)i;
            return 0;
        }
    }
    PyErr_Format(PyExc_ValueError, "overflow is %R; write 'drop-oldest', 'drop-newest', 'latest' or 'close'", text);
    return -1;
}

static PyObject *group_add(PyObject *self, PyObject *args)
{
    PyObject *group_text, *channel_text, *overflow_text;
    Py_ssize_t room;
    size_t capacity;
    struct name group, channel;
    enum overflow overflow;
    if (!PyArg_ParseTuple(args, "UUnU:group_add", &group_text, &channel_text, &room, &overflow_text) ||
        layer_name(group_text, &group) < 0 || layer_name(channel_text, &channel) < 0 ||
        capacity_of(room, &capacity) < 0 || overflow_named(overflow_text, &overflow) < 0)
        return NULL;
    int result = layer_group_add(((struct layer_object *)self)->layer, group, channel, capacity, overflow);
    return result_name(state_of(Py_TYPE(self)), result);
}

static PyObject *group_discard(PyObject *self, PyObject *args)
{
    PyObject *group_text, *channel_text;
    struct name group, channel;
    if (!PyArg_ParseTuple(args, "UU:group_discard", &group_text, &channel_text) ||
        layer_name(group_text, &group) < 0 || layer_name(channel_text, &channel) < 0)
        return NULL;
    layer_group_discard(((struct layer_object *)self)->layer, group, channel);
    Py_RETURN_NONE;
}

/* Giving up the GIL can cost a busy program 5 ms, so it is given up only for groups that have shown to be broad: when the
 * delivery before took more than a millisecond. */
static int deliver(struct layer_object *self, struct name group, struct message *message)
{
    struct timespec begin, end;
    clock_gettime(CLOCK_MONOTONIC, &begin);
    int result;
    if (self->broad) {
        struct layer *layer = self->layer;
        Py_BEGIN_ALLOW_THREADS
        result = layer_group_send(layer, group, message);
        clock_gettime(CLOCK_MONOTONIC, &end);
        Py_END_ALLOW_THREADS
    } else {
        result = layer_group_send(self->layer, group, message);
        clock_gettime(CLOCK_MONOTONIC, &end);
    }
    self->broad = (end.tv_sec - begin.tv_sec) * 1000000000 + (end.tv_nsec - begin.tv_nsec) > 1000000;
    return result;
}

static PyObject *group_send(PyObject *self, PyObject *args)
{
    PyObject *text;
    Py_buffer payload, key;
    if (!PyArg_ParseTuple(args, "Uy*z*:group_send", &text, &payload, &key))
        return NULL;
    PyObject *answer = NULL;
    struct name group;
    if (layer_name(text, &group) == 0) {
        struct message *message =
            message_create(payload.buf, (size_t)payload.len, key.buf, key.buf == NULL ? 0 : (size_t)key.len);
        int result = LAYER_NO_MEMORY;
        if (message != NULL)
            result = deliver((struct layer_object *)self, group, message);
        message_release(message);
        answer = result_name(state_of(Py_TYPE(self)), result);
    }
    PyBuffer_Release(&payload);
    PyBuffer_Release(&key);
    return answer;
}

static PyObject *group_channels(PyObject *self, PyObject *group)
{
    struct name name;
    if (!PyUnicode_Check(group))
        return PyErr_Format(PyExc_TypeError, "group must be a str, not %.100s", Py_TYPE(group)->tp_name);
    return layer_name(group, &name) < 0 ? NULL : layer_query_new((struct layer_object *)self, group);
}

static PyObject *members(PyObject *self, PyObject *group)
{
    if (!PyUnicode_Check(group))
        return PyErr_Format(PyExc_TypeError, "group must be a str, not %.100s", Py_TYPE(group)->tp_name);
    return layer_members_list(((struct layer_object *)self)->layer, group);
}

static PyObject *has(PyObject *self, PyObject *channel)
{
    struct name name;
    if (!PyUnicode_Check(channel))
        return PyErr_Format(PyExc_TypeError, "channel must be a str, not %.100s", Py_TYPE(channel)->tp_name);
    return layer_name(channel, &name) < 0 ? NULL : PyBool_FromLong(layer_has(((struct layer_object *)self)->layer, name));
}

static PyObject *settled(PyObject *self, PyObject *args)
{
    PyObject *name = Py_None;
    int group = 0, joined = 0;
    double wait = -1; /* refused */
    uint64_t wait_ms;
    if (!PyArg_ParseTuple(args, "d|Opp:settled", &wait, &name, &group, &joined) || seconds(wait, "wait", &wait_ms) < 0)
        return NULL;
    if (name != Py_None && !PyUnicode_Check(name))
        return PyErr_Format(PyExc_TypeError, "name must be a str or None, not %.100s", Py_TYPE(name)->tp_name);
    return layer_settle_new((struct layer_object *)self, name != Py_None ? name : NULL, group, joined, wait_ms);
}

static PyObject *abandon(PyObject *self, PyObject *ignored)
{
    (void)ignored;
    layer_retain(((struct layer_object *)self)->layer);
    Py_RETURN_NONE;
}

static PyObject *flush(PyObject *self, PyObject *ignored)
{
    (void)ignored;
    struct layer *layer = ((struct layer_object *)self)->layer;
    Py_BEGIN_ALLOW_THREADS
    layer_flush(layer);
    Py_END_ALLOW_THREADS
    Py_RETURN_NONE;
}

static PyObject *sweep(PyObject *self, PyObject *ignored)
{
    (void)ignored;
    struct layer *layer = ((struct layer_object *)self)->layer;
    Py_BEGIN_ALLOW_THREADS
    layer_sweep(layer);
    Py_END_ALLOW_THREADS
    Py_RETURN_NONE;
}

static PyObject *stats(PyObject *self, PyObject *ignored)
{
    (void)ignored;
    return layer_stats_dict(((struct layer_object *)self)->layer);
}

static PyObject *trouble(PyObject *self, PyObject *ignored)
{
    (void)ignored;
    return layer_trouble_text(((struct layer_object *)self)->layer);
}

static PyObject *groups(PyObject *self, PyObject *ignored)
{
    (void)ignored;
    return layer_groups_dict(((struct layer_object *)self)->layer);
}

static PyObject *channels(PyObject *self, PyObject *ignored)
{
    (void)ignored;
    return layer_channels_dict(((struct layer_object *)self)->layer);
}

static PyMethodDef methods[] = {
    {"new_channel", new_channel, METH_VARARGS,
     "Makes channel for current_connection, or for nobody; gaps: told of lost messages. False where its owner has ended."},
    {"send", send_message, METH_VARARGS, "Puts payload into channel: 'ok', 'full', 'too-large', 'unknown' or 'unsent'."},
    {"receive", receive, METH_VARARGS, "Awaits the next message of channel, decoded."},
    {"group_add", group_add, METH_VARARGS, "Joins or renews a membership: 'ok', 'closed' or 'unknown'."},
    {"group_discard", group_discard, METH_VARARGS, "Ends a membership; there may be none."},
    {"group_send", group_send, METH_VARARGS, "Puts payload into the mailbox of every member: 'ok', 'too-large' or 'unsent'."},
    {"group_channels", group_channels, METH_O,
     "Awaits the names of the channels in group, in all processes; None where the others cannot be asked."},
    {"members", members, METH_O, "The names of the channels in group, in this process."},
    {"has", has, METH_O, "Whether channel is in this process."},
    {"settled", settled, METH_VARARGS,
     "Awaits, wait seconds at most, that the bus has confirmed what was asked of it before, for one name or everything."},
    {"abandon", abandon, METH_NOARGS, "In the child of a fork: it is never freed, as threads that are not here may hold its locks."},
    {"flush", flush, METH_NOARGS, "Empties every mailbox and every group."},
    {"sweep", sweep, METH_NOARGS, "Drops what has expired."},
    {"stats", stats, METH_NOARGS, "Gauges and counters, by name."},
    {"trouble", trouble, METH_NOARGS, "Why the bus is not connected, for people; '' where all is well."},
    {"groups", groups, METH_NOARGS, "For each group: members, messages, dropped, queued, queued_bytes."},
    {"channels", channels, METH_NOARGS, "For each channel: owner, groups, queued, queued_bytes, dropped."},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot slots[] = {
    {Py_tp_doc, "One native channel layer. Any thread, any event loop. Names are checked by the caller."},
    {Py_tp_new, layer_new},
    {Py_tp_dealloc, layer_dealloc},
    {Py_tp_methods, methods},
    {0, NULL},
};

PyType_Spec layer_spec = {
    .name = "peneus._core.Layer",
    .basicsize = sizeof(struct layer_object),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = slots,
};
