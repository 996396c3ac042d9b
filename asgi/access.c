#include "asgi/access.h"

#include <time.h>

#include "asgi/dict.h"
#include "asgi/errors.h"
#include "asgi/message.h"

static int report(struct pyconnection *connection, const char *what)
{
    return error_report(connection->server->state, connection->server->loop, what);
}

int callback_call(struct pyconnection *connection, PyObject *callback, PyObject *argument, const char *what)
{
    if (callback == NULL)
        return 0;
    if (PyErr_Occurred())
        return -1; /* an earlier callback's KeyboardInterrupt is on its way out */
    PyObject *done = PyObject_CallFunctionObjArgs(callback, (PyObject *)connection, argument, NULL);
    Py_XDECREF(done);
    return done == NULL ? report(connection, what) : 0;
}

int callback_fault(struct pyconnection *connection, PyObject *sentence)
{
    int result = sentence == NULL ? report(connection, "Peneus could not say what is wrong with an exchange")
                                  : callback_call(connection, connection->server->on_fault, sentence,
                                                  "Exception in Peneus's on_fault callback");
    Py_XDECREF(sentence);
    return result;
}

int callback_framing(struct pyconnection *connection, uint64_t sent, uint64_t promised)
{
    return callback_fault(connection, PyUnicode_FromFormat("the response has %llu bytes of body, but its Content-Length says "
                                                           "%llu: the connection was closed",
                                                           (unsigned long long)sent, (unsigned long long)promised));
}

int callback_file(struct pyconnection *connection, uint64_t sent, uint64_t expected)
{
    return callback_fault(connection, PyUnicode_FromFormat("%S has become shorter while it was being sent, or cannot be read: the connection "
                                                           "was closed after %llu of %llu bytes of the body",
                                                           connection->file == NULL ? Py_None : connection->file,
                                                           (unsigned long long)sent, (unsigned long long)expected));
}

/* "host:port" out of a client as the specification has it, (host, port); NULL, perhaps with an exception, where it is none. */
static PyObject *address_text(PyObject *client)
{
    if (!(PyTuple_Check(client) || PyList_Check(client)) || PySequence_Size(client) < 2)
        return NULL;
    PyObject *host = PySequence_GetItem(client, 0);
    PyObject *port = host == NULL ? NULL : PySequence_GetItem(client, 1);
    PyObject *text = port == NULL ? NULL : PyUnicode_FromFormat("%S:%S", host, port);
    Py_XDECREF(host);
    Py_XDECREF(port);
    return text;
}

/* That of the scope's client, so that what proxy headers said, to the server or to a middleware, is what is logged; of the request's own
 * where a middleware has left something else there. */
static PyObject *client_text(struct pyconnection *connection)
{
    PyObject *client;
    if (message_get(connection->scope, connection->server->state->strings.client, &client) < 0)
        return NULL;
    if (client == NULL)
        return Py_NewRef(Py_None);
    PyObject *text = address_text(client);
    Py_DECREF(client);
    if (text == NULL && PyErr_Occurred()) {
        if (!PyErr_ExceptionMatches(PyExc_Exception))
            return NULL;
        PyErr_Clear();
    }
    if (text == NULL && connection->client != NULL)
        text = address_text(connection->client);
    return text != NULL || PyErr_Occurred() ? text : Py_NewRef(Py_None);
}

static int add_response(struct pyconnection *connection, PyObject *details)
{
    const struct strings *s = &connection->server->state->strings;
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    double taken = (double)now.tv_sec + (double)now.tv_nsec * 1e-9 - connection->started;
    return PyDict_SetItem(details, s->method, connection->method == NULL ? s->empty : connection->method) < 0 ||
                   dict_set_steal(details, s->status, PyLong_FromLong(connection->status)) < 0 ||
                   dict_set_steal(details, s->time_taken, PyFloat_FromDouble(taken)) < 0 ||
                   dict_set_steal(details, s->size, PyLong_FromUnsignedLongLong(connection->sent)) < 0
               ? -1
               : 0;
}

/* What the access log has of a request of which only this is known. */
static PyObject *refusal_details(struct pyserver *server, const struct refusal_event *refusal)
{
    const struct strings *s = &server->state->strings;
    const struct peer *peer = peers_get(&server->peers, 0, &refusal->endpoints);
    const char *bytes = (const char *)refusal->event.bytes;
    PyObject *details = peer == NULL ? NULL : PyDict_New();
    if (details == NULL)
        return NULL;
    PyObject *client = peer->client == Py_None ? Py_NewRef(Py_None) : address_text(peer->client);
    if (dict_set_steal(details, s->client, client) < 0 ||
        dict_set_steal(details, s->method, PyUnicode_DecodeLatin1(bytes + refusal->method.offset, refusal->method.length, NULL)) < 0 ||
        dict_set_steal(details, s->path, PyUnicode_DecodeUTF8(bytes + refusal->target.offset, refusal->target.length, "replace")) < 0 ||
        dict_set_steal(details, s->status, PyLong_FromLong(refusal->status)) < 0 ||
        dict_set_steal(details, s->time_taken, PyFloat_FromDouble(0)) < 0 || dict_set_steal(details, s->size, PyLong_FromLong(0)) < 0)
        Py_CLEAR(details);
    return details;
}

int access_refused(struct pyserver *server, const struct refusal_event *refusal)
{
    if (server->on_refused == NULL)
        return 0;
    PyObject *details = refusal_details(server, refusal);
    PyObject *done = details == NULL ? NULL : PyObject_CallFunction(server->on_refused, "Oz", details, refusal->reason);
    Py_XDECREF(details);
    Py_XDECREF(done);
    return done == NULL ? error_report(server->state, server->loop, "Exception in Peneus's on_refused callback") : 0;
}

/* NULL: nothing to say, or it is said elsewhere. */
static const char *cause_name(const struct event *disconnect)
{
    switch (disconnect->disconnect.cause) {
    case DISCONNECT_HTTP_TIMEOUT:
        return "http_timeout";
    case DISCONNECT_CONNECT_TIMEOUT:
        return "connect_timeout";
    case DISCONNECT_SLOW:
        if (disconnect->disconnect.code == 1008)
            return "slow_message";
        return disconnect->disconnect.code == 0 ? "slow_body" : "slow_reader";
    case DISCONNECT_STALLED:
        return "stalled_reader";
    case DISCONNECT_LIFETIME:
        return "lifetime";
    case DISCONNECT_PING_TIMEOUT:
        return "ping_timeout";
    case DISCONNECT_PROTOCOL_ERROR:
        return "protocol_error";
    case DISCONNECT_TOO_LARGE:
        if (disconnect->disconnect.code == 1011 || disconnect->disconnect.status == 503)
            return "no_memory";
        return disconnect->disconnect.code == 1009 ? "message_too_large" : "body_too_large";
    case DISCONNECT_OVERFLOW:
        return "overflow";
    case DISCONNECT_CLIENT:
    case DISCONNECT_APPLICATION:
    case DISCONNECT_SHUTDOWN:
    case DISCONNECT_FRAMING:
    case DISCONNECT_FILE:
        break;
    }
    return NULL;
}

int callback_closed(struct pyconnection *connection, const struct event *disconnect)
{
    const char *cause = cause_name(disconnect);
    if (cause == NULL || connection->server->on_closed == NULL)
        return 0;
    PyObject *what = Py_BuildValue("(sHH)", cause, disconnect->disconnect.code, disconnect->disconnect.status);
    if (what == NULL)
        return report(connection, "Peneus could not say why an exchange was closed");
    int result = callback_call(connection, connection->server->on_closed, what, "Exception in Peneus's on_closed callback");
    Py_DECREF(what);
    return result;
}

static int call(struct pyconnection *connection, PyObject *action)
{
    struct pyserver *server = connection->server;
    const struct strings *s = &server->state->strings;
    if (server->on_access == NULL || connection->target == NULL)
        return 0;
    if (PyErr_Occurred())
        return -1;
    PyObject *details = PyDict_New();
    PyObject *done = NULL;
    if (details != NULL && PyDict_SetItem(details, s->path, connection->target) == 0 &&
        dict_set_steal(details, s->client, client_text(connection)) == 0 &&
        (action != s->complete || add_response(connection, details) == 0))
        done = PyObject_CallFunctionObjArgs(server->on_access, (PyObject *)connection, action, details, NULL);
    Py_XDECREF(details);
    Py_XDECREF(done);
    return done == NULL ? report(connection, "Exception in Peneus's on_access callback") : 0;
}

int access_complete(struct pyconnection *connection)
{
    return call(connection, connection->server->state->strings.complete);
}

int access_connecting(struct pyconnection *connection)
{
    return call(connection, connection->server->state->strings.connecting);
}

int access_connected(struct pyconnection *connection)
{
    return call(connection, connection->server->state->strings.connected);
}

int access_rejected(struct pyconnection *connection)
{
    return call(connection, connection->server->state->strings.rejected);
}

int access_disconnected(struct pyconnection *connection)
{
    return call(connection, connection->server->state->strings.disconnected);
}
