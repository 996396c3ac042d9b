#include "asgi/server_methods.h"

#include <sys/socket.h>

#include "asgi/connection.h"
#include "asgi/numbers.h"
#include "asgi/outlet.h"
#include "asgi/task.h"
#include "asgi/tls_type.h"
#include "base/clock.h"

enum { ERROR_SIZE = 512 };

static struct pyserver *server_of(PyObject *self)
{
    return (struct pyserver *)self;
}

static int must_be_new(const struct pyserver *self, const char *method)
{
    if (self->phase == PHASE_NEW)
        return 0;
    PyErr_Format(PyExc_RuntimeError, "%s() comes before start(), and never after close()", method);
    return -1;
}

static PyObject *listen_on(struct pyserver *self, const struct listen_spec *spec)
{
    char error[ERROR_SIZE] = "";
    int result;
    Py_BEGIN_ALLOW_THREADS /* a name may have to be resolved */
    result = server_listen(self->native, spec, error, sizeof error);
    Py_END_ALLOW_THREADS
    if (result == SERVER_OK)
        Py_RETURN_NONE;
    PyErr_SetString(PyExc_OSError, error);
    return NULL;
}

static PyObject *listen_tcp(PyObject *self, PyObject *args)
{
    const char *host;
    int port;
    PyObject *tls = Py_None;
    struct listen_spec spec = { .kind = LISTEN_TCP };
    if (!PyArg_ParseTuple(args, "si|O:listen_tcp", &host, &port, &tls) ||
        tls_store_of(server_of(self)->state, tls, &spec.tls) < 0 || must_be_new(server_of(self), "listen_tcp") < 0)
        return NULL;
    if (port < 0 || port > 65535)
        return PyErr_Format(PyExc_ValueError, "a port is a number from 0 to 65535, not %d", port);
    spec.host = host;
    spec.port = (uint16_t)port;
    return listen_on(server_of(self), &spec);
}

static PyObject *listen_unix(PyObject *self, PyObject *args)
{
    PyObject *path;
    int mode = -1;
    PyObject *tls = Py_None;
    if (!PyArg_ParseTuple(args, "O&|iO:listen_unix", PyUnicode_FSConverter, &path, &mode, &tls))
        return NULL;
    PyObject *result = NULL;
    struct listen_spec spec = { .kind = LISTEN_UNIX, .path = PyBytes_AS_STRING(path), .mode = mode };
    if (tls_store_of(server_of(self)->state, tls, &spec.tls) == 0 && must_be_new(server_of(self), "listen_unix") == 0) {
        result = listen_on(server_of(self), &spec);
    }
    Py_DECREF(path);
    return result;
}

static PyObject *listen_fd(PyObject *self, PyObject *args)
{
    struct listen_spec spec = { .kind = LISTEN_FD };
    PyObject *tls = Py_None;
    if (!PyArg_ParseTuple(args, "i|O:listen_fd", &spec.fd, &tls) || tls_store_of(server_of(self)->state, tls, &spec.tls) < 0 ||
        must_be_new(server_of(self), "listen_fd") < 0)
        return NULL;
    return listen_on(server_of(self), &spec);
}

static PyObject *join_crew(PyObject *self, PyObject *args)
{
    int fd;
    unsigned place;
    if (!PyArg_ParseTuple(args, "iI:join_crew", &fd, &place) || must_be_new(server_of(self), "join_crew") < 0)
        return NULL;
    if (server_join_crew(server_of(self)->native, fd, place) != 0)
        return PyErr_SetFromErrno(PyExc_OSError);
    Py_RETURN_NONE;
}

static int take_loop(struct pyserver *self, PyObject *loop)
{
    const struct strings *s = &self->state->strings;
    self->loop = Py_NewRef(loop);
    self->call_soon = PyObject_GetAttr(loop, s->call_soon);
    self->context = PyContext_CopyCurrent();
    static PyMethodDef flush_method = {"flush", pyserver_flush, METH_NOARGS, NULL};
    self->flush = PyCFunction_New(&flush_method, (PyObject *)self);
    if (self->call_soon == NULL || self->context == NULL || self->flush == NULL ||
        eager_init(self) < 0)
        return -1;
    self->port = port_of(self->state, loop);
    return self->port == NULL ? -1 : 0;
}

static PyObject *start(PyObject *object, PyObject *loop)
{
    struct pyserver *self = server_of(object);
    if (must_be_new(self, "start") < 0)
        return NULL;
    if (self->loop != NULL) {
        PyErr_SetString(PyExc_RuntimeError, "start() failed before; make a new Server");
        return NULL;
    }
    if (take_loop(self, loop) < 0)
        return NULL;
    list_append(&self->port->drains, &self->drain.of_port);
    if (server_start(self->native) != SERVER_OK) {
        list_remove(&self->drain.of_port);
        PyErr_SetString(PyExc_OSError, "the I/O thread cannot be started: the system has no thread left for it");
        return NULL;
    }
    server_outlet_start(self->tags.outlet);
    self->phase = PHASE_RUNNING;
    Py_RETURN_NONE;
}

static PyObject *beat(PyObject *object, PyObject *argument)
{
    double interval = PyFloat_AsDouble(argument);
    if (interval == -1.0 && PyErr_Occurred())
        return NULL;
    loop_clock_beat(&server_of(object)->loop_clock, clock_ns(), (uint64_t)(interval * 1e9));
    Py_RETURN_NONE;
}

static PyObject *command_now(struct pyserver *self, enum command_kind kind, uint16_t code)
{
    if (self->phase != PHASE_RUNNING)
        Py_RETURN_NONE;
    struct command *command = command_create(kind, 0, 0);
    if (command == NULL)
        return PyErr_NoMemory();
    command->code = code;
    struct queue_chain chain = {0};
    queue_chain_add(&chain, &command->item);
    server_send(self->native, &chain);
    Py_RETURN_NONE;
}

static PyObject *shutdown_method(PyObject *self, PyObject *args)
{
    unsigned short code;
    if (!PyArg_ParseTuple(args, "H:shutdown", &code))
        return NULL;
    return command_now(server_of(self), COMMAND_SHUTDOWN, code);
}

static PyObject *retire(PyObject *self, PyObject *ignored)
{
    (void)ignored;
    return command_now(server_of(self), COMMAND_RETIRE, 0);
}

static PyObject *stop(PyObject *self, PyObject *ignored)
{
    (void)ignored;
    return command_now(server_of(self), COMMAND_STOP, 0);
}

static PyObject *connections(PyObject *object, PyObject *ignored)
{
    (void)ignored;
    struct pyserver *self = server_of(object);
    PyObject *list = PyList_New(0);
    for (size_t i = 0; list != NULL && i < self->connection_room; i++) {
        if (self->connections[i] != NULL && PyList_Append(list, (PyObject *)self->connections[i]) < 0)
            Py_CLEAR(list);
    }
    return list;
}

static PyObject *cancel_applications(PyObject *self, PyObject *ignored)
{
    /* A copy: cancelling may run anything, and so change the table. */
    PyObject *list = connections(self, ignored);
    long count = 0;
    for (Py_ssize_t i = 0; list != NULL && i < PyList_GET_SIZE(list); i++) {
        struct pyconnection *connection = (struct pyconnection *)PyList_GET_ITEM(list, i);
        if (!pyconnection_running(connection))
            continue;
        count++;
        if (task_cancel(connection) < 0)
            Py_CLEAR(list);
    }
    if (list == NULL)
        return NULL;
    Py_DECREF(list);
    return PyLong_FromLong(count);
}

static PyObject *end_streams(PyObject *object, PyObject *ignored)
{
    struct pyserver *self = server_of(object);
    self->draining = true;
    PyObject *list = connections(object, ignored);
    for (Py_ssize_t i = 0; list != NULL && i < PyList_GET_SIZE(list); i++) {
        if (pyconnection_answered((struct pyconnection *)PyList_GET_ITEM(list, i)) < 0)
            Py_CLEAR(list);
    }
    if (list == NULL)
        return NULL;
    Py_DECREF(list);
    Py_RETURN_NONE;
}

static PyObject *close_method(PyObject *object, PyObject *ignored)
{
    (void)ignored;
    struct pyserver *self = server_of(object);
    if (self->phase == PHASE_RUNNING) {
        PyErr_SetString(PyExc_RuntimeError, "close() comes after on_stopped(): call stop() first and wait for it");
        return NULL;
    }
    pyserver_close_native(self);
    Py_RETURN_NONE;
}

static PyObject *stats(PyObject *object, PyObject *ignored)
{
    (void)ignored;
    struct pyserver *self = server_of(object);
    struct server_stats stats = {0};
    if (self->native != NULL)
        server_stats(self->native, &stats);
    const struct number numbers[] = {
        {"connections", stats.connections},
        {"exchanges", stats.exchanges},
        {"websockets", stats.websockets},
        {"read_paused", stats.read_paused},
        {"bytes_unwritten", stats.bytes_unwritten},
        {"head_bytes_waiting", stats.head_bytes_waiting},
        {"connections_total", stats.connections_total},
        {"requests_total", stats.requests_total},
        {"websockets_total", stats.websockets_total},
        {"messages_in_total", stats.messages_in_total},
        {"messages_out_total", stats.messages_out_total},
        {"bytes_in_total", stats.bytes_in_total},
        {"bytes_out_total", stats.bytes_out_total},
        {"bad_requests_total", stats.bad_requests_total},
        {"timeouts_total", stats.timeouts_total},
        {"kills_total", stats.kills_total},
        {"kicks_total", stats.kicks_total},
        {"accept_errors_total", stats.accept_errors_total},
        {"broadcasts_total", stats.broadcasts_total},
        {"relayed_total", stats.relayed_total},
        {"broadcasts_refused_total", stats.broadcasts_refused_total},
        {"tls_handshakes_total", stats.tls_handshakes_total},
        {"tls_errors_total", stats.tls_errors_total},
        {"http2_connections", stats.http2_connections},
        {"http2_refused_total", stats.http2_refused_total},
        {"http2_floods_total", stats.http2_floods_total},
        {"applications_refused_total", stats.applications_refused_total},
        {"heads_refused_total", stats.heads_refused_total},
        {"heads_held_total", stats.heads_held_total},
        {"handshakes", stats.handshakes},
        {"connections_refused_total", stats.connections_refused_total},
        {"addresses_refused_total", stats.addresses_refused_total},
        {"handshakes_dropped_total", stats.handshakes_dropped_total},
        {"handshake_timeouts_total", stats.handshake_timeouts_total},
        {"header_timeouts_total", stats.header_timeouts_total},
        {"body_timeouts_total", stats.body_timeouts_total},
        {"send_timeouts_total", stats.send_timeouts_total},
        {"idle_timeouts_total", stats.idle_timeouts_total},
        {"ping_timeouts_total", stats.ping_timeouts_total},
        {"files_cut_total", stats.files_cut_total},
        {"descriptors_exhausted_total", stats.descriptors_exhausted_total},
        {"proxy_errors_total", stats.proxy_errors_total},
        {"unsent_resets_total", stats.unsent_resets_total},
        {"forwarded_errors_total", self->forwarded_errors},
        {"applications", self->applications},
        {"applications_killed_total", self->applications_killed},
    };
    return numbers_dict(numbers, sizeof numbers / sizeof numbers[0]);
}

static PyObject *addresses(PyObject *object, void *ignored)
{
    (void)ignored;
    struct pyserver *self = server_of(object);
    PyObject *list = PyList_New(0);
    struct listen_address address;
    for (size_t i = 0; list != NULL && self->native != NULL && server_address(self->native, i, &address) == 0; i++) {
        PyObject *item = address.family == AF_UNIX ? PyUnicode_DecodeFSDefault(address.host)
                                                   : Py_BuildValue("(si)", address.host, (int)address.port);
        if (item == NULL || PyList_Append(list, item) < 0)
            Py_CLEAR(list);
        Py_XDECREF(item);
    }
    return list;
}

PyMethodDef pyserver_methods[] = {
    {"listen_tcp", listen_tcp, METH_VARARGS, "Listens on host and port; OSError with a sentence."},
    {"listen_unix", listen_unix, METH_VARARGS, "Listens on a Unix socket; OSError with a sentence."},
    {"listen_fd", listen_fd, METH_VARARGS, "Takes over a listening or bound socket; OSError with a sentence."},
    {"join_crew", join_crew, METH_VARARGS, "Shares the listening sockets with other processes."},
    {"start", start, METH_O, "Starts the I/O thread; applications run on loop."},
    {"beat", beat, METH_O, "The loop runs, and beats again in so many seconds unless something blocks it."},
    {"retire", retire, METH_NOARGS, "Stops listening, and serves who has been taken."},
    {"shutdown", shutdown_method, METH_VARARGS, "Stops listening, closes WebSockets with code, lets requests end."},
    {"cancel_applications", cancel_applications, METH_NOARGS, "Cancels every running application; returns how many."},
    {"end_streams", end_streams, METH_NOARGS, "Applications that stream a response without a known end hear of a disconnect."},
    {"connections", connections, METH_NOARGS, "Every exchange whose application has not ended."},
    {"stop", stop, METH_NOARGS, "Closes every connection now; then on_stopped()."},
    {"close", close_method, METH_NOARGS, "Frees the server."},
    {"stats", stats, METH_NOARGS, "Gauges and counters, by name."},
    {NULL, NULL, 0, NULL},
};

PyGetSetDef pyserver_properties[] = {
    {"addresses", addresses, NULL, "(host, port) for TCP, the path for a Unix socket, in the order of the listeners.", NULL},
    {NULL, NULL, NULL, NULL, NULL},
};
