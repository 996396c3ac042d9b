#include "asgi/port.h"

#include <errno.h>
#include <sys/eventfd.h>
#include <unistd.h>

/* Told waiters in one go of the loop: its own timers and the other drains are due in between. */
enum { TOLD_AT_ONCE = 64 };

void port_wake(void *argument)
{
    struct port *port = argument;
    uint64_t one = 1;
    ssize_t written;
    do
        written = write(port->fd, &one, sizeof one);
    while (written < 0 && errno == EINTR);
    /* EAGAIN: the counter is at its end, so the loop is awake in any case. */
}

static int drain_sink(struct port *port)
{
    struct sink_item item;
    for (int i = 0; i < TOLD_AT_ONCE; i++) {
        if (!sink_take(port->sink, &item))
            return 0;
        if (port_told(slots_get(&port->waiters, item.token), &item) < 0)
            return -1;
    }
    return 1;
}

/* One after the other out of the list and into it again: a drain may remove itself, and any other, while it runs. */
static int each_drain(struct port *port, int (*act)(struct port_drain *drain))
{
    int more = 0;
    struct list_node passed;
    list_init(&passed);
    while (more >= 0 && !list_empty(&port->drains)) {
        struct port_drain *drain = list_entry(port->drains.next, struct port_drain, of_port);
        list_remove(&drain->of_port);
        list_append(&passed, &drain->of_port);
        int result = act(drain);
        more = result < 0 ? -1 : more | result;
    }
    while (!list_empty(&passed)) {
        struct list_node *node = passed.next;
        list_remove(node);
        list_append(&port->drains, node);
    }
    return more;
}

static int run_drain(struct port_drain *drain)
{
    return drain->run(drain);
}

static int end_drain(struct port_drain *drain)
{
    drain->end(drain);
    return 0;
}

/* The reader's callback. */
static PyObject *port_run(PyObject *self, PyObject *ignored)
{
    (void)ignored;
    struct port *port = (struct port *)self;
    Py_INCREF(port);
    /* First the reset, then the queues: what comes in between wakes the loop again. */
    uint64_t count;
    ssize_t got = read(port->fd, &count, sizeof count);
    (void)got;
    port->thread = PyThread_get_thread_ident();
    port->running = true;
    int more = each_drain(port, run_drain);
    if (more >= 0) {
        int told = drain_sink(port);
        more = told < 0 ? -1 : more | told;
    }
    port->running = false;
    each_drain(port, end_drain);
    if (more != 0)
        port_wake(port);
    Py_DECREF(port);
    if (more < 0)
        return NULL;
    Py_RETURN_NONE;
}

static PyMethodDef run_method = {"run", port_run, METH_NOARGS, "Takes what other threads have for this loop."};

/* The loop holds the callback, and the callback the port. */
static int register_reader(struct port *port, PyObject *loop)
{
    PyObject *callback = PyCFunction_New(&run_method, (PyObject *)port);
    PyObject *fd = PyLong_FromLong(port->fd);
    PyObject *added = NULL;
    if (callback != NULL && fd != NULL)
        added = PyObject_CallMethodObjArgs(loop, port->state->strings.add_reader, fd, callback, NULL);
    Py_XDECREF(callback);
    Py_XDECREF(fd);
    Py_XDECREF(added);
    return added == NULL ? -1 : 0;
}

static struct port *port_new(struct state *state, PyObject *loop)
{
    struct port *port = PyObject_GC_New(struct port, state->port_type);
    if (port == NULL)
        return NULL;
    port->state = state;
    port->sink = NULL;
    slots_init(&port->waiters);
    list_init(&port->waiting);
    list_init(&port->drains);
    port->thread = PyThread_get_thread_ident();
    port->running = false;
    list_init(&port->of_state);
    port->fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    port->loop_reference = PyWeakref_NewRef(loop, NULL);
    if (port->fd < 0)
        PyErr_SetFromErrno(PyExc_OSError);
    if (port->fd < 0 || port->loop_reference == NULL) {
        Py_DECREF(port);
        return NULL;
    }
    port->sink = sink_create(port_wake, port);
    if (register_reader(port, loop) < 0) {
        Py_DECREF(port);
        return NULL;
    }
    list_append(&state->ports, &port->of_state);
    PyObject_GC_Track(port);
    return port;
}

static bool is_port_of(struct port *port, PyObject *loop)
{
#if PY_VERSION_HEX >= 0x030D0000
    PyObject *referent;
    if (PyWeakref_GetRef(port->loop_reference, &referent) <= 0)
        return false;
    Py_DECREF(referent);
    return referent == loop;
#else
    return PyWeakref_GetObject(port->loop_reference) == loop;
#endif
}

struct port *port_of(struct state *state, PyObject *loop)
{
    struct port *port = state->recent_port;
    if (port == NULL || !is_port_of(port, loop)) {
        port = NULL;
        for (struct list_node *node = state->ports.next; node != &state->ports; node = node->next) {
            struct port *candidate = list_entry(node, struct port, of_state);
            if (is_port_of(candidate, loop))
                port = candidate;
        }
    }
    if (port != NULL)
        Py_INCREF(port);
    else if ((port = port_new(state, loop)) == NULL)
        return NULL;
    state->recent_port = port;
    return port;
}

static int traverse(PyObject *self, visitproc visit, void *arg)
{
    struct port *port = (struct port *)self;
    Py_VISIT(Py_TYPE(self));
    return awaitable_visit_all(&port->waiting, visit, arg);
}

static void dealloc(PyObject *self)
{
    struct port *port = (struct port *)self;
    PyTypeObject *type = Py_TYPE(self);
    PyObject_GC_UnTrack(self);
    list_remove(&port->of_state);
    if (port->state->recent_port == port)
        port->state->recent_port = NULL;
    if (port->sink != NULL) {
        sink_close(port->sink);
        sink_release(port->sink);
    }
    if (port->fd >= 0)
        close(port->fd);
    slots_deinit(&port->waiters);
    Py_XDECREF(port->loop_reference);
    type->tp_free(self);
    Py_DECREF(type);
}

static PyType_Slot port_slots[] = {
    {Py_tp_traverse, traverse},
    {Py_tp_dealloc, dealloc},
    {0, NULL},
};

PyType_Spec port_spec = {
    .name = "peneus._core.Port",
    .basicsize = sizeof(struct port),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_DISALLOW_INSTANTIATION | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = port_slots,
};
