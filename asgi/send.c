/* send(): which event it is, whether the connection's state allows it, and who acts on it. */
#include <string.h>

#include "asgi/connection.h"
#include "asgi/http.h"
#include "asgi/message.h"
#include "asgi/websocket.h"

enum outgoing {
    OUTGOING_HTTP_START,
    OUTGOING_HTTP_BODY,
    OUTGOING_ACCEPT,
    OUTGOING_SEND,
    OUTGOING_CLOSE,
    OUTGOING_DENIAL_START,
    OUTGOING_DENIAL_BODY,
    OUTGOING_COUNT /* none of them */
};

static int (*const actions[OUTGOING_COUNT])(struct pyconnection *connection, PyObject *message) = {
    [OUTGOING_HTTP_START] = http_send_start,
    [OUTGOING_HTTP_BODY] = http_send_body,
    [OUTGOING_ACCEPT] = websocket_send_accept,
    [OUTGOING_SEND] = websocket_send_message,
    [OUTGOING_CLOSE] = websocket_send_close,
    [OUTGOING_DENIAL_START] = http_send_start,
    [OUTGOING_DENIAL_BODY] = http_send_body,
};

/* The events that each state allows, as bits. */
static const unsigned allowed[CONNECTION_STATES] = {
    [HTTP_REQUEST] = 1u << OUTGOING_HTTP_START,
    [HTTP_STARTED] = 1u << OUTGOING_HTTP_BODY,
    [HTTP_STREAMING] = 1u << OUTGOING_HTTP_BODY,
    [WEBSOCKET_CONNECTING] = 1u << OUTGOING_ACCEPT | 1u << OUTGOING_CLOSE | 1u << OUTGOING_DENIAL_START,
    [WEBSOCKET_OPEN] = 1u << OUTGOING_SEND | 1u << OUTGOING_CLOSE,
    [DENIAL_STARTED] = 1u << OUTGOING_DENIAL_BODY,
    [DENIAL_STREAMING] = 1u << OUTGOING_DENIAL_BODY,
};

static void type_names(const struct strings *s, PyObject *names[OUTGOING_COUNT])
{
    names[OUTGOING_HTTP_START] = s->http_response_start;
    names[OUTGOING_HTTP_BODY] = s->http_response_body;
    names[OUTGOING_ACCEPT] = s->websocket_accept;
    names[OUTGOING_SEND] = s->websocket_send;
    names[OUTGOING_CLOSE] = s->websocket_close;
    names[OUTGOING_DENIAL_START] = s->denial_start;
    names[OUTGOING_DENIAL_BODY] = s->denial_body;
}

/* Literals of an application's code are interned: mostly the first look finds it. */
static enum outgoing outgoing_of(const struct strings *s, PyObject *type)
{
    PyObject *names[OUTGOING_COUNT];
    type_names(s, names);
    for (int i = 0; i < OUTGOING_COUNT; i++) {
        if (names[i] == type)
            return (enum outgoing)i;
    }
    for (int i = 0; i < OUTGOING_COUNT; i++) {
        if (PyUnicode_Compare(names[i], type) == 0)
            return (enum outgoing)i;
    }
    return OUTGOING_COUNT;
}

static void raise_wrong_event(const struct pyconnection *connection, PyObject *type)
{
    const struct strings *s = &connection->server->state->strings;
    PyObject *names[OUTGOING_COUNT];
    type_names(s, names);
    PyObject *list = PyUnicode_FromString("");
    for (int i = 0; i < OUTGOING_COUNT && list != NULL; i++) {
        if (!(allowed[connection->state] & 1u << i))
            continue;
        PyObject *longer = PyUnicode_FromFormat("%U%s%R", list, PyUnicode_GET_LENGTH(list) > 0 ? ", " : "", names[i]);
        Py_SETREF(list, longer);
    }
    if (list == NULL)
        return;
    if (PyUnicode_GET_LENGTH(list) > 0)
        PyErr_Format(PyExc_RuntimeError, "the application sent %R while the state of its %s exchange is \"%s\"; allowed then: %U",
                     type, connection->websocket ? "WebSocket" : "HTTP", pyconnection_state_name(connection->state), list);
    else
        PyErr_Format(PyExc_RuntimeError,
                     "the application sent %R while the state of its %s exchange is \"%s\"; allowed then: nothing", type,
                     connection->websocket ? "WebSocket" : "HTTP", pyconnection_state_name(connection->state));
    Py_DECREF(list);
}

void pyconnection_raise_gone(const struct pyconnection *connection)
{
    PyObject *gone = connection->server->state->client_gone;
    const char *what = connection->websocket ? "WebSocket" : "request";
    if (connection->disconnect == NULL) {
        PyErr_Format(gone, "nothing can be sent: the application of this %s has ended", what);
        return;
    }
    switch (connection->disconnect->disconnect.cause) {
    case DISCONNECT_CLIENT:
        PyErr_Format(gone, "nothing can be sent: the client of this %s has left", what);
        break;
    case DISCONNECT_PING_TIMEOUT:
        PyErr_Format(gone, "nothing can be sent: the client of this %s no longer answers pings", what);
        break;
    default:
        PyErr_Format(gone, "nothing can be sent: the server has ended this %s", what);
    }
}

PyObject *pyconnection_send(PyObject *self, PyObject *message)
{
    struct pyconnection *connection = (struct pyconnection *)self;
    const struct strings *s = &connection->server->state->strings;
    PyObject *type;
    if (!PyDict_Check(message)) {
        PyErr_Format(PyExc_TypeError, "send() takes an ASGI event, a dict with the key 'type', not %R",
                     (PyObject *)Py_TYPE(message));
        return NULL;
    }
    if (message_get(message, s->type, &type) < 0)
        return NULL;
    if (type == NULL || !PyUnicode_Check(type)) {
        PyErr_Format(PyExc_ValueError, "an ASGI event needs the key 'type' with a str; it was %R", message);
        return NULL;
    }
    if (connection->state == CONNECTION_GONE) {
        pyconnection_raise_gone(connection);
        return NULL;
    }
    enum outgoing outgoing = outgoing_of(s, type);
    if (outgoing == OUTGOING_COUNT || !(allowed[connection->state] & 1u << outgoing)) {
        raise_wrong_event(connection, type);
        return NULL;
    }
    Py_INCREF(connection);
    PyObject *awaitable = actions[outgoing](connection, message) < 0 ? NULL : pyconnection_sent(connection);
    Py_DECREF(connection);
    return awaitable;
}
