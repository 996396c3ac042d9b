#include "asgi/http_fields.h"

#include "asgi/access.h"
#include "asgi/headers.h"
#include "asgi/message.h"

enum { EARLY_HINTS = 103 };

int http_check_trailers(struct pyconnection *connection)
{
    if (connection->offers & OFFER_TRAILERS)
        return 0;
    PyErr_Format(PyExc_RuntimeError,
                 "the response starts with 'trailers': True, but scope[\"extensions\"] of this %s does not have "
                 "'http.response.trailers': look there before it is used",
                 connection->websocket ? "WebSocket" : "request");
    return -1;
}

static int check_fields(const struct command *command)
{
    PyObject *name = headers_not_for_trailers(command);
    if (name == NULL)
        return PyErr_Occurred() ? -1 : 0;
    PyErr_Format(PyExc_ValueError, "%R cannot be a trailer (RFC 9110 section 6.5.1): send it with http.response.start", name);
    Py_DECREF(name);
    return -1;
}

int http_send_trailers(struct pyconnection *connection, PyObject *message)
{
    const struct strings *s = &connection->server->state->strings;
    PyObject *headers;
    bool more;
    if (message_flag(message, s->more_trailers, &more) < 0 || message_get(message, s->headers, &headers) < 0)
        return -1;
    struct command *trailer = headers_command(COMMAND_TRAILERS, connection->exchange, headers, NULL);
    Py_XDECREF(headers);
    if (trailer == NULL)
        return -1;
    if (check_fields(trailer) < 0 || pyconnection_check_state(connection, HTTP_TRAILERS) < 0) {
        command_destroy(trailer);
        return -1;
    }
    size_t before = connection->trailer == NULL ? 0 : connection->trailer->response.head_length;
    if (before + trailer->response.head_length > TRAILERS_LIMIT) {
        command_destroy(trailer);
        PyErr_Format(PyExc_ValueError, "the trailers of this response are longer than %d bytes", TRAILERS_LIMIT);
        return -1;
    }
    connection->trailer = headers_join(connection->trailer, trailer);
    if (connection->trailer == NULL)
        return -1;
    if (more)
        return 0;
    trailer = connection->trailer;
    connection->trailer = NULL;
    pyconnection_set_state(connection, HTTP_COMPLETE);
    if (connection->trailers_go_out)
        pyconnection_command(connection, trailer, true);
    else
        command_destroy(trailer); /* the client has not said that it takes them */
    return access_complete(connection);
}

/* [(b"link", each of links), …], of what message has under "links". */
static PyObject *link_fields(const struct strings *s, PyObject *message, PyObject *links)
{
    if (links == NULL || PyBytes_Check(links) || PyUnicode_Check(links)) {
        PyErr_Format(PyExc_ValueError, "http.response.early_hint needs the key 'links' with an iterable of bytes; it was %R", message);
        return NULL;
    }
    PyObject *values = PySequence_Tuple(links);
    PyObject *name = PyUnicode_AsASCIIString(s->link);
    PyObject *fields = values == NULL || name == NULL ? NULL : PyTuple_New(PyTuple_GET_SIZE(values));
    for (Py_ssize_t i = 0; fields != NULL && i < PyTuple_GET_SIZE(values); i++) {
        PyObject *pair = PyTuple_Pack(2, name, PyTuple_GET_ITEM(values, i));
        if (pair == NULL)
            Py_CLEAR(fields);
        else
            PyTuple_SET_ITEM(fields, i, pair);
    }
    Py_XDECREF(values);
    Py_XDECREF(name);
    return fields;
}

int http_send_hint(struct pyconnection *connection, PyObject *message)
{
    const struct strings *s = &connection->server->state->strings;
    enum pyconnection_state state = connection->state;
    PyObject *links;
    if (message_get(message, s->links, &links) < 0)
        return -1;
    PyObject *fields = link_fields(s, message, links);
    Py_XDECREF(links);
    if (fields == NULL)
        return -1;
    struct command *hint = headers_command(COMMAND_HINT, connection->exchange, fields, NULL);
    Py_DECREF(fields);
    if (hint == NULL)
        return -1;
    if (pyconnection_check_state(connection, state) < 0) {
        command_destroy(hint);
        return -1;
    }
    if (hint->response.field_count == 0 || state == HTTP_STREAMING) {
        command_destroy(hint); /* nothing to say, or too late: the specification lets the server ignore it */
        return 0;
    }
    hint->response.status = EARLY_HINTS;
    pyconnection_command(connection, hint, true);
    return 0;
}
