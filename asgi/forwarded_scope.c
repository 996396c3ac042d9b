#include "asgi/forwarded_scope.h"

#include <string.h>

#include "asgi/dict.h"
#include "server/forwarded.h"

static int set_client(PyObject *scope, const struct strings *s, const struct forwarded *forwarded)
{
    char text[ADDRESS_TEXT_SIZE];
    address_text(&forwarded->client, text);
    return dict_set_steal(scope, s->client, Py_BuildValue("(si)", text, (int)forwarded->port));
}

static int set_scheme(PyObject *scope, const struct strings *s, bool websocket, enum forwarded_scheme scheme)
{
    PyObject *plain = websocket ? s->ws : s->http, *secure = websocket ? s->wss : s->https;
    return PyDict_SetItem(scope, s->scheme, scheme == FORWARDED_HTTPS ? secure : plain);
}

static bool is_host(PyObject *field)
{
    PyObject *name = PyTuple_GET_ITEM(field, 0);
    return PyBytes_GET_SIZE(name) == 4 && memcmp(PyBytes_AS_STRING(name), "host", 4) == 0;
}

/* In place of the request's Host. */
static int set_host(PyObject *scope, const struct strings *s, const struct forwarded *forwarded)
{
    PyObject *headers = PyDict_GetItemWithError(scope, s->headers);
    PyObject *value = PyBytes_FromStringAndSize((const char *)forwarded->host, (Py_ssize_t)forwarded->host_length);
    PyObject *field = headers == NULL || value == NULL ? NULL : Py_BuildValue("(yO)", "host", value);
    Py_XDECREF(value);
    if (field == NULL)
        return -1;
    for (Py_ssize_t i = 0; i < PyList_GET_SIZE(headers); i++)
        if (is_host(PyList_GET_ITEM(headers, i)))
            return PyList_SetItem(headers, i, field); /* takes field */
    int result = PyList_Append(headers, field);
    Py_DECREF(field);
    return result;
}

static int tell_malformed(PyObject *scope, struct pyserver *server, unsigned malformed)
{
    server->forwarded_errors += malformed;
    if (server->on_malformed == NULL)
        return 0;
    PyObject *done = PyObject_CallOneArg(server->on_malformed, scope);
    Py_XDECREF(done);
    return done == NULL ? -1 : 0;
}

int forwarded_scope(PyObject *scope, struct pyserver *server, const struct request_event *request)
{
    const struct strings *s = &server->state->strings;
    struct forwarded forwarded;
    if (!request->endpoints.trusted || server->native == NULL)
        return 0;
    const struct server_settings *settings = server_settings(server->native);
    const struct forwarded_rules rules = {
        .standard = settings->forwarded_standard,
        .address = settings->forwarded_address,
        .port = settings->forwarded_port,
        .proto = settings->forwarded_proto,
        .host = settings->forwarded_host,
    };
    forwarded_read(&rules, server_trust(server->native), request->event.bytes, request->fields, request->field_count, &forwarded);
    if (forwarded.malformed > 0 && tell_malformed(scope, server, forwarded.malformed) < 0)
        return -1;
    if (forwarded.has_client && set_client(scope, s, &forwarded) < 0)
        return -1;
    if (forwarded.scheme != FORWARDED_SAME && set_scheme(scope, s, request->websocket, forwarded.scheme) < 0)
        return -1;
    return forwarded.host != NULL ? set_host(scope, s, &forwarded) : 0;
}
