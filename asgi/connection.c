#include "asgi/connection.h"

#include <assert.h>
#include <stddef.h>
#include <string.h>
#include <time.h>

#include "asgi/awaitable.h"
#include "asgi/errors.h"
#include "asgi/kick.h"
#include "asgi/message.h"
#include "asgi/scope.h"
#include "asgi/task.h"
#include "base/clock.h"

static const char *const state_names[CONNECTION_STATES] = {
    [HTTP_REQUEST] = "request",
    [HTTP_STARTED] = "response started",
    [HTTP_STREAMING] = "response streaming",
    [HTTP_TRAILERS] = "trailers to come",
    [HTTP_COMPLETE] = "response complete",
    [WEBSOCKET_CONNECTING] = "connecting",
    [WEBSOCKET_OPEN] = "open",
    [DENIAL_STARTED] = "denial started",
    [DENIAL_STREAMING] = "denial streaming",
    [WEBSOCKET_REJECTED] = "rejected",
    [WEBSOCKET_CLOSED] = "closed",
    [CONNECTION_GONE] = "gone",
};

const char *pyconnection_state_name(enum pyconnection_state state)
{
    return state_names[state];
}

/* The last states: the application may send nothing more. */
static bool is_last(enum pyconnection_state state)
{
    return state == HTTP_COMPLETE || state == WEBSOCKET_REJECTED || state == WEBSOCKET_CLOSED || state == CONNECTION_GONE;
}

void pyconnection_set_state(struct pyconnection *connection, enum pyconnection_state state)
{
    enum pyconnection_state old = connection->state;
    assert(!is_last(old));
    assert(state == CONNECTION_GONE || (state > old && state < CONNECTION_GONE) ||
           (state == old && (state == HTTP_STREAMING || state == HTTP_TRAILERS || state == DENIAL_STREAMING)));
    (void)old;
    connection->state = state;
}

static double monotonic(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
}

/* What stands in the access log. */
static int keep_for_access(struct pyconnection *connection, const struct request_event *request)
{
    const struct strings *s = &connection->server->state->strings;
    if (connection->server->on_access == NULL)
        return 0;
    connection->target = PyUnicode_DecodeUTF8((const char *)request->event.bytes + request->target.offset,
                                              request->target.length, "replace");
    return connection->target == NULL || message_get(connection->scope, s->client, &connection->client) < 0 ||
                   message_get(connection->scope, s->method, &connection->method) < 0
               ? -1
               : 0;
}

struct pyconnection *pyconnection_new(struct pyserver *server, const struct request_event *request)
{
    PyTypeObject *type = server->state->connection_type;
    struct pyconnection *connection = (struct pyconnection *)type->tp_alloc(type, 0);
    if (connection == NULL)
        return NULL;
    list_init(&connection->receivers);
    list_init(&connection->senders);
    list_init(&connection->turn);
    connection->server = server;
    Py_INCREF(server);
    connection->exchange = request->event.exchange;
    connection->owner = request->owner;
    connection->websocket = request->websocket;
    connection->state = request->websocket ? WEBSOCKET_CONNECTING : HTTP_REQUEST;
    connection->inbound = request->websocket  ? INBOUND_CONNECT
                          : request->has_body ? INBOUND_BODY
                                              : INBOUND_BODILESS;
    connection->head_only = request->method.length == 4 &&
                            memcmp(request->event.bytes + request->method.offset, "HEAD", 4) == 0;
    connection->promised = -1;
    connection->offers = scope_offers(server, request);
    connection->takes_trailers = request->takes_trailers;
    connection->started = monotonic();
    connection->scope = scope_new(server, request);
    if (connection->scope == NULL || keep_for_access(connection, request) < 0)
        Py_CLEAR(connection);
    return connection;
}

void pyconnection_queue_turn(struct pyconnection *connection)
{
    if (!list_empty(&connection->turn))
        return;
    list_append(&connection->server->turns, &connection->turn);
}

/* The last of a response is not waited for, unless it is a file: whether that could be sent shows only then. */
bool pyconnection_may_send(const struct pyconnection *connection)
{
    if (connection->outstanding <= connection->server->send_window)
        return true;
    if (connection->file != NULL && connection->disconnect == NULL && pyconnection_running(connection))
        return connection->state == CONNECTION_GONE;
    return is_last(connection->state);
}

/* receive() would not have to wait. */
static bool has_news(const struct pyconnection *connection)
{
    return pyconnection_next_at(connection) != PYCONNECTION_NOTHING;
}

int pyconnection_take_turn(struct pyconnection *connection)
{
    if (connection->life == LIFE_NEW)
        return task_start(connection);
    int result = 0;
    if (has_news(connection))
        result = awaitable_wake_all(&connection->receivers, 1);
    if (result == 0 && pyconnection_may_send(connection))
        result = awaitable_wake_all(&connection->senders, 1);
    return result;
}

void pyconnection_arrived(struct pyconnection *connection, struct event *event)
{
    queue_chain_add(&connection->inbox, &event->item);
    pyconnection_queue_turn(connection);
}

void pyconnection_disconnected(struct pyconnection *connection)
{
    connection->disconnected_ns = clock_ns();
    connection->disconnected_ran = loop_clock_at(&connection->server->loop_clock, connection->disconnected_ns);
    if (!is_last(connection->state))
        pyconnection_set_state(connection, CONNECTION_GONE);
    pyconnection_queue_turn(connection);
}

uint64_t pyconnection_stood_still(const struct pyconnection *connection)
{
    if (connection->disconnect == NULL)
        return 0;
    uint64_t now = clock_ns();
    uint64_t ran = loop_clock_at(&connection->server->loop_clock, now) - connection->disconnected_ran;
    return now - connection->disconnected_ns - ran;
}

bool pyconnection_is_cut_short(const struct pyconnection *connection)
{
    return connection->server->draining && (connection->state == HTTP_STARTED || connection->state == HTTP_STREAMING) &&
           connection->promised < 0 && connection->inbound == INBOUND_END && connection->inbox.first == NULL;
}

int pyconnection_answered(struct pyconnection *connection)
{
    bool complete = connection->state == HTTP_COMPLETE || connection->state == WEBSOCKET_REJECTED;
    if ((!complete && !pyconnection_is_cut_short(connection)) || list_empty(&connection->receivers))
        return 0;
    if (pyserver_is_elsewhere(connection->server)) {
        pyconnection_queue_turn(connection);
        port_wake(connection->server->port);
        return 0;
    }
    PyObject *error = error_take();
    int result = awaitable_wake_all(&connection->receivers, 0);
    if (error == NULL)
        return result;
    if (result < 0)
        PyErr_Clear();
    error_set(error);
    return -1;
}

void pyconnection_written(struct pyconnection *connection, size_t amount)
{
    connection->outstanding -= amount < connection->outstanding ? amount : connection->outstanding;
    if (!list_empty(&connection->senders) && pyconnection_may_send(connection))
        pyconnection_queue_turn(connection);
}

void pyconnection_command(struct pyconnection *connection, struct command *command, bool counted)
{
    if (counted)
        connection->outstanding += command_charge(command);
    pyserver_command(connection->server, command);
}

static void command_without_bytes(struct pyconnection *connection, struct command *command)
{
    pyserver_command(connection->server, command);
}

void pyconnection_consumed(struct pyconnection *connection)
{
    struct command *command = command_create(COMMAND_CONSUMED, connection->exchange, 0);
    if (command == NULL)
        return; /* what was taken stays counted: the next one tells of it */
    command->amount = connection->taken;
    connection->taken = 0;
    command_without_bytes(connection, command);
}

void pyconnection_answer(struct pyconnection *connection)
{
    if (!connection->asked)
        return;
    struct command *command = command_create(COMMAND_WAITS, connection->exchange, 0);
    if (command == NULL)
        return; /* the next receive() tries again; if there is none, the I/O thread waits no longer than it wants */
    connection->asked = false;
    command_without_bytes(connection, command);
}

void pyconnection_asked(struct pyconnection *connection)
{
    connection->asked = true;
    if (!has_news(connection) && !list_empty(&connection->receivers))
        pyconnection_answer(connection);
}

static struct event *unlink_first(struct pyconnection *connection)
{
    struct queue_item *item = connection->inbox.first;
    if (item == NULL)
        return NULL;
    connection->inbox.first = item->next;
    if (item->next == NULL)
        connection->inbox.last = NULL;
    return list_entry(item, struct event, item);
}

struct event *pyconnection_take(struct pyconnection *connection)
{
    struct event *event = unlink_first(connection);
    if (event == NULL)
        return NULL;
    connection->taken += event_cost(event->length);
    if (connection->taken >= connection->server->receive_window / 2 && connection->disconnect == NULL)
        pyconnection_consumed(connection);
    return event;
}

static void forget_inbox(struct pyconnection *connection)
{
    struct event *event;
    while ((event = unlink_first(connection)) != NULL)
        event_destroy(event);
    if (connection->head != NULL)
        command_destroy(connection->head);
    connection->head = NULL;
    command_destroy(connection->trailer);
    connection->trailer = NULL;
}

void pyconnection_finish(struct pyconnection *connection, enum pyconnection_life life, bool failed)
{
    assert(pyconnection_running(connection) && life >= LIFE_KILLED);
    Py_INCREF(connection);
    connection->life = life;
    forget_inbox(connection);
    if (!is_last(connection->state))
        pyconnection_set_state(connection, CONNECTION_GONE);
    owner_end(kick_owners(), connection->owner);
    struct command *command = command_create(COMMAND_FINISHED, connection->exchange, 0);
    if (command != NULL) {
        command->failed = failed;
        command_without_bytes(connection, command);
    }
    list_remove(&connection->turn);
    pyserver_remove(connection->server, connection);
    /* Tasks that the application has left behind. */
    awaitable_wake_all(&connection->receivers, 0);
    awaitable_wake_all(&connection->senders, 0);
    Py_DECREF(connection);
}

/* receive() */

uint64_t pyconnection_next_at(const struct pyconnection *connection)
{
    if (connection->inbound == INBOUND_CONNECT || connection->inbound == INBOUND_BODILESS ||
        connection->state == HTTP_COMPLETE || !pyconnection_running(connection))
        return 0;
    if (connection->inbox.first != NULL)
        return list_entry(connection->inbox.first, struct event, item)->made_at;
    if (connection->disconnect != NULL)
        return connection->disconnect->made_at;
    return connection->state == WEBSOCKET_REJECTED || pyconnection_is_cut_short(connection) ? 0 : PYCONNECTION_NOTHING;
}

int pyconnection_take_event(struct pyconnection *connection, PyObject **result)
{
    return (connection->websocket ? websocket_take : http_take)(connection, result);
}

/* An application that asks on and on after the disconnect must not keep the loop from everyone else, or from its own kill: it waits for
 * the loop's next turn. But not each time: whoever is cancelled already, and only asks whether the client has left (anyio's cancelled
 * scopes, timeout(0)), would never hear it. */
static bool asks_on(struct pyconnection *connection)
{
    struct pyserver *server = connection->server;
    if (connection->told_turn != server->loop_turn) {
        connection->told_turn = server->loop_turn;
        connection->told_in_a_row = 0;
    }
    if (connection->told_in_a_row++ == 0)
        pyserver_end_turn(server);
    if (connection->told_in_a_row <= TOLD_IN_A_ROW)
        return false;
    connection->told_in_a_row = 0;
    return true;
}

static int attempt_receive(struct awaitable *awaitable, PyObject **result)
{
    struct pyconnection *connection = (struct pyconnection *)awaitable->source;
    if (connection->told && asks_on(connection))
        return AWAITABLE_TURN;
    int got = pyconnection_take_event(connection, result);
    if (got == 0 && has_news(connection))
        got = pyconnection_take_event(connection, result); /* it has asked the I/O thread for more, and other code ran meanwhile */
    if (got == 0)
        list_append(&connection->receivers, &awaitable->link);
    return got;
}

static PyObject *loop_of(struct awaitable *awaitable)
{
    return ((struct pyconnection *)awaitable->source)->server->loop;
}

/* awaitable.c has taken it out of the list, and what it waited for is still here. */
static void left(struct awaitable *awaitable, int woken, int again)
{
    (void)awaitable;
    (void)woken;
    (void)again;
}

static const struct awaitable_operations receive_operations = { attempt_receive, loop_of, left, .repeatable = 0 };

PyObject *pyconnection_receive(PyObject *self, PyObject *ignored)
{
    (void)ignored;
    return awaitable_new(state_of(Py_TYPE(self)), &receive_operations, self);
}
