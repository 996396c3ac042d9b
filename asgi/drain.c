/* The events of one server, in batches, and the commands that they lead to, in one chain. */
#include "asgi/access.h"
#include "asgi/connection.h"
#include "asgi/errors.h"
#include "asgi/kick.h"
#include "asgi/outlet.h"
#include "asgi/server_type.h"
#include "asgi/task.h"
#include "base/clock.h"
#include "server/event.h"

/* Ends the owner that the I/O thread opened for a request whose application was never started: nothing else will end it. */
static void end_owner(const struct event *event)
{
    if (event->kind == EVENT_REQUEST)
        owner_end(kick_owners(), ((const struct request_event *)(const void *)event)->owner);
}

/* An exchange that cannot even be started: its request is refused as one whose application failed. */
static int refuse(struct pyserver *server, const struct event *event)
{
    end_owner(event);
    struct command *command = command_create(COMMAND_FINISHED, event->exchange, 0);
    if (command != NULL) {
        command->failed = true;
        pyserver_command(server, command);
    }
    return error_report(server->state, server->loop, "Peneus could not start an application");
}

static int on_request(struct pyserver *server, struct event *event)
{
    struct pyconnection *connection = pyconnection_new(server, (struct request_event *)(void *)event);
    int result;
    if (connection == NULL || pyserver_add(server, connection) < 0) {
        result = refuse(server, event);
    } else {
        result = connection->websocket ? access_connecting(connection) : 0;
        pyconnection_queue_turn(connection);
    }
    Py_XDECREF(connection);
    event_destroy(event);
    return result;
}

/* The lines of the access log for an exchange that ends before its application. */
static int log_disconnect(struct pyconnection *connection)
{
    uint16_t status = connection->disconnect->disconnect.status;
    if (status != 0)
        connection->status = status;
    switch (connection->state) {
    case HTTP_REQUEST:
    case HTTP_STARTED:
        return status != 0 ? access_complete(connection) : 0;
    case HTTP_STREAMING:
    case HTTP_TRAILERS:
        return access_complete(connection);
    case WEBSOCKET_CONNECTING:
    case DENIAL_STARTED:
        return status != 0 ? access_rejected(connection) : access_disconnected(connection);
    case DENIAL_STREAMING:
        return access_rejected(connection);
    case WEBSOCKET_OPEN:
    case WEBSOCKET_CLOSED:
        return access_disconnected(connection);
    default:
        return 0;
    }
}

static int on_disconnect(struct pyconnection *connection, struct event *event)
{
    int result = 0;
    /* Of a complete response http.c has said it already: its application may have ended before this event came. */
    if (event->disconnect.cause == DISCONNECT_FRAMING && connection->state != HTTP_COMPLETE &&
        connection->state != HTTP_TRAILERS && connection->state != WEBSOCKET_REJECTED)
        result = callback_framing(connection, event->disconnect.actual, event->disconnect.expected);
    if (event->disconnect.cause == DISCONNECT_FILE)
        result = callback_file(connection, event->disconnect.actual, event->disconnect.expected);
    if (connection->disconnect != NULL || !pyconnection_running(connection)) {
        event_destroy(event);
        return result;
    }
    connection->disconnect = event;
    result |= callback_closed(connection, event);
    result |= log_disconnect(connection);
    pyconnection_disconnected(connection);
    return result;
}

/* Time in which the loop stood still does not count against the application: it may have as much again. */
static int on_kill(struct pyconnection *connection)
{
    struct pyserver *server = connection->server;
    uint64_t ran = loop_clock_at(&server->loop_clock, clock_ns()) - connection->disconnected_ran;
    uint64_t left_ms = ran < server->close_timeout_ns ? (server->close_timeout_ns - ran) / NS_PER_MS : 0;
    struct command *command = left_ms > 0 ? command_create(COMMAND_SPARE, connection->exchange, 0) : NULL;
    if (command == NULL)
        return task_kill(connection);
    command->amount = left_ms;
    pyserver_command(server, command);
    return 0;
}

/* Those whose events came in this batch. Each sees all that came for it, without waiting in between. */
static int take_turns(struct pyserver *server)
{
    int result = 0;
    while (result == 0 && !list_empty(&server->turns)) {
        struct pyconnection *connection = list_entry(server->turns.next, struct pyconnection, turn);
        list_remove(&connection->turn);
        Py_INCREF(connection);
        result = pyconnection_take_turn(connection);
        Py_DECREF(connection);
    }
    return result;
}

static int on_exchange(struct pyserver *server, struct event *event)
{
    struct pyconnection *connection = pyserver_find(server, event->exchange);
    if (connection == NULL) {
        event_destroy(event); /* its application has ended meanwhile */
        return 0;
    }
    Py_INCREF(connection);
    int result = 0;
    switch (event->kind) {
    case EVENT_BODY:
    case EVENT_MESSAGE:
        pyconnection_arrived(connection, event);
        break;
    case EVENT_DISCONNECT:
        result = on_disconnect(connection, event);
        break;
    case EVENT_ASK:
        pyconnection_asked(connection);
        event_destroy(event);
        break;
    case EVENT_WRITTEN:
        pyconnection_written(connection, event->amount);
        event_destroy(event);
        break;
    case EVENT_KILL:
        result = take_turns(server); /* where the loop was blocked: what came before it comes first */
        if (result == 0 && pyconnection_running(connection))
            result = on_kill(connection);
        event_destroy(event);
        break;
    default:
        event_destroy(event);
    }
    Py_DECREF(connection);
    return result;
}

static int on_refused(struct pyserver *server, struct event *event)
{
    int result = access_refused(server, (const struct refusal_event *)(const void *)event);
    event_destroy(event);
    return result;
}

static int on_server(struct pyserver *server, PyObject *callback, const char *what)
{
    if (take_turns(server) < 0)
        return -1;
    PyObject *done = PyObject_CallNoArgs(callback);
    Py_XDECREF(done);
    return done == NULL ? error_report(server->state, server->loop, what) : 0;
}

int pyserver_event(struct pyserver *server, struct event *event)
{
    switch (event->kind) {
    case EVENT_REQUEST:
        return on_request(server, event);
    case EVENT_REFUSED:
        return on_refused(server, event);
    case EVENT_DRAINED:
        event_destroy(event);
        return on_server(server, server->on_drained, "Exception in Peneus's on_drained callback");
    case EVENT_STOPPED:
        event_destroy(event);
        server->phase = PHASE_STOPPED;
        return on_server(server, server->on_stopped, "Exception in Peneus's on_stopped callback");
    default:
        return on_exchange(server, event);
    }
}

void pyserver_discard_output(struct pyserver *server)
{
    for (struct queue_item *item = server->output.first; item != NULL;) {
        struct command *command = list_entry(item, struct command, item);
        item = item->next;
        command_destroy(command);
    }
    server->output = (struct queue_chain){0};
}

static void send_output(struct pyserver *server)
{
    if (server->native != NULL)
        server_send(server->native, &server->output);
    else
        pyserver_discard_output(server);
}

void pyserver_hand_over(struct pyserver *server)
{
    if (server->native != NULL && pyserver_is_elsewhere(server))
        server_outlet_hand_over(server->tags.outlet);
    else
        send_output(server);
}

PyObject *pyserver_flush(PyObject *self, PyObject *ignored)
{
    (void)ignored;
    struct pyserver *server = (struct pyserver *)self;
    server->flush_armed = false;
    server->loop_turn++;
    send_output(server);
    Py_RETURN_NONE;
}

static PyObject *call_flush(struct pyserver *server)
{
    if (!pyserver_is_elsewhere(server))
        return PyObject_CallOneArg(server->call_soon, server->flush);
    return PyObject_CallMethodOneArg(server->loop, server->state->strings.call_soon_threadsafe, server->flush);
}

/* A loop that takes no more calls (it is being closed) gets the commands at once. */
static void arm_flush(struct pyserver *server)
{
    server->flush_armed = true;
    PyObject *handle = call_flush(server);
    if (handle == NULL) {
        PyErr_WriteUnraisable(server->loop);
        server->flush_armed = false;
        send_output(server);
    }
    Py_XDECREF(handle);
}

void pyserver_end_turn(struct pyserver *server)
{
    if (server->flush_armed || (server->port != NULL && server->port->running))
        return;
    /* An exception of the caller's may be set while its exchange ends. */
    PyObject *error = error_take();
    arm_flush(server);
    if (error != NULL)
        error_set(error);
}

void pyserver_command(struct pyserver *server, struct command *command)
{
    if (server->tags.outlet != NULL && pyserver_is_elsewhere(server))
        server_outlet_add(server->tags.outlet, command);
    else
        queue_chain_add(&server->output, &command->item);
    pyserver_end_turn(server);
}

int pyserver_drain(struct port_drain *drain)
{
    struct pyserver *server = list_entry(drain, struct pyserver, drain);
    Py_INCREF(server);
    int more = 0;
    int result = 0;
    for (int count = 0; result == 0; count++) {
        if (server->pending == NULL && (server->pending = queue_take(&server->events)) == NULL)
            break;
        if (count == EVENTS_AT_ONCE) {
            more = 1;
            break;
        }
        struct event *event = list_entry(server->pending, struct event, item);
        server->pending = server->pending->next;
        result = pyserver_event(server, event);
    }
    if (result == 0)
        result = take_turns(server);
    Py_DECREF(server);
    return result < 0 ? -1 : more;
}

void pyserver_drained(struct port_drain *drain)
{
    struct pyserver *server = list_entry(drain, struct pyserver, drain);
    server->loop_turn++;
    send_output(server);
}

void pyserver_discard_events(struct pyserver *server)
{
    for (;;) {
        if (server->pending == NULL && (server->pending = queue_take(&server->events)) == NULL)
            return;
        struct event *event = list_entry(server->pending, struct event, item);
        server->pending = server->pending->next;
        end_owner(event);
        event_destroy(event);
    }
}
