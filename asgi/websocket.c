#include "asgi/websocket.h"

#include <string.h>

#include "asgi/access.h"
#include "asgi/headers.h"
#include "asgi/kick.h"
#include "asgi/message.h"
#include "channellayer/owner.h"

enum { CLOSE_NORMAL = 1000, CLOSE_NONE = 1005, CLOSE_ABNORMAL = 1006 };

int websocket_send_accept(struct pyconnection *connection, PyObject *message)
{
    const struct strings *s = &connection->server->state->strings;
    PyObject *headers, *subprotocol = NULL;
    struct command *accept = NULL;
    if (message_get(message, s->headers, &headers) == 0 && message_get(message, s->subprotocol, &subprotocol) == 0)
        accept = headers_command(COMMAND_ACCEPT, connection->exchange, headers, subprotocol);
    Py_XDECREF(headers);
    Py_XDECREF(subprotocol);
    if (accept == NULL)
        return -1;
    if (pyconnection_check_state(connection, WEBSOCKET_CONNECTING) < 0) {
        command_destroy(accept);
        return -1;
    }
    accept->response.status = 101;
    connection->status = 101;
    pyconnection_set_state(connection, WEBSOCKET_OPEN);
    pyconnection_command(connection, accept, false);
    /* What was relayed before goes behind the answer to the handshake: it must be on its way first. */
    pyserver_hand_over(connection->server);
    owner_accept(kick_owners(), connection->owner);
    return access_connected(connection);
}

static int send_bytes(struct pyconnection *connection, const void *bytes, size_t length, bool text)
{
    if (pyconnection_check_state(connection, WEBSOCKET_OPEN) < 0)
        return -1;
    struct command *command = command_create(COMMAND_MESSAGE, connection->exchange, length);
    if (command == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    command->text = text;
    if (length > 0)
        memcpy(command->bytes, bytes, length);
    pyconnection_command(connection, command, true);
    return 0;
}

static int send_text(struct pyconnection *connection, PyObject *text)
{
    Py_ssize_t length;
    if (!PyUnicode_Check(text)) {
        PyErr_Format(PyExc_TypeError, "'text' must be a str, not %R", (PyObject *)Py_TYPE(text));
        return -1;
    }
    const char *utf8 = PyUnicode_AsUTF8AndSize(text, &length);
    return utf8 == NULL ? -1 : send_bytes(connection, utf8, (size_t)length, true);
}

static int send_binary(struct pyconnection *connection, PyObject *bytes)
{
    Py_buffer view;
    if (message_view(bytes, connection->server->state->strings.bytes, &view) < 0)
        return -1;
    int result = send_bytes(connection, view.buf, (size_t)view.len, false);
    PyBuffer_Release(&view);
    return result;
}

int websocket_send_message(struct pyconnection *connection, PyObject *message)
{
    const struct strings *s = &connection->server->state->strings;
    PyObject *text, *bytes = NULL;
    int result = -1;
    if (message_get(message, s->text, &text) < 0 || message_get(message, s->bytes, &bytes) < 0)
        goto done;
    if ((text == NULL) == (bytes == NULL))
        PyErr_Format(PyExc_ValueError, "websocket.send needs either 'text' or 'bytes', and the other absent or None; it was %R",
                     message);
    else
        result = text != NULL ? send_text(connection, text) : send_binary(connection, bytes);
done:
    Py_XDECREF(text);
    Py_XDECREF(bytes);
    return result;
}

/* RFC 6455 section 7.4: what an endpoint may put into a close frame. */
static int check_code(int code)
{
    if (code == 1004 || code == CLOSE_NONE || code == CLOSE_ABNORMAL || (code >= 1015 && code < 3000)) {
        PyErr_Format(PyExc_ValueError,
                     "websocket.close with code %d, which never stands in a close frame: use 1000, 1001 to 1003, 1007 to "
                     "1014 or 3000 to 4999",
                     code);
        return -1;
    }
    return 0;
}

/* The reason of message in UTF-8, which may be empty. It is for people to read: a character that UTF-8 does not have becomes "?". */
static PyObject *reason_of(struct pyconnection *connection, PyObject *message)
{
    PyObject *reason, *encoded = NULL;
    if (message_get(message, connection->server->state->strings.reason, &reason) < 0)
        return NULL;
    if (reason == NULL)
        encoded = PyBytes_FromString("");
    else if (PyUnicode_Check(reason))
        encoded = PyUnicode_AsEncodedString(reason, "utf-8", "replace");
    else
        PyErr_Format(PyExc_TypeError, "'reason' must be a str, not %R", (PyObject *)Py_TYPE(reason));
    Py_XDECREF(reason);
    return encoded;
}

/* A command with the reason of message; NULL with an exception. */
static struct command *make_close(struct pyconnection *connection, PyObject *message)
{
    PyObject *reason = reason_of(connection, message);
    if (reason == NULL)
        return NULL;
    size_t length = (size_t)PyBytes_GET_SIZE(reason);
    struct command *command = command_create(COMMAND_CLOSE, connection->exchange, length);
    if (command == NULL)
        PyErr_NoMemory();
    else
        memcpy(command->bytes, PyBytes_AS_STRING(reason), length);
    Py_DECREF(reason);
    return command;
}

int websocket_send_close(struct pyconnection *connection, PyObject *message)
{
    enum pyconnection_state state = connection->state;
    bool open = state == WEBSOCKET_OPEN;
    int code = message_number(message, connection->server->state->strings.code, open ? 1000 : 0, 4999, CLOSE_NORMAL);
    if (code < 0 || (open && check_code(code) < 0))
        return -1;
    struct command *command = make_close(connection, message);
    if (command == NULL)
        return -1;
    if (pyconnection_check_state(connection, state) < 0) {
        command_destroy(command);
        return -1;
    }
    command->code = (uint16_t)code;
    if (!open)
        connection->status = 403;
    pyconnection_set_state(connection, open ? WEBSOCKET_CLOSED : WEBSOCKET_REJECTED);
    pyconnection_command(connection, command, false);
    return open ? 0 : access_rejected(connection);
}

static PyObject *typed_message(const struct strings *s, PyObject *type)
{
    PyObject *message = PyDict_New();
    if (message != NULL && PyDict_SetItem(message, s->type, type) < 0)
        Py_CLEAR(message);
    return message;
}

static PyObject *receive_message(const struct strings *s, struct event *event)
{
    PyObject *message = typed_message(s, s->websocket_receive);
    PyObject *payload = event->text
                            ? PyUnicode_DecodeUTF8((const char *)event->bytes, (Py_ssize_t)event->length, NULL)
                            : PyBytes_FromStringAndSize((const char *)event->bytes, (Py_ssize_t)event->length);
    if (message != NULL && (payload == NULL || PyDict_SetItem(message, event->text ? s->text : s->bytes, payload) < 0))
        Py_CLEAR(message);
    Py_XDECREF(payload);
    return message;
}

/* What was rejected before it was open has no close frame: 1006. */
static PyObject *disconnect_message(const struct strings *s, const struct event *disconnect)
{
    PyObject *message = typed_message(s, s->websocket_disconnect);
    PyObject *code = PyLong_FromLong(disconnect == NULL ? CLOSE_ABNORMAL : disconnect->disconnect.code);
    PyObject *reason =
        disconnect == NULL || disconnect->length == 0
            ? Py_NewRef(s->empty)
            : PyUnicode_DecodeUTF8((const char *)disconnect->bytes, (Py_ssize_t)disconnect->length, "replace");
    if (message != NULL && (code == NULL || reason == NULL || PyDict_SetItem(message, s->code, code) < 0 ||
                            PyDict_SetItem(message, s->reason, reason) < 0))
        Py_CLEAR(message);
    Py_XDECREF(code);
    Py_XDECREF(reason);
    return message;
}

int websocket_take(struct pyconnection *connection, PyObject **result)
{
    const struct strings *s = &connection->server->state->strings;
    struct event *event;
    if (connection->inbound == INBOUND_CONNECT) {
        connection->inbound = INBOUND_MESSAGES;
        *result = typed_message(s, s->websocket_connect);
    } else if ((event = pyconnection_take(connection)) != NULL) {
        *result = receive_message(s, event);
        event_destroy(event);
    } else if (connection->disconnect != NULL || connection->state == WEBSOCKET_REJECTED ||
               !pyconnection_running(connection)) {
        connection->inbound = INBOUND_END;
        connection->told = true;
        *result = disconnect_message(s, connection->disconnect);
    } else {
        pyconnection_answer(connection);
        return 0;
    }
    return *result == NULL ? -1 : 1;
}
