/* What is sent: which event it is, whether the connection's state allows it, and who acts on it. */
#include <string.h>

#include "asgi/connection.h"
#include "asgi/file_send.h"
#include "asgi/http.h"
#include "asgi/http_fields.h"
#include "asgi/message.h"
#include "asgi/websocket.h"

enum outgoing {
    OUTGOING_HTTP_START,
    OUTGOING_HTTP_BODY,
    OUTGOING_PATHSEND,
    OUTGOING_ZEROCOPYSEND,
    OUTGOING_TRAILERS,
    OUTGOING_EARLY_HINT,
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
    [OUTGOING_PATHSEND] = file_send_path,
    [OUTGOING_ZEROCOPYSEND] = file_send_descriptor,
    [OUTGOING_TRAILERS] = http_send_trailers,
    [OUTGOING_EARLY_HINT] = http_send_hint,
    [OUTGOING_ACCEPT] = websocket_send_accept,
    [OUTGOING_SEND] = websocket_send_message,
    [OUTGOING_CLOSE] = websocket_send_close,
    [OUTGOING_DENIAL_START] = http_send_start,
    [OUTGOING_DENIAL_BODY] = http_send_body,
};

/* What the scope must offer for it. */
static const unsigned offers[OUTGOING_COUNT] = {
    [OUTGOING_PATHSEND] = OFFER_PATHSEND,
    [OUTGOING_ZEROCOPYSEND] = OFFER_ZEROCOPYSEND,
    [OUTGOING_TRAILERS] = OFFER_TRAILERS,
    [OUTGOING_EARLY_HINT] = OFFER_EARLY_HINT,
};

/* The events that each state allows, as bits, where the scope offers them. A hint that comes when the response's head is out is ignored. */
static const unsigned allowed[CONNECTION_STATES] = {
    [HTTP_REQUEST] = 1u << OUTGOING_HTTP_START | 1u << OUTGOING_EARLY_HINT,
    [HTTP_STARTED] = 1u << OUTGOING_HTTP_BODY | 1u << OUTGOING_PATHSEND | 1u << OUTGOING_ZEROCOPYSEND | 1u << OUTGOING_EARLY_HINT,
    [HTTP_STREAMING] = 1u << OUTGOING_HTTP_BODY | 1u << OUTGOING_ZEROCOPYSEND | 1u << OUTGOING_EARLY_HINT,
    [HTTP_TRAILERS] = 1u << OUTGOING_TRAILERS,
    [WEBSOCKET_CONNECTING] = 1u << OUTGOING_ACCEPT | 1u << OUTGOING_CLOSE | 1u << OUTGOING_DENIAL_START,
    [WEBSOCKET_OPEN] = 1u << OUTGOING_SEND | 1u << OUTGOING_CLOSE,
    [DENIAL_STARTED] = 1u << OUTGOING_DENIAL_BODY,
    [DENIAL_STREAMING] = 1u << OUTGOING_DENIAL_BODY,
};

static void type_names(const struct strings *s, PyObject *names[OUTGOING_COUNT])
{
    names[OUTGOING_HTTP_START] = s->http_response_start;
    names[OUTGOING_HTTP_BODY] = s->http_response_body;
    names[OUTGOING_PATHSEND] = s->http_response_pathsend;
    names[OUTGOING_ZEROCOPYSEND] = s->http_response_zerocopysend;
    names[OUTGOING_TRAILERS] = s->http_response_trailers;
    names[OUTGOING_EARLY_HINT] = s->http_response_early_hint;
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

static bool is_offered(const struct pyconnection *connection, enum outgoing outgoing)
{
    return (offers[outgoing] & connection->offers) == offers[outgoing];
}

/* An event of an extension, ours or one that is never offered. */
static bool is_extension(enum outgoing outgoing, PyObject *type)
{
    if (outgoing != OUTGOING_COUNT)
        return offers[outgoing] != 0;
    return PyUnicode_CompareWithASCIIString(type, "http.response.push") == 0 ||
           PyUnicode_CompareWithASCIIString(type, "http.response.debug") == 0;
}

static void raise_unoffered(const struct pyconnection *connection, PyObject *type)
{
    const struct strings *s = &connection->server->state->strings;
    PyObject *version;
    if (message_get(connection->scope, s->http_version, &version) < 0)
        return;
    PyErr_Format(PyExc_RuntimeError,
                 "the application sent %R, an extension that scope[\"extensions\"] of this %s (HTTP version %S) does not have: "
                 "look there before it is used",
                 type, connection->websocket ? "WebSocket" : "request", version == NULL ? s->unknown : version);
    Py_XDECREF(version);
}

static void raise_wrong_event(const struct pyconnection *connection, PyObject *type)
{
    const struct strings *s = &connection->server->state->strings;
    PyObject *names[OUTGOING_COUNT];
    type_names(s, names);
    PyObject *list = PyUnicode_FromString("");
    for (int i = 0; i < OUTGOING_COUNT && list != NULL; i++) {
        if (!(allowed[connection->state] & 1u << i) || !is_offered(connection, (enum outgoing)i))
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

int pyconnection_check_state(const struct pyconnection *connection, enum pyconnection_state state)
{
    if (connection->state == state)
        return 0;
    if (connection->state == CONNECTION_GONE)
        pyconnection_raise_gone(connection);
    else
        PyErr_Format(PyExc_RuntimeError,
                     "the state of this %s exchange has become \"%s\" while send() read an event for the state \"%s\": the event's own "
                     "objects, or another thread, sent something meanwhile",
                     connection->websocket ? "WebSocket" : "HTTP", pyconnection_state_name(connection->state),
                     pyconnection_state_name(state));
    return -1;
}

/* The action for an event of type in connection's state; OUTGOING_COUNT with an exception. */
static enum outgoing choose(const struct pyconnection *connection, PyObject *type)
{
    if (connection->state == CONNECTION_GONE) {
        pyconnection_raise_gone(connection);
        return OUTGOING_COUNT;
    }
    enum outgoing outgoing = outgoing_of(&connection->server->state->strings, type);
    if (is_extension(outgoing, type) && (outgoing == OUTGOING_COUNT || !is_offered(connection, outgoing))) {
        raise_unoffered(connection, type);
        return OUTGOING_COUNT;
    }
    if (outgoing == OUTGOING_COUNT || !(allowed[connection->state] & 1u << outgoing)) {
        raise_wrong_event(connection, type);
        return OUTGOING_COUNT;
    }
    return outgoing;
}

static int read_event(struct pyconnection *connection, PyObject *message)
{
    PyObject *type;
    if (!PyDict_Check(message)) {
        PyErr_Format(PyExc_TypeError, "send() takes an ASGI event, a dict with the key 'type', not %R",
                     (PyObject *)Py_TYPE(message));
        return -1;
    }
    if (message_get(message, connection->server->state->strings.type, &type) < 0)
        return -1;
    if (type == NULL || !PyUnicode_Check(type)) {
        PyErr_Format(PyExc_ValueError, "an ASGI event needs the key 'type' with a str; it was %R", message);
        Py_XDECREF(type);
        return -1;
    }
    enum outgoing outgoing = choose(connection, type);
    Py_DECREF(type);
    return outgoing == OUTGOING_COUNT ? -1 : actions[outgoing](connection, message);
}

int pyconnection_send_event(struct pyconnection *connection, PyObject *message)
{
    int result = read_event(connection, message);
    return pyconnection_answered(connection) < 0 ? -1 : result;
}
