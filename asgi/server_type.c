#include "asgi/server_type.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>

#include "asgi/connection.h"
#include "asgi/kick.h"
#include "asgi/outlet.h"
#include "asgi/scope.h"
#include "asgi/server_methods.h"
#include "asgi/settings_in.h"
#include "base/alloc.h"
#include "base/slots.h"

/* The table */

struct pyconnection *pyserver_find(const struct pyserver *server, uint64_t exchange)
{
    size_t index = slots_index(exchange);
    struct pyconnection *connection = index < server->connection_room ? server->connections[index] : NULL;
    return connection != NULL && connection->exchange == exchange ? connection : NULL;
}

int pyserver_add(struct pyserver *server, struct pyconnection *connection)
{
    size_t index = slots_index(connection->exchange);
    if (index >= server->connection_room) {
        size_t room = (index + 1) * 2;
        struct pyconnection **grown = mem_try_realloc(server->connections, room * sizeof(struct pyconnection *));
        if (grown == NULL) {
            PyErr_NoMemory();
            return -1;
        }
        memset(grown + server->connection_room, 0, (room - server->connection_room) * sizeof(struct pyconnection *));
        server->connections = grown;
        server->connection_room = room;
    }
    Py_INCREF(connection);
    server->connections[index] = connection;
    server->applications++;
    return 0;
}

void pyserver_remove(struct pyserver *server, struct pyconnection *connection)
{
    if (pyserver_find(server, connection->exchange) != connection)
        return;
    server->connections[slots_index(connection->exchange)] = NULL;
    server->applications--;
    Py_DECREF(connection);
}

/* Making it */

static void wake_loop(void *argument)
{
    struct pyserver *server = argument;
    port_wake(server->port);
}

static PyObject *optional(PyObject *object)
{
    return object == Py_None ? NULL : Py_NewRef(object);
}

static int create_with(struct pyserver *self, const struct server_settings *settings)
{
    self->receive_window = settings->receive_window;
    self->send_window = settings->send_window;
    self->close_timeout_ns = settings->application_close_timeout_ms * NS_PER_MS;
    struct server_hooks hooks = {
        .context = &self->tags,
        .exchange_begun = tags_begun,
        .exchange_ended = tags_ended,
    };
    int error = server_create(&self->native, settings, &hooks, &self->events);
    if (error != SERVER_OK) {
        self->native = NULL;
        if (error == SERVER_TRUST)
            PyErr_Format(PyExc_ValueError, "the setting trusted_proxies is no list of addresses, networks, unix or *: %s",
                         settings->trusted_proxies);
        else if (error == SERVER_DESCRIPTORS)
            errno = EMFILE, PyErr_SetFromErrno(PyExc_OSError);
        else
            PyErr_NoMemory();
        return -1;
    }
    self->tags.server = self->native;
    self->tags.outlet = server_outlet_create(self->native, &self->output);
    return 0;
}

static int create_native(struct pyserver *self, PyObject *mapping)
{
    struct server_settings settings = {0};
    PyObject *copy = PyDict_New(); /* nobody else can take out of it what settings points to */
    if (copy == NULL || PyDict_Update(copy, mapping) < 0 || settings_read(copy, &settings) < 0) {
        Py_XDECREF(copy);
        return -1;
    }
    settings.tells_refusals = self->on_refused != NULL;
    int result = create_with(self, &settings);
    Py_DECREF(copy);
    return result;
}

static PyObject *pyserver_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"application", "settings",  "on_error",  "on_fault",  "on_kill",       "on_drained",
                            "on_stopped",  "root_path", "state",     "on_access", "prepare_scope",
                            "on_malformed", "offers_files", "on_refused", "on_closed", NULL};
    PyObject *application = NULL, *settings = NULL, *on_error = NULL, *on_fault = NULL, *on_kill = NULL;
    PyObject *on_drained = NULL, *on_stopped = NULL;
    PyObject *root_path = NULL, *state = Py_None, *on_access = Py_None, *prepare_scope = Py_None;
    PyObject *on_malformed = Py_None, *on_refused = Py_None, *on_closed = Py_None;
    int offers_files = 0;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "O|$OOOOOOUOOOOpOO:Server", names, &application, &settings, &on_error,
                                     &on_fault, &on_kill, &on_drained, &on_stopped, &root_path, &state, &on_access,
                                     &prepare_scope, &on_malformed, &offers_files, &on_refused, &on_closed))
        return NULL;
    /* PyArg_ knows no keyword that is required. */
    PyObject *const required[] = {settings, on_error, on_fault, on_kill, on_drained, on_stopped};
    for (size_t i = 0; i < sizeof required / sizeof required[0]; i++) {
        if (required[i] == NULL)
            return PyErr_Format(PyExc_TypeError, "Server() needs the keyword argument %s", names[i + 1]);
    }
    if (state != Py_None && !PyDict_Check(state)) {
        PyErr_SetString(PyExc_TypeError, "state must be a dict or None");
        return NULL;
    }
    struct pyserver *self = (struct pyserver *)type->tp_alloc(type, 0);
    if (self == NULL)
        return NULL;
    self->state = state_of(type);
    queue_init(&self->events, wake_loop, self);
    list_init(&self->drain.of_port);
    self->drain.run = pyserver_drain;
    self->drain.end = pyserver_drained;
    list_init(&self->turns);
    self->application = Py_NewRef(application);
    self->lifespan_state = optional(state);
    self->on_access = optional(on_access);
    self->on_error = Py_NewRef(on_error);
    self->on_fault = Py_NewRef(on_fault);
    self->on_kill = Py_NewRef(on_kill);
    self->on_drained = Py_NewRef(on_drained);
    self->on_stopped = Py_NewRef(on_stopped);
    self->prepare_scope = optional(prepare_scope);
    self->on_malformed = optional(on_malformed);
    self->on_refused = optional(on_refused);
    self->on_closed = optional(on_closed);
    self->offers_files = offers_files != 0;
    if (root_path == NULL)
        root_path = self->state->strings.empty;
    self->http_scope = scope_prototype(self, root_path, false);
    self->websocket_scope = scope_prototype(self, root_path, true);
    if (self->http_scope == NULL || self->websocket_scope == NULL || create_native(self, settings) < 0)
        Py_CLEAR(self);
    return (PyObject *)self;
}

/* Ending it */

void pyserver_close_native(struct pyserver *self)
{
    struct server *native = self->native;
    if (native == NULL)
        return;
    if (self->phase == PHASE_RUNNING) {
        struct command *command = command_create(COMMAND_STOP, 0, 0);
        struct queue_chain chain = {0};
        if (command != NULL)
            queue_chain_add(&chain, &command->item);
        server_send(native, &chain);
    }
    list_remove(&self->drain.of_port);
    self->native = NULL;
    self->phase = PHASE_CLOSED;
    /* With the GIL: this may be the garbage collector's call, which nothing may interrupt; the I/O thread never needs it. */
    server_join(native);
    tags_deinit(&self->tags); /* until now the thread ended exchanges, and until now others may close them */
    server_outlet_detach(self->tags.outlet);
    server_destroy(native);
    outlet_release(self->tags.outlet);
    self->tags.outlet = NULL;
    pyserver_discard_events(self);
    Py_CLEAR(self->port);
}

static int traverse(PyObject *object, visitproc visit, void *arg)
{
    struct pyserver *self = (struct pyserver *)object;
    Py_VISIT(Py_TYPE(object));
    Py_VISIT(self->port);
    Py_VISIT(self->loop);
    Py_VISIT(self->call_soon);
    Py_VISIT(self->flush);
    Py_VISIT(self->context);
    Py_VISIT(self->eager.catcher);
    Py_VISIT(self->application);
    Py_VISIT(self->http_scope);
    Py_VISIT(self->websocket_scope);
    Py_VISIT(self->lifespan_state);
    Py_VISIT(self->on_access);
    Py_VISIT(self->on_error);
    Py_VISIT(self->on_fault);
    Py_VISIT(self->on_kill);
    Py_VISIT(self->on_drained);
    Py_VISIT(self->on_stopped);
    Py_VISIT(self->prepare_scope);
    Py_VISIT(self->on_malformed);
    Py_VISIT(self->on_refused);
    Py_VISIT(self->on_closed);
    for (size_t i = 0; i < self->connection_room; i++)
        Py_VISIT(self->connections[i]);
    return 0;
}

static int clear(PyObject *object)
{
    struct pyserver *self = (struct pyserver *)object;
    pyserver_close_native(self);
    Py_CLEAR(self->flush);
    Py_CLEAR(self->eager.catcher);
    for (size_t i = 0; i < self->connection_room; i++)
        Py_CLEAR(self->connections[i]);
    self->applications = 0;
    Py_CLEAR(self->loop);
    Py_CLEAR(self->call_soon);
    Py_CLEAR(self->context);
    Py_CLEAR(self->application);
    Py_CLEAR(self->http_scope);
    Py_CLEAR(self->websocket_scope);
    Py_CLEAR(self->lifespan_state);
    Py_CLEAR(self->on_access);
    Py_CLEAR(self->on_error);
    Py_CLEAR(self->on_fault);
    Py_CLEAR(self->on_kill);
    Py_CLEAR(self->on_drained);
    Py_CLEAR(self->on_stopped);
    Py_CLEAR(self->prepare_scope);
    Py_CLEAR(self->on_malformed);
    Py_CLEAR(self->on_refused);
    Py_CLEAR(self->on_closed);
    return 0;
}

static void dealloc(PyObject *object)
{
    struct pyserver *self = (struct pyserver *)object;
    PyTypeObject *type = Py_TYPE(object);
    PyObject_GC_UnTrack(object);
    clear(object);
    pyserver_discard_output(self);
    pyserver_discard_events(self);
    queue_deinit(&self->events);
    peers_clear(&self->peers);
    mem_free(self->connections);
    type->tp_free(object);
    Py_DECREF(type);
}

static PyType_Slot slots[] = {
    {Py_tp_doc, "Listeners, the I/O thread, and the applications of its connections on one event loop."},
    {Py_tp_new, pyserver_new},
    {Py_tp_methods, pyserver_methods},
    {Py_tp_getset, pyserver_properties},
    {Py_tp_traverse, traverse},
    {Py_tp_clear, clear},
    {Py_tp_dealloc, dealloc},
    {0, NULL},
};

PyType_Spec pyserver_spec = {
    .name = "peneus._core.Server",
    .basicsize = sizeof(struct pyserver),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = slots,
};
