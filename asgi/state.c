#include "asgi/state.h"

#include "asgi/port.h"
#include "asgi/sending.h"

static int take_asyncio(struct state *state)
{
    PyObject *asyncio = PyImport_ImportModule("asyncio");
    if (asyncio == NULL)
        return -1;
    state->task_class = PyObject_GetAttrString(asyncio, "Task");
    state->get_running_loop = PyObject_GetAttrString(asyncio, "get_running_loop");
    state->cancelled_error = PyObject_GetAttrString(asyncio, "CancelledError");
    state->invalid_state_error = PyObject_GetAttrString(asyncio, "InvalidStateError");
    Py_DECREF(asyncio);
    return state->task_class == NULL || state->get_running_loop == NULL || state->cancelled_error == NULL ||
                   state->invalid_state_error == NULL
               ? -1
               : 0;
}

static int make_prototypes(struct state *state)
{
    const struct strings *s = &state->strings;
    state->http_asgi = Py_BuildValue("{OOOO}", s->version, s->version_3_0, s->spec_version, s->version_2_3);
    state->websocket_asgi = Py_BuildValue("{OOOO}", s->version, s->version_3_0, s->spec_version, s->version_2_5);
    state->bodiless_request =
        Py_BuildValue("{OOOOOO}", s->type, s->http_request, s->body, state->empty_bytes, s->more_body, Py_False);
    return state->http_asgi == NULL || state->websocket_asgi == NULL || state->bodiless_request == NULL ? -1 : 0;
}

int state_init(struct state *state)
{
    list_init(&state->ports);
    state->sending_room = SENDINGS_SPARE;
    const struct strings *s = &state->strings;
    if (strings_init(&state->strings) < 0)
        return -1;
    state->empty_bytes = PyBytes_FromStringAndSize(NULL, 0);
    state->context_name = PyTuple_Pack(1, s->context);
    state->eager_names = PyTuple_Pack(3, s->loop, s->context, s->eager_start);
    state->context_names = PyTuple_Pack(2, s->loop, s->context);
    state->client_gone = PyErr_NewExceptionWithDoc("peneus._core.ClientGone", "send() after the client has left.",
                                                    PyExc_ConnectionResetError, NULL);
    state->current_connection = PyContextVar_New("peneus.current_connection", NULL);
    if (state->empty_bytes == NULL || state->eager_names == NULL || state->context_names == NULL ||
        state->context_name == NULL ||
        state->current_connection == NULL || state->client_gone == NULL)
        return -1;
    return take_asyncio(state) < 0 || make_prototypes(state) < 0 ? -1 : 0;
}

#define STATE_OBJECTS(S)                                                                                               \
    S(awaitable_type) S(connection_type) S(delegate_type) S(inbox_type) S(hub_type) S(layer_query_type) S(layer_receive_type) S(layer_settle_type) S(layer_type) S(message_type)          \
    S(pause_type) S(port_type) S(sending_type) S(server_type) S(tls_type) S(current_connection) S(client_gone) S(empty_bytes) S(task_class)              \
    S(get_running_loop) S(cancelled_error) S(invalid_state_error) S(context_name) S(eager_names) S(context_names) S(http_asgi) S(websocket_asgi) S(bodiless_request)

int state_traverse(struct state *state, visitproc visit, void *arg)
{
#define STATE_VISIT(name) Py_VISIT(state->name);
    STATE_OBJECTS(STATE_VISIT)
#undef STATE_VISIT
    return 0;
}

void state_clear(struct state *state)
{
    sending_clear(state);
#define STATE_CLEAR(name) Py_CLEAR(state->name);
    STATE_OBJECTS(STATE_CLEAR)
#undef STATE_CLEAR
    caches_clear(&state->caches);
    strings_clear(&state->strings);
}
