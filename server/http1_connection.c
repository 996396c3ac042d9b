#include "server/http1_connection.h"

#include <assert.h>
#include <string.h>

#include "server/command.h"
#include "server/connection.h"
#include "server/event_create.h"
#include "server/refusal.h"
#include "server/server_state.h"
#include "server/tls_info.h"

/* How long a client that has been taken may still take for its first request after shutting down has begun. */
enum { FIRST_REQUEST_MS = 500 };

static void set_state(struct http1_connection *http1, enum http1_state state)
{
    assert(state == http1->state + 1 || state == HTTP1_IDLE || (http1->state == HTTP1_HEAD && state == HTTP1_RESPONDING));
    http1->state = state;
}

static bool draining(const struct connection *connection)
{
    return connection->server->phase >= SERVER_DRAINING;
}

/* Answers by itself and says goodbye; the exchange, if there is one, must have ended. */
static void answer(struct connection *connection, uint16_t status)
{
    struct http1_identity identity = server_identity(connection->server);
    const struct http1_connection *http1 = &connection->http1;
    bool is_head = http1->state == HTTP1_HEAD ? http1_parser_is_head(&http1->parser) : http1->response.head;
    if (status < 500 && status != 403) /* 403 is the application's */
        count(&connection->server->counters.bad_requests_total, 1);
    if (http1_write_error(transport_out(&connection->transport), status, is_head, &identity) == 0)
        connection_linger(connection);
    else
        connection_close(connection, &(struct ending){ .cause = DISCONNECT_CLIENT });
}

/* The same for a request that no application has heard of, and of which the parser has read some. */
static void refuse_unread(struct connection *connection, uint16_t status)
{
    const struct http1_parser *parser = &connection->http1.parser;
    struct piece method = { 0, parser->method_length }, target = { parser->method_length, parser->target_length };
    bool is_kept = !parser->head_done && (size_t)method.length + target.length <= parser->arena.end;
    refusal_announce(connection, status, parser->reason, is_kept ? parser->arena.bytes : NULL, method, target);
    answer(connection, status);
}

/* Ends the exchange with an answer of our own, or by cutting the response off. */
static void end_with(struct connection *connection, enum disconnect_cause cause, uint16_t status, uint16_t code)
{
    bool responded = connection->http1.responded;
    connection_end_exchange(connection, &(struct ending){ .cause = cause, .status = responded ? 0 : status, .code = code });
    if (!responded) {
        answer(connection, status);
    } else if (http1_ends_with_connection(&connection->http1.response)) {
        connection_reset(connection, NULL);
    } else {
        transport_flush(&connection->transport);
        connection_close(connection, NULL);
    }
}

/* The client cannot send its body while we do not read it, or while it waits for 100 Continue. */
static void hold_body(struct connection *connection)
{
    struct http1_connection *http1 = &connection->http1;
    bool paused = connection->exchange != NULL && connection->exchange->paused;
    pace_hold(&http1->body_pace, paused || http1->continue_pending, uv_now(&connection->server->loop));
}

/* A window in which some of the body must come begins. */
static void expect_body(struct connection *connection)
{
    struct http1_connection *http1 = &connection->http1;
    pace_begin(&http1->body_pace, http1->body_bytes, uv_now(&connection->server->loop));
    hold_body(connection);
    deadline_set(&connection->deadlines, DEADLINE_BODY, connection->server->settings.body_timeout_ms);
}

/* The window is over, unless the client could not send for a part of it: then that part is added. */
static void on_body_deadline(struct connection *connection)
{
    struct http1_connection *http1 = &connection->http1;
    struct server *server = connection->server;
    uint64_t now = uv_now(&server->loop), timeout = server->settings.body_timeout_ms;
    uint64_t passed = pace_time(&http1->body_pace, now);
    if (connection->exchange == NULL || http1->state != HTTP1_BODY)
        return;
    if (passed < timeout) {
        deadline_set(&connection->deadlines, DEADLINE_BODY, timeout - passed);
        return;
    }
    if (pace_is_kept(&http1->body_pace, http1->body_bytes, now, server->settings.min_rate)) {
        expect_body(connection);
        return;
    }
    server_count_timeout(server, &server->counters.body_timeouts_total);
    end_with(connection, DISCONNECT_SLOW, 408, 0);
}

static void fill_in(struct connection *connection, struct request_event *request)
{
    request->connection = connection->id;
    request->owner = connection->exchange->owner;
    request->endpoints = connection->endpoints;
    request->websocket = connection->http1.websocket;
    request->secure = connection->transport.tls != NULL;
    request->tls = tls_info_retain(transport_tls_info(&connection->transport));
}

static void on_head(void *context, const struct http1_head *head)
{
    struct connection *connection = context;
    struct http1_connection *http1 = &connection->http1;
    struct server *server = connection->server;
    if (connection->state != CONNECTION_HTTP1)
        return;
    count(&server->counters.requests_total, 1);
    deadline_clear(&connection->deadlines, DEADLINE_HEADER);
    set_state(http1, HTTP1_BODY);
    http1->response = (struct http1_response){
        .head = head->method.length == 4 && memcmp(head->bytes + head->method.offset, "HEAD", 4) == 0,
        .minor = head->minor,
        .keep_alive = head->keep_alive,
    };
    http1->responded = false;
    http1->body_out.ended = false;
    http1->continue_pending = head->expect_continue;
    http1->websocket = head->upgrade_websocket;
    http1->has_body = head->has_body;
    uint16_t refused = http1->websocket ? handshake_check(head, &connection->server->settings, http1->accept, &http1->deflate) : 0;
    if (refused == 0 && http1->websocket && draining(connection))
        refused = 503;
    if (refused != 0) {
        refusal_announce(connection, refused, NULL, head->bytes, head->method, head->target);
        answer(connection, refused);
        return;
    }
    struct request_event *request = request_event_create(head);
    connection->exchange = request != NULL ? exchange_begin(server, connection, http1->websocket) : NULL;
    if (connection->exchange == NULL) {
        event_destroy((struct event *)request);
        refusal_announce(connection, 503, NULL, head->bytes, head->method, head->target);
        end_with(connection, DISCONNECT_PROTOCOL_ERROR, 503, 0);
        return;
    }
    fill_in(connection, request);
    exchange_announce_request(connection->exchange, request);
    if (http1->websocket)
        deadline_set(&connection->deadlines, DEADLINE_CONNECT, server->settings.websocket_connect_timeout_ms);
    else
        deadline_set(&connection->deadlines, DEADLINE_HTTP, server->settings.http_timeout_ms);
    http1->body_bytes = 0;
    if (http1->has_body)
        expect_body(connection);
}

static void announce_body(struct connection *connection, bool more)
{
    struct event *body = connection->http1.body;
    connection->http1.body = NULL;
    if (connection->exchange == NULL || connection->exchange->finished) {
        if (body != NULL)
            event_destroy(body);
        return;
    }
    if (body == NULL)
        body = event_create(EVENT_BODY, connection->exchange->id, NULL, 0);
    if (body == NULL) {
        end_with(connection, DISCONNECT_TOO_LARGE, 503, 0);
        return;
    }
    body->more = more;
    exchange_announce(connection->exchange, body);
}

/* Body that nobody wants: its response is complete. */
static void discard(struct connection *connection, size_t length)
{
    connection->http1.discarded += length;
    if (connection->http1.discarded > DISCARD_LIMIT)
        connection_linger(connection);
}

/* Collects the pieces of one read into events of at most body_chunk bytes; their memory is what the read can fill. */
static void on_body(void *context, const unsigned char *bytes, size_t length)
{
    struct connection *connection = context;
    struct http1_connection *http1 = &connection->http1;
    size_t chunk = connection->server->settings.body_chunk;
    http1->continue_pending = false;
    http1->body_bytes += length;
    if (connection->exchange == NULL && connection->state == CONNECTION_HTTP1)
        discard(connection, length);
    while (length > 0 && connection->state == CONNECTION_HTTP1 && connection->exchange != NULL) {
        if (http1->body == NULL) {
            http1->body_room = chunk < http1->input_left ? chunk : http1->input_left;
            http1->body = event_create(EVENT_BODY, connection->exchange->id, NULL, http1->body_room);
            if (http1->body == NULL) {
                end_with(connection, DISCONNECT_TOO_LARGE, 503, 0);
                return;
            }
            http1->body->length = 0;
        }
        size_t room = http1->body_room - http1->body->length;
        size_t part = room < length ? room : length;
        memcpy(http1->body->bytes + http1->body->length, bytes, part);
        http1->body->length += part;
        bytes += part;
        length -= part;
        http1->input_left -= part;
        if (http1->body->length == http1->body_room)
            announce_body(connection, true);
    }
}

static const struct http1_callbacks callbacks = { on_head, on_body };

void http1_refuse_plain(struct connection *connection)
{
    connection->http1.parser.reason = "the client does not speak TLS, which is spoken here";
    refuse_unread(connection, 400);
}

void http1_turn_away(struct connection *connection)
{
    answer(connection, 503); /* a line for each would cost the application's thread what the limit is to spare it */
}

void http1_connection_begin(struct connection *connection)
{
    struct server *server = connection->server;
    memset(&connection->http1, 0, sizeof connection->http1);
    http1_parser_init(&connection->http1.parser, &server->settings, &callbacks, connection);
    connection->http1.fresh = true;
    deadline_set(&connection->deadlines, DEADLINE_IDLE, server->settings.keep_alive_timeout_ms);
}

void http1_connection_deinit(struct connection *connection)
{
    if (connection->http1.body != NULL)
        event_destroy(connection->http1.body);
    connection->http1.body = NULL;
    response_body_deinit(&connection->http1.body_out);
    http1_parser_deinit(&connection->http1.parser);
}

/* Waits for the next request. */
static void become_idle(struct connection *connection)
{
    set_state(&connection->http1, HTTP1_IDLE);
    deadline_clear(&connection->deadlines, DEADLINE_HTTP);
    deadline_clear(&connection->deadlines, DEADLINE_CONNECT);
    deadline_set(&connection->deadlines, DEADLINE_IDLE, connection->server->settings.keep_alive_timeout_ms);
}

static void on_request_complete(struct connection *connection)
{
    struct http1_connection *http1 = &connection->http1;
    deadline_clear(&connection->deadlines, DEADLINE_BODY);
    if (connection->exchange == NULL) {
        become_idle(connection);
        return;
    }
    if (http1->has_body)
        announce_body(connection, false);
    if (connection->state == CONNECTION_HTTP1)
        set_state(http1, HTTP1_RESPONDING);
}

static void on_parse_error(struct connection *connection)
{
    uint16_t status = connection->http1.parser.status;
    enum disconnect_cause cause = status == 413 ? DISCONNECT_TOO_LARGE : DISCONNECT_PROTOCOL_ERROR;
    if (connection->exchange != NULL)
        end_with(connection, cause, status, 0);
    else if (connection->http1.state == HTTP1_BODY)
        connection_linger(connection); /* its response is out */
    else
        refuse_unread(connection, status);
}

size_t http1_input(struct connection *connection, const unsigned char *bytes, size_t length)
{
    struct http1_connection *http1 = &connection->http1;
    size_t taken = 0;
    while (taken < length && connection->state == CONNECTION_HTTP1 && http1->state != HTTP1_RESPONDING) {
        size_t used;
        if (http1->state == HTTP1_IDLE) {
            deadline_clear(&connection->deadlines, DEADLINE_IDLE);
            if (!server_takes_heads(connection->server)) {
                connection_hold(connection);
                break;
            }
            set_state(http1, HTTP1_HEAD);
            http1->fresh = false;
        }
        http1->input_left = length - taken;
        enum http1_result result = http1_parser_feed(&http1->parser, bytes + taken, length - taken, &used);
        taken += used;
        if (connection->state != CONNECTION_HTTP1)
            break;
        if (result == HTTP1_ERROR) {
            on_parse_error(connection);
            break;
        }
        if (result == HTTP1_COMPLETE)
            on_request_complete(connection);
        else if (http1->body != NULL)
            announce_body(connection, true);
    }
    if (connection->state != CONNECTION_HTTP1)
        return length;
    hold_body(connection);
    if (http1->state == HTTP1_HEAD && connection->deadlines.at[DEADLINE_HEADER] == 0)
        deadline_set(&connection->deadlines, DEADLINE_HEADER, connection->server->settings.header_timeout_ms);
    return taken;
}

void http1_response_complete(struct connection *connection)
{
    struct http1_connection *http1 = &connection->http1;
    struct exchange *exchange = connection->exchange;
    connection->exchange = NULL;
    exchange_complete(exchange);
    if (!http1->response.keep_alive || draining(connection)) {
        connection_linger(connection);
        return;
    }
    if (http1->state == HTTP1_RESPONDING) {
        become_idle(connection);
    } else {
        http1->discarded = 0;
        deadline_clear(&connection->deadlines, DEADLINE_HTTP);
        deadline_clear(&connection->deadlines, DEADLINE_BODY);
        deadline_set(&connection->deadlines, DEADLINE_IDLE, connection->server->settings.close_timeout_ms);
    }
    connection_resume(connection);
}

static void respond(struct connection *connection, const struct command *command)
{
    struct http1_connection *http1 = &connection->http1;
    struct http1_identity identity = server_identity(connection->server);
    /* Who waits for 100 Continue may send the body all the same, or not: what comes next could be either. */
    if (http1->websocket || http1->continue_pending || draining(connection))
        http1->response.keep_alive = false;
    http1->responded = true;
    http1->continue_pending = false;
    if (http1_write_head(&http1->response, transport_out(&connection->transport), command, &identity) != 0) {
        connection_close(connection, &(struct ending){ .cause = DISCONNECT_CLIENT });
        return;
    }
    size_t head = command->response.head_length;
    http1->body_out.ended = !command->response.more && !command->response.trailers;
    response_body_write(connection, command->bytes + head, command->length - head, command->response.more);
}

static void send_continue(struct connection *connection)
{
    if (!connection->http1.continue_pending)
        return;
    connection->http1.continue_pending = false;
    hold_body(connection);
    if (buffer_append_string(transport_out(&connection->transport), "HTTP/1.1 100 Continue\r\n\r\n") == 0)
        connection_cork(connection);
}

void http1_command(struct connection *connection, struct command *command)
{
    struct http1_connection *http1 = &connection->http1;
    switch (command->kind) {
    case COMMAND_RESPOND:
        connection->exchange->unacknowledged += command_charge(command);
        if (!http1->responded)
            respond(connection, command);
        break;
    case COMMAND_BODY:
    case COMMAND_FILE:
    case COMMAND_TRAILERS:
        connection->exchange->unacknowledged += command_charge(command);
        if (http1->responded)
            response_body_command(connection, command);
        break;
    case COMMAND_HINT:
        connection->exchange->unacknowledged += command_charge(command);
        response_body_hint(connection, command);
        connection_cork(connection);
        break;
    case COMMAND_CLOSE:
        if (http1->websocket && !http1->responded)
            end_with(connection, DISCONNECT_APPLICATION, 403, 1006);
        break;
    case COMMAND_KICK:
        end_with(connection, DISCONNECT_OVERFLOW, 503, command->code);
        break;
    case COMMAND_CONSUMED:
        send_continue(connection);
        if (exchange_consumed(connection->exchange, command->amount))
            connection_resume(connection);
        break;
    default:
        break;
    }
}

void http1_deadline(struct connection *connection, int which)
{
    if (which == DEADLINE_IDLE && connection_is_writing(connection)) {
        deadline_set(&connection->deadlines, DEADLINE_IDLE, connection->server->settings.keep_alive_timeout_ms);
    } else if (which == DEADLINE_IDLE) {
        server_count_timeout(connection->server, &connection->server->counters.idle_timeouts_total);
        connection_close(connection, NULL);
    } else if (which == DEADLINE_HEADER) {
        server_count_timeout(connection->server, &connection->server->counters.header_timeouts_total);
        refuse_unread(connection, 408);
    } else if (which == DEADLINE_BODY) {
        on_body_deadline(connection);
    } else if (which == DEADLINE_HTTP && connection->exchange != NULL) {
        count(&connection->server->counters.timeouts_total, 1);
        end_with(connection, DISCONNECT_HTTP_TIMEOUT, 503, 0);
    } else if (which == DEADLINE_CONNECT && connection->exchange != NULL && !connection->http1.responded) {
        count(&connection->server->counters.timeouts_total, 1);
        end_with(connection, DISCONNECT_CONNECT_TIMEOUT, 503, 1006);
    }
}

void http1_finished(struct connection *connection)
{
    if (connection->http1.body_out.ended) {
        /* A file is on its way. What comes of the request's body is for nobody. */
        if (exchange_consumed(connection->exchange, SIZE_MAX))
            connection_resume(connection);
        return;
    }
    end_with(connection, DISCONNECT_APPLICATION, 500, 1006);
}

void http1_drain(struct connection *connection)
{
    struct http1_connection *http1 = &connection->http1;
    if (http1->websocket && connection->exchange != NULL && !http1->responded)
        end_with(connection, DISCONNECT_SHUTDOWN, 503, 1006);
    else if (connection->exchange != NULL || http1->state == HTTP1_HEAD || connection_is_held(connection))
        return; /* its response will say Connection: close */
    else if (http1->fresh)
        /* The client has just been taken, perhaps from another worker of the same socket, and is not to be refused. */
        deadline_set(&connection->deadlines, DEADLINE_IDLE, FIRST_REQUEST_MS);
    else if (transport_unwritten(&connection->transport) > 0)
        connection_linger(connection);
    else
        connection_close(connection, NULL);
}
