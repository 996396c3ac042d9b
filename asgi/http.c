#include "asgi/http.h"

#include <string.h>

#include "asgi/access.h"
#include "asgi/headers.h"
#include "asgi/http_fields.h"
#include "asgi/message.h"

/* The head that message describes; NULL with an exception. */
static struct command *make_head(struct pyconnection *connection, PyObject *message, bool *trailers)
{
    const struct strings *s = &connection->server->state->strings;
    PyObject *headers;
    if (message_flag(message, s->trailers, trailers) < 0 || (*trailers && http_check_trailers(connection) < 0) ||
        message_get(message, s->headers, &headers) < 0)
        return NULL;
    struct command *head = headers_command(COMMAND_RESPOND, connection->exchange, headers, NULL);
    Py_XDECREF(headers);
    if (head == NULL || headers_check_length(head) == 0)
        return head;
    command_destroy(head);
    return NULL;
}

int http_send_start(struct pyconnection *connection, PyObject *message)
{
    enum pyconnection_state state = connection->state;
    bool trailers;
    int status = message_number(message, connection->server->state->strings.status, 200, 999, -1);
    struct command *head = status < 0 ? NULL : make_head(connection, message, &trailers);
    if (head == NULL)
        return -1;
    if (pyconnection_check_state(connection, state) < 0) {
        command_destroy(head);
        return -1;
    }
    head->response.status = (uint16_t)status;
    bool has_body = !connection->head_only && status != 204 && status != 205 && status != 304;
    if (has_body)
        connection->promised = headers_content_length(head);
    connection->trailers = trailers;
    connection->trailers_go_out = trailers && has_body && connection->takes_trailers;
    head->response.trailers = connection->trailers_go_out;
    connection->status = (uint16_t)status;
    connection->head = head;
    pyconnection_set_state(connection, connection->websocket ? DENIAL_STARTED : HTTP_STARTED);
    return 0;
}

/* The held head with body behind it, or a body on its own. NULL with an exception. */
static struct command *body_command(struct pyconnection *connection, const Py_buffer *body)
{
    struct command *head = connection->head;
    size_t length = (size_t)body->len;
    if (head != NULL && length == 0) {
        connection->head = NULL;
        return head;
    }
    size_t head_length = head == NULL ? 0 : head->length;
    struct command *command =
        command_create(head == NULL ? COMMAND_BODY : COMMAND_RESPOND, connection->exchange, head_length + length);
    if (command == NULL) {
        PyErr_NoMemory();
        return NULL;
    }
    if (head == NULL) {
        memset(&command->response, 0, sizeof command->response);
    } else {
        command->response = head->response;
        memcpy(command->bytes, head->bytes, head_length);
        command_destroy(head);
        connection->head = NULL;
    }
    memcpy(command->bytes + head_length, body->buf, length);
    return command;
}

int http_send_head(struct pyconnection *connection)
{
    struct command *head = connection->head;
    if (head == NULL)
        return 0;
    connection->head = NULL;
    head->response.more = true;
    pyconnection_command(connection, head, true);
    return 0;
}

void http_count_body(struct pyconnection *connection, uint64_t length, bool more)
{
    connection->sent += length;
    if (more)
        pyconnection_set_state(connection, connection->websocket ? DENIAL_STREAMING : HTTP_STREAMING);
    else
        pyconnection_set_state(connection, connection->websocket  ? WEBSOCKET_REJECTED
                                           : connection->trailers ? HTTP_TRAILERS
                                                                  : HTTP_COMPLETE);
}

int http_body_sent(struct pyconnection *connection, bool more)
{
    if (more)
        return 0;
    if (connection->promised >= 0 && (uint64_t)connection->promised != connection->sent &&
        callback_framing(connection, connection->sent, (uint64_t)connection->promised) < 0)
        return -1;
    if (connection->trailers)
        return 0;
    return connection->websocket ? access_rejected(connection) : access_complete(connection);
}

int http_send_bytes(struct pyconnection *connection, const Py_buffer *body, bool more)
{
    struct command *command = body_command(connection, body);
    if (command == NULL)
        return -1;
    command->response.more = more;
    http_count_body(connection, (uint64_t)body->len, more);
    pyconnection_command(connection, command, true);
    return http_body_sent(connection, more);
}

int http_send_body(struct pyconnection *connection, PyObject *message)
{
    const struct strings *s = &connection->server->state->strings;
    enum pyconnection_state state = connection->state;
    bool more;
    Py_buffer body;
    if (message_flag(message, s->more_body, &more) < 0 || message_bytes(message, s->body, &body) < 0)
        return -1;
    int result = pyconnection_check_state(connection, state);
    if (result == 0)
        result = http_send_bytes(connection, &body, more);
    if (body.obj != NULL)
        PyBuffer_Release(&body);
    return result;
}

static PyObject *request_message(struct pyconnection *connection, struct event *event)
{
    struct state *state = connection->server->state;
    PyObject *message = PyDict_Copy(state->bodiless_request);
    PyObject *body = PyBytes_FromStringAndSize((const char *)event->bytes, (Py_ssize_t)event->length);
    if (message == NULL || body == NULL || PyDict_SetItem(message, state->strings.body, body) < 0 ||
        (event->more && PyDict_SetItem(message, state->strings.more_body, Py_True) < 0))
        Py_CLEAR(message);
    Py_XDECREF(body);
    return message;
}

static PyObject *disconnect_message(struct pyconnection *connection)
{
    const struct strings *s = &connection->server->state->strings;
    connection->told = true;
    PyObject *message = PyDict_New();
    if (message != NULL && PyDict_SetItem(message, s->type, s->http_disconnect) < 0)
        Py_CLEAR(message);
    return message;
}

/* A body that nobody has asked for yet may wait behind "Expect: 100-continue". */
static void ask_for_body(struct pyconnection *connection)
{
    if (connection->inbound != INBOUND_BODY || connection->awaited_body || connection->disconnect != NULL)
        return;
    connection->awaited_body = true;
    pyconnection_consumed(connection);
}

int http_take(struct pyconnection *connection, PyObject **result)
{
    struct state *state = connection->server->state;
    if (connection->state == HTTP_COMPLETE || !pyconnection_running(connection)) {
        *result = disconnect_message(connection);
        return *result == NULL ? -1 : 1;
    }
    struct event *event = pyconnection_take(connection);
    if (event != NULL) {
        connection->awaited_body = true;
        if (!event->more)
            connection->inbound = INBOUND_END;
        *result = request_message(connection, event);
        event_destroy(event);
    } else if (connection->inbound == INBOUND_BODILESS) {
        connection->inbound = INBOUND_END;
        *result = PyDict_Copy(state->bodiless_request);
    } else if (connection->disconnect != NULL || pyconnection_is_cut_short(connection)) {
        *result = disconnect_message(connection);
    } else {
        ask_for_body(connection);
        return 0;
    }
    return *result == NULL ? -1 : 1;
}
