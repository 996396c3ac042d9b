#include "server/http2_stream.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "server/command.h"
#include "server/connection.h"
#include "server/event_create.h"
#include "server/handshake.h"
#include "server/http2_writer.h"
#include "server/refusal.h"
#include "server/server_state.h"
#include "server/tls_info.h"

struct http2_stream *http2_stream_create(struct http2_session *session, int32_t id)
{
    struct http2_stream *stream = mem_try_alloc(sizeof *stream);
    if (stream == NULL)
        return NULL;
    *stream = (struct http2_stream){ .session = session, .id = id, .code = NGHTTP2_CANCEL };
    http2_head_init(&stream->head);
    stream->connection = connection_create_stream(session->connection, stream);
    list_append(&session->streams, &stream->of_session);
    session->stream_count++;
    return stream;
}

void http2_stream_destroy(struct http2_stream *stream)
{
    assert(stream->session == NULL);
    http2_head_deinit(&stream->head);
    response_body_deinit(&stream->body_out);
    command_destroy(stream->trailers);
    mem_free(stream);
}

/* The session forgets the stream. */
static void leave(struct http2_stream *stream)
{
    struct http2_session *session = stream->session;
    if (session == NULL)
        return;
    nghttp2_session_set_stream_user_data(session->nghttp2, stream->id, NULL);
    list_remove(&stream->of_session);
    stream->session = NULL;
    session->stream_count--;
    http2_stream_gone(session);
}

void http2_stream_detach(struct http2_stream *stream)
{
    struct http2_session *session = stream->session;
    if (session != NULL && !session->failed)
        http2_check(session, nghttp2_submit_rst_stream(session->nghttp2, NGHTTP2_FLAG_NONE, stream->id, stream->code));
    leave(stream);
}

void http2_stream_closed(struct http2_stream *stream)
{
    struct connection *connection = stream->connection;
    leave(stream);
    connection_close(connection, &(struct ending){ .cause = DISCONNECT_CLIENT, .code = 1006 });
}

/* The data source. Returns how many bytes of the outbox the next DATA frame holds; nghttp2 then calls send_data() at once, which
 * moves them. */
static ssize_t on_wanted(nghttp2_session *nghttp2, int32_t id, uint8_t *room, size_t length, uint32_t *flags, nghttp2_data_source *source,
                         void *context)
{
    struct http2_stream *stream = http2_find_stream(context, id);
    (void)room;
    (void)source;
    if (stream == NULL)
        return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE; /* our stream has been closed: nghttp2 resets it, unless it already has */
    struct transport *transport = &stream->connection->transport;
    transport_load(transport);
    if (stream->session == NULL)
        return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE; /* its file has been cut off */
    size_t waiting = outbox_ready(&transport->out);
    bool finishing = transport->finishing && !outbox_is_shut(&transport->out);
    stream->starved = waiting == 0 && !finishing;
    if (stream->starved)
        return NGHTTP2_ERR_DEFERRED;
    *flags = NGHTTP2_DATA_FLAG_NO_COPY;
    if (waiting <= length && finishing) {
        *flags |= NGHTTP2_DATA_FLAG_EOF;
        if (stream->trailers != NULL && http2_write_trailers(nghttp2, id, stream->trailers) == 0)
            *flags |= NGHTTP2_DATA_FLAG_NO_END_STREAM;
    }
    return (ssize_t)(waiting < length ? waiting : length);
}

void http2_stream_give(struct http2_stream *stream, struct buffer *out, size_t length)
{
    struct transport *transport = &stream->connection->transport;
    while (length > 0) {
        uv_buf_t piece;
        unsigned pieces = outbox_pieces(&transport->out, &piece, 1);
        assert(pieces == 1); /* on_wanted() has just seen them */
        size_t part = piece.len < length ? piece.len : length;
        buffer_append(out, piece.base, part);
        transport_carried(transport, part);
        length -= part;
    }
}

/* source.ptr stays NULL: nghttp2 may call the data source after our stream has been freed. */
static const nghttp2_data_provider body_source = { .read_callback = on_wanted };

void http2_stream_ready(struct http2_stream *stream)
{
    struct http2_session *session = stream->session;
    if (session == NULL)
        return;
    if (stream->starved)
        http2_check(session, nghttp2_session_resume_data(session->nghttp2, stream->id));
    stream->starved = false;
    connection_cork(session->connection);
}

static struct server *server_of(const struct http2_stream *stream)
{
    return stream->connection->server;
}

void http2_stream_cut(struct connection *connection, const struct ending *ending)
{
    struct http2_stream *stream = connection->stream;
    if (stream->session != NULL)
        http2_push(stream->session); /* what there is of it goes out before */
    stream->code = NGHTTP2_INTERNAL_ERROR;
    connection_close(connection, ending);
}

/* There is no memory for a head, or the exchange has ended and the rest of its response will not come. */
static void fail(struct http2_stream *stream)
{
    http2_stream_cut(stream->connection, &(struct ending){ .cause = DISCONNECT_CLIENT, .code = 1006 });
}

/* Answers by itself; the exchange, if there is one, must have ended. */
static void answer(struct http2_stream *stream, uint16_t status)
{
    struct connection *connection = stream->connection;
    struct server *server = server_of(stream);
    struct http1_identity identity = server_identity(server);
    char text[64];
    size_t length = (size_t)snprintf(text, sizeof text, "%s\n", http1_reason(status));
    if (status < 500 && status != 403) /* 403 is the application's */
        count(&server->counters.bad_requests_total, 1);
    stream->responded = true;
    uv_buf_t piece = uv_buf_init(text, (unsigned)length);
    if (stream->session == NULL ||
        http2_write_error(stream->session->nghttp2, stream->id, status, length, &identity, stream->response.head ? NULL : &body_source) != 0 ||
        (!stream->response.head && transport_write(&connection->transport, &piece, 1) != 0))
        fail(stream);
    else
        connection_linger(connection);
}

void http2_stream_tell_refused(const struct http2_stream *stream, uint16_t status)
{
    const struct http2_head *head = &stream->head;
    refusal_announce(stream->session->connection, status, NULL, head->arena.bytes, head->method, head->target);
}

/* Ends the exchange with an answer of our own, or by cutting the response off. */
static void end_with(struct http2_stream *stream, enum disconnect_cause cause, uint16_t status, uint16_t code)
{
    bool responded = stream->responded;
    connection_end_exchange(stream->connection, &(struct ending){ .cause = cause, .status = responded ? 0 : status, .code = code });
    if (!responded)
        answer(stream, status);
    else
        fail(stream);
}

/* As in http1_connection.c: the time in which the client cannot send does not count. */
static void hold_body(struct http2_stream *stream)
{
    struct connection *connection = stream->connection;
    pace_hold(&stream->body_pace, connection_is_paused(connection) || stream->continue_pending, uv_now(&connection->server->loop));
}

static void expect_body(struct http2_stream *stream)
{
    struct connection *connection = stream->connection;
    pace_begin(&stream->body_pace, stream->body_bytes, uv_now(&connection->server->loop));
    hold_body(stream);
    deadline_set(&connection->deadlines, DEADLINE_BODY, connection->server->settings.body_timeout_ms);
}

static void on_body_deadline(struct http2_stream *stream)
{
    struct connection *connection = stream->connection;
    struct server *server = connection->server;
    uint64_t now = uv_now(&server->loop), timeout = server->settings.body_timeout_ms;
    uint64_t passed = pace_time(&stream->body_pace, now);
    if (connection->exchange == NULL || stream->input_ended)
        return;
    if (passed < timeout) {
        deadline_set(&connection->deadlines, DEADLINE_BODY, timeout - passed);
        return;
    }
    if (pace_is_kept(&stream->body_pace, stream->body_bytes, now, server->settings.min_rate)) {
        expect_body(stream);
        return;
    }
    server_count_timeout(server, &server->counters.body_timeouts_total);
    end_with(stream, DISCONNECT_SLOW, 408, 0);
}

static void fill_in(struct http2_stream *stream, struct request_event *request)
{
    struct connection *carrier = stream->session->connection;
    request->connection = carrier->id;
    request->owner = stream->connection->exchange->owner;
    request->endpoints = carrier->endpoints;
    request->websocket = stream->websocket;
    request->secure = carrier->transport.tls != NULL;
    request->tls = tls_info_retain(transport_tls_info(&carrier->transport));
}

/* The head is fine: the application shall have it. */
static void begin_exchange(struct http2_stream *stream, const struct http1_head *head)
{
    struct connection *connection = stream->connection;
    struct server *server = connection->server;
    struct request_event *request = request_event_create(head);
    connection->exchange = request != NULL ? exchange_begin(server, connection, stream->websocket) : NULL;
    if (connection->exchange == NULL) {
        event_destroy((struct event *)request);
        http2_stream_tell_refused(stream, 503);
        end_with(stream, DISCONNECT_PROTOCOL_ERROR, 503, 0);
        return;
    }
    fill_in(stream, request);
    exchange_announce_request(connection->exchange, request);
    if (stream->websocket)
        deadline_set(&connection->deadlines, DEADLINE_CONNECT, server->settings.websocket_connect_timeout_ms);
    else
        deadline_set(&connection->deadlines, DEADLINE_HTTP, server->settings.http_timeout_ms);
    if (head->has_body)
        expect_body(stream);
}

void http2_stream_begin(struct http2_stream *stream, bool has_body)
{
    struct server *server = server_of(stream);
    struct http1_head head = { 0 };
    uint16_t refused = http2_head_finish(&stream->head, has_body, &head);
    count(&server->counters.requests_total, 1);
    stream->response = (struct http1_response){ .minor = 1, .head = stream->head.is_head, .keep_alive = true };
    if (refused == 0) {
        stream->websocket = head.upgrade_websocket;
        stream->continue_pending = head.expect_continue;
        stream->has_body = head.has_body;
    }
    if (refused == 0 && stream->websocket)
        refused = handshake_check_stream(&head, &server->settings, &stream->deflate);
    if (refused == 0 && stream->websocket && server->phase >= SERVER_DRAINING)
        refused = 503;
    if (refused != 0) {
        http2_stream_tell_refused(stream, refused);
        answer(stream, refused);
    } else {
        begin_exchange(stream, &head);
    }
    http2_head_deinit(&stream->head);
    http2_head_init(&stream->head); /* trailers are counted anew */
}

void http2_stream_input(struct http2_stream *stream, const unsigned char *bytes, size_t length)
{
    struct transport *transport = &stream->connection->transport;
    stream->untaken += length;
    transport->callbacks->on_read(transport->context, bytes, length);
}

void http2_stream_input_ended(struct http2_stream *stream)
{
    stream->input_ended = true;
    if (stream->websocket && stream->connection->exchange != NULL)
        connection_blame(stream->connection); /* without a closing handshake: it costs as much as RST_STREAM */
    http2_stream_taken(stream->connection);
}

void http2_stream_said_all(struct http2_stream *stream)
{
    /* RFC 9113, 8.1: what the client still sends of its request is not wanted; nor what comes behind a WebSocket's closing handshake,
     * whose connection a server closes first (RFC 6455, 7.1.1). */
    struct http2_session *session = stream->session;
    if (!stream->input_ended && session != NULL)
        http2_check(session, nghttp2_submit_rst_stream(session->nghttp2, NGHTTP2_FLAG_NONE, stream->id, NGHTTP2_NO_ERROR));
}

/* One event of the body; length 0 with !more is its end. */
static bool announce(struct http2_stream *stream, const unsigned char *bytes, size_t length, bool more)
{
    struct exchange *exchange = stream->connection->exchange;
    struct event *event = event_create(EVENT_BODY, exchange->id, bytes, length);
    if (event == NULL) {
        end_with(stream, DISCONNECT_TOO_LARGE, 503, 0);
        return false;
    }
    event->more = more;
    exchange_announce(exchange, event);
    return true;
}

size_t http2_stream_body(struct connection *connection, const unsigned char *bytes, size_t length)
{
    struct http2_stream *stream = connection->stream;
    const struct server_settings *settings = &connection->server->settings;
    size_t taken = 0;
    if (stream->websocket && connection->exchange != NULL)
        return 0; /* not accepted yet */
    if (length > 0)
        stream->continue_pending = false;
    while (taken < length && connection->exchange != NULL && !connection->exchange->paused) {
        size_t part = length - taken < settings->body_chunk ? length - taken : settings->body_chunk;
        stream->body_bytes += part;
        if (settings->max_body_size != 0 && stream->body_bytes > settings->max_body_size) {
            connection_blame(connection);
            end_with(stream, DISCONNECT_TOO_LARGE, 413, 0);
            break;
        }
        if (!announce(stream, bytes + taken, part, true))
            break;
        taken += part;
    }
    hold_body(stream);
    return connection->exchange == NULL ? length : taken;
}

/* All that came has been taken, and nothing more will come. */
static void tell_end(struct http2_stream *stream)
{
    struct connection *connection = stream->connection;
    stream->input_end_told = true;
    deadline_clear(&connection->deadlines, DEADLINE_BODY);
    if (connection->state == CONNECTION_STREAM && !stream->websocket) {
        if (connection->exchange != NULL && !connection->exchange->finished && stream->has_body)
            announce(stream, NULL, 0, false);
    } else if (connection->state == CONNECTION_WEBSOCKET || connection->exchange != NULL) {
        /* RFC 8441, 5.1: as the end of a TCP connection. */
        connection_close(connection, &(struct ending){ .cause = DISCONNECT_CLIENT, .code = 1006 });
    }
}

void http2_stream_taken(struct connection *connection)
{
    struct http2_stream *stream = connection->stream;
    size_t waiting = buffer_length(&connection->rest);
    if (stream->session == NULL)
        return;
    if (!connection_is_paused(connection) && stream->untaken > waiting) {
        struct http2_session *session = stream->session;
        http2_check(session, nghttp2_session_consume_stream(session->nghttp2, stream->id, stream->untaken - waiting));
        stream->untaken = waiting;
        connection_cork(session->connection);
    }
    if (!stream->input_ended || stream->input_end_told)
        return;
    if (waiting == 0 && !connection_is_paused(connection))
        tell_end(stream);
    else if (stream->websocket)
        connection_watch(connection);
}

void http2_stream_response_complete(struct connection *connection)
{
    struct exchange *exchange = connection->exchange;
    connection->exchange = NULL;
    exchange_complete(exchange);
    connection_linger(connection);
}

void http2_stream_keep_trailers(struct connection *connection, struct command *command)
{
    command->kept = true;
    connection->stream->trailers = command;
}

void http2_stream_hint(struct connection *connection, const struct command *command)
{
    struct http2_stream *stream = connection->stream;
    if (!stream->responded && !stream->websocket && http2_write_hint(stream->session->nghttp2, stream->id, command) == 0)
        connection_cork(stream->session->connection); /* where there is no memory for it, nothing is missing */
}

static void respond(struct http2_stream *stream, const struct command *command)
{
    struct http1_identity identity = server_identity(server_of(stream));
    size_t head = command->response.head_length;
    stream->responded = true;
    stream->continue_pending = false;
    stream->response.trailers = command->response.trailers;
    stream->body_out.ended = !command->response.more && !command->response.trailers;
    if (http2_write_head(stream->session->nghttp2, stream->id, &stream->response, command, &identity, &body_source) != 0)
        fail(stream);
    else
        response_body_write(stream->connection, command->bytes + head, command->length - head, command->response.more);
}

static void accept_websocket(struct http2_stream *stream, const struct command *command)
{
    struct connection *connection = stream->connection;
    struct server *server = connection->server;
    struct http1_identity identity = server_identity(server);
    if (!stream->websocket || stream->responded)
        return;
    struct deflate_terms terms = stream->deflate;
    struct deflate *deflate = terms.agreed ? deflate_create(&terms, &server->settings, &server->deflate_pool) : NULL;
    terms.agreed = deflate != NULL;
    stream->responded = true;
    if (http2_write_accept(stream->session->nghttp2, stream->id, command, &terms, &identity, &body_source) != 0) {
        deflate_destroy(deflate);
        fail(stream);
        return;
    }
    websocket_begin(connection, deflate);
}

static void send_continue(struct http2_stream *stream)
{
    if (!stream->continue_pending)
        return;
    stream->continue_pending = false;
    hold_body(stream);
    if (http2_write_continue(stream->session->nghttp2, stream->id) == 0)
        connection_cork(stream->session->connection);
}

void http2_stream_command(struct connection *connection, struct command *command)
{
    struct http2_stream *stream = connection->stream;
    assert(stream->session != NULL); /* an exchange ends with its stream */
    switch (command->kind) {
    case COMMAND_RESPOND:
        connection->exchange->unacknowledged += command_charge(command);
        if (!stream->responded)
            respond(stream, command);
        break;
    case COMMAND_BODY:
    case COMMAND_FILE:
    case COMMAND_TRAILERS:
        connection->exchange->unacknowledged += command_charge(command);
        if (stream->responded)
            response_body_command(connection, command);
        break;
    case COMMAND_HINT:
        connection->exchange->unacknowledged += command_charge(command);
        response_body_hint(connection, command);
        connection_cork(connection);
        break;
    case COMMAND_ACCEPT:
        accept_websocket(stream, command);
        break;
    case COMMAND_CLOSE:
        if (stream->websocket && !stream->responded)
            end_with(stream, DISCONNECT_APPLICATION, 403, 1006);
        break;
    case COMMAND_KICK:
        end_with(stream, DISCONNECT_OVERFLOW, 503, command->code);
        break;
    case COMMAND_CONSUMED:
        send_continue(stream);
        if (exchange_consumed(connection->exchange, command->amount))
            connection_resume(connection);
        break;
    default:
        break;
    }
}

void http2_stream_deadline(struct connection *connection, int which)
{
    struct http2_stream *stream = connection->stream;
    struct server *server = connection->server;
    if (which == DEADLINE_BODY) {
        on_body_deadline(stream);
    } else if (which == DEADLINE_HTTP && connection->exchange != NULL) {
        count(&server->counters.timeouts_total, 1);
        end_with(stream, DISCONNECT_HTTP_TIMEOUT, 503, 0);
    } else if (which == DEADLINE_CONNECT && connection->exchange != NULL && !stream->responded) {
        count(&server->counters.timeouts_total, 1);
        end_with(stream, DISCONNECT_CONNECT_TIMEOUT, 503, 1006);
    }
}

void http2_stream_finished(struct connection *connection)
{
    if (connection->stream->body_out.ended) {
        /* A file is on its way. What comes of the request's body is for nobody. */
        if (exchange_consumed(connection->exchange, SIZE_MAX))
            connection_resume(connection);
        return;
    }
    end_with(connection->stream, DISCONNECT_APPLICATION, 500, 1006);
}

void http2_stream_drain(struct connection *connection)
{
    struct http2_stream *stream = connection->stream;
    if (stream->websocket && connection->exchange != NULL && !stream->responded)
        end_with(stream, DISCONNECT_SHUTDOWN, 503, 1006);
}
