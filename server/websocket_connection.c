#include "server/websocket_connection.h"

#include <string.h>

#include "base/alloc.h"
#include "server/command.h"
#include "server/connection.h"
#include "server/event_create.h"
#include "server/server_state.h"
#include "server/squeeze.h"
#include "server/work.h"

/* RFC 6455, 7.4.1; and its registry: the client comes back, and reads a snapshot. */
enum { CLOSE_POLICY_VIOLATION = 1008, CLOSE_TRY_AGAIN_LATER = 1013 };

static bool on_message(void *context, bool text, const unsigned char *bytes, size_t length)
{
    struct connection *connection = context;
    deadline_clear(&connection->deadlines, DEADLINE_BODY);
    if (connection->exchange == NULL)
        return true; /* we are closing: nobody listens */
    count(&connection->server->counters.messages_in_total, 1);
    struct event *event = event_create(EVENT_MESSAGE, connection->exchange->id, bytes, length);
    if (event == NULL) {
        websocket_close(connection, 1011, NULL, 0, DISCONNECT_TOO_LARGE);
        return true;
    }
    event->text = text;
    exchange_announce(connection->exchange, event);
    return !connection->exchange->paused;
}

static void on_ping(void *context, const unsigned char *bytes, size_t length)
{
    struct connection *connection = context;
    /* A peer that pings and does not read gets no answer: RFC 6455, 5.5.3 lets later pings stand for earlier ones. Messages in the outbox
     * may wait for us, not for the peer. */
    size_t unwritten = transport_unwritten_own(&connection->transport) - connection->transport.out.own_frames;
    if (connection->websocket.closing || unwritten > PONG_LIMIT)
        return;
    if (websocket_write(transport_out(&connection->transport), WEBSOCKET_PONG, bytes, length) == 0)
        connection_cork(connection);
}

static const struct websocket_callbacks callbacks = { on_message, on_ping };

void websocket_accept(struct connection *connection, const struct command *command)
{
    struct server *server = connection->server;
    struct http1_identity identity = server_identity(server);
    if (!connection->http1.websocket || connection->http1.responded)
        return;
    struct deflate_terms terms = connection->http1.deflate;
    struct deflate *deflate = terms.agreed ? deflate_create(&terms, &server->settings, &server->deflate_pool) : NULL;
    terms.agreed = deflate != NULL;
    if (handshake_write(transport_out(&connection->transport), command, connection->http1.accept, &terms, &identity) != 0) {
        deflate_destroy(deflate);
        connection_close(connection, &(struct ending){ .cause = DISCONNECT_CLIENT, .code = 1006 });
        return;
    }
    http1_connection_deinit(connection);
    websocket_begin(connection, deflate);
}

void websocket_begin(struct connection *connection, struct deflate *deflate)
{
    struct server *server = connection->server;
    connection->protocol = PROTOCOL_WEBSOCKET;
    connection_set_state(connection, CONNECTION_WEBSOCKET);
    connection->websocket = (struct websocket_connection){ .last_read = uv_now(&server->loop) };
    count(&server->counters.websockets, 1);
    if (websocket_init(&connection->websocket.session, &server->settings, deflate, &callbacks, connection) != 0) {
        connection_close(connection, &(struct ending){ .cause = DISCONNECT_CLIENT, .code = 1006 });
        return;
    }
    count(&server->counters.websockets_total, 1);
    memset(connection->deadlines.at, 0, sizeof connection->deadlines.at);
    deadline_set(&connection->deadlines, DEADLINE_LIFETIME, server->settings.websocket_timeout_ms);
    deadline_set(&connection->deadlines, DEADLINE_PING, server->settings.ping_interval_ms);
    connection_cork(connection);
    connection_resume(connection);
}

void websocket_connection_deinit(struct connection *connection)
{
    deflating_destroy(connection->websocket.deflating);
    websocket_deinit(&connection->websocket.session);
    count(&connection->server->counters.websockets, (uint64_t)-1);
}

/* Writes a close frame, unless one is out; the exchange ends. The application hears as much of the reason as the client. */
static void say_goodbye(struct connection *connection, uint16_t code, const unsigned char *reason, size_t length,
                        enum disconnect_cause cause)
{
    length = websocket_cut_reason(reason, length);
    if (!connection->websocket.closing) {
        websocket_write_close(transport_out(&connection->transport), code, reason, length);
        connection->websocket.closing = true;
        connection_cork(connection);
    }
    connection_end_exchange(connection, &(struct ending){ .cause = cause, .code = code, .reason = reason, .reason_length = length });
}

/* The client has broken the protocol, and the application has answered what came before. */
static void finish_failure(struct connection *connection)
{
    uint16_t code = connection->websocket.session.code;
    say_goodbye(connection, code, NULL, 0, code == 1009 ? DISCONNECT_TOO_LARGE : DISCONNECT_PROTOCOL_ERROR);
    connection_linger(connection);
}

static void begin_failure(struct connection *connection)
{
    struct exchange *exchange = connection->exchange;
    connection_blame(connection);
    struct event *ask = exchange != NULL ? event_create(EVENT_ASK, exchange->id, NULL, 0) : NULL;
    if (ask == NULL) {
        finish_failure(connection);
        return;
    }
    connection->websocket.failed = true;
    deadline_clear(&connection->deadlines, DEADLINE_BODY);
    deadline_set(&connection->deadlines, DEADLINE_LINGER, connection->server->settings.close_timeout_ms);
    server_announce(connection->server, ask);
}

void websocket_close(struct connection *connection, uint16_t code, const unsigned char *reason, size_t length,
                     enum disconnect_cause cause)
{
    say_goodbye(connection, code, reason, length, cause);
    if (connection->websocket.failed) { /* what follows cannot be read: there is no close frame to wait for */
        connection_linger(connection);
        return;
    }
    memset(connection->deadlines.at, 0, sizeof connection->deadlines.at);
    deadline_set(&connection->deadlines, DEADLINE_LINGER, connection->server->settings.close_timeout_ms);
    connection_resume(connection); /* what was paused is read on, to find the peer's close frame */
}

/* A window in which some of the message must come begins. */
static void expect_message(struct connection *connection)
{
    struct websocket_connection *websocket = &connection->websocket;
    pace_begin(&websocket->message_pace, websocket->session.data_bytes, uv_now(&connection->server->loop));
    deadline_set(&connection->deadlines, DEADLINE_BODY, connection->server->settings.body_timeout_ms);
}

/* Input has been taken. Each message has windows of its own: on_message() has ended those of the one before. The time in which we take
 * nothing does not count. */
static void watch_message(struct connection *connection)
{
    bool held = connection_is_paused(connection);
    if (connection->exchange == NULL || !websocket_is_incomplete(&connection->websocket.session))
        deadline_clear(&connection->deadlines, DEADLINE_BODY);
    else if (connection->deadlines.at[DEADLINE_BODY] != 0)
        pace_hold(&connection->websocket.message_pace, held, uv_now(&connection->server->loop));
    else if (!held)
        expect_message(connection);
}

/* The window is over, unless the client was not read for a part of it: then that part is added. */
static void on_message_deadline(struct connection *connection)
{
    struct websocket_connection *websocket = &connection->websocket;
    struct server *server = connection->server;
    uint64_t now = uv_now(&server->loop), timeout = server->settings.body_timeout_ms;
    uint64_t passed = pace_time(&websocket->message_pace, now);
    if (passed < timeout) {
        deadline_set(&connection->deadlines, DEADLINE_BODY, timeout - passed);
        return;
    }
    if (pace_is_kept(&websocket->message_pace, websocket->session.data_bytes, now, server->settings.min_rate)) {
        expect_message(connection);
        return;
    }
    server_count_timeout(server, &server->counters.body_timeouts_total);
    say_goodbye(connection, CLOSE_POLICY_VIOLATION, NULL, 0, DISCONNECT_SLOW);
    connection_linger(connection);
}

static void add_work(struct connection *connection)
{
    if (connection->state != CONNECTION_CLOSED)
        work_add(connection->server, &connection->work);
}

size_t websocket_input(struct connection *connection, const unsigned char *bytes, size_t length)
{
    struct websocket *session = &connection->websocket.session;
    size_t taken;
    size_t reason_length;
    if (connection->websocket.failed)
        return length;
    if (connection_is_paused(connection))
        return 0;
    switch (websocket_feed(session, bytes, length, &taken)) {
    case WEBSOCKET_BUSY:
        connection->websocket.busy = true;
        add_work(connection);
        /* fall through */
    case WEBSOCKET_MORE:
    case WEBSOCKET_PAUSED:
        watch_message(connection);
        return connection->state == CONNECTION_WEBSOCKET ? taken : length;
    case WEBSOCKET_CLOSED: {
        const unsigned char *reason = websocket_reason(session, &reason_length);
        /* RFC 6455, 5.5.1: the answer echoes the code. */
        say_goodbye(connection, session->code, reason, reason_length, DISCONNECT_CLIENT);
        connection_linger(connection);
        break;
    }
    case WEBSOCKET_FAILED:
        begin_failure(connection);
        break;
    }
    return length;
}

/* Whether it is to be compressed in slices: it is large, or has to wait for another one that is. */
static bool takes_turns(const struct connection *connection, size_t length)
{
    const struct deflate *deflate = connection->websocket.session.deflate;
    return deflate != NULL && deflate_is_worth_trying(deflate, length) &&
           (length > WEBSOCKET_SLICE || outbox_is_shut(&connection->transport.out));
}

/* Puts the message into the outbox, to be compressed there. False: there is no memory. */
static bool send_in_turns(struct connection *connection, const struct command *command)
{
    struct broadcast *message = broadcast_create_own(command->text, false, command->bytes, command->length);
    if (message == NULL)
        return false;
    message->unsettled = true;
    bool taken = outbox_put(&connection->transport.out, message) == 0;
    broadcast_release(message);
    if (taken)
        add_work(connection);
    return taken;
}

/* The message at the gate is compressed, or is sent as it is, where instead is NULL. */
static void settle(struct connection *connection, struct broadcast *message, struct broadcast *instead)
{
    struct websocket_connection *websocket = &connection->websocket;
    deflating_destroy(websocket->deflating);
    websocket->deflating = NULL;
    message->unsettled = false;
    message->instead = instead;
    outbox_settle(&connection->transport.out);
    connection_cork(connection);
}

/* The message at the gate, if it is the application's: others are compressed by squeeze.c. */
static struct broadcast *own_message(const struct connection *connection)
{
    struct broadcast *message = outbox_gate(&connection->transport.out);
    return message != NULL && message->policy == BROADCAST_OWN ? message : NULL;
}

/* A slice of the message at the gate. */
static void compress(struct connection *connection)
{
    struct websocket_connection *websocket = &connection->websocket;
    struct deflate *deflate = websocket->session.deflate;
    struct broadcast *message = own_message(connection);
    enum deflating_result result = DEFLATING_FAILED;
    struct broadcast *instead = NULL;
    if (message == NULL)
        return;
    if (websocket->deflating == NULL)
        websocket->deflating = deflating_create(deflate, broadcast_payload(message), message->payload_length);
    if (websocket->deflating != NULL)
        result = deflating_step(websocket->deflating, WEBSOCKET_SLICE);
    if (result == DEFLATING_MORE)
        return;
    if (result == DEFLATING_DONE) {
        size_t length;
        const unsigned char *bytes = deflating_bytes(websocket->deflating, &length);
        instead = broadcast_create_own(message->bytes[0] == (0x80 | WEBSOCKET_TEXT), true, bytes, length);
        if (instead == NULL)
            deflate_forget(deflate);
    }
    settle(connection, message, instead);
}

void websocket_work(struct connection *connection)
{
    struct websocket_connection *websocket = &connection->websocket;
    if (websocket->busy) {
        websocket->busy = false;
        connection_resume(connection);
    }
    if (connection->state == CONNECTION_CLOSED)
        return;
    compress(connection);
    if (own_message(connection) != NULL)
        add_work(connection);
}

void websocket_settle(struct connection *connection)
{
    outbox_settle(&connection->transport.out);
    connection_cork(connection);
    if (own_message(connection) != NULL)
        add_work(connection);
}

/* 0, or -1: there is no memory. Behind a message that is still to be compressed nothing is compressed. */
static int send_at_once(struct connection *connection, const struct command *command)
{
    unsigned char header[WEBSOCKET_HEADER_SIZE];
    struct deflate *deflate = connection->websocket.session.deflate;
    size_t length = command->length;
    unsigned char *compressed = NULL;
    if (deflate != NULL && !outbox_is_shut(&connection->transport.out))
        compressed = deflate_message(deflate, command->bytes, command->length, &length);
    size_t header_length = websocket_header(header, command->text ? WEBSOCKET_TEXT : WEBSOCKET_BINARY, compressed != NULL, length);
    uv_buf_t pieces[2] = {
        uv_buf_init((char *)header, (unsigned)header_length),
        { .base = (char *)(compressed != NULL ? compressed : command->bytes), .len = length },
    };
    int result = transport_write(&connection->transport, pieces, 2);
    mem_free(compressed);
    return result;
}

static void send_message(struct connection *connection, const struct command *command)
{
    bool in_turns = takes_turns(connection, command->length) && send_in_turns(connection, command);
    connection->exchange->unacknowledged += command_cost(command->length);
    if (!in_turns && send_at_once(connection, command) != 0) {
        connection_close(connection, &(struct ending){ .cause = DISCONNECT_CLIENT, .code = 1006 });
        return;
    }
    count(&connection->server->counters.messages_out_total, 1);
    count(&connection->server->counters.bytes_out_total, command->length);
    connection_cork(connection);
}

/* What this socket gets of a broadcast: the message, or its one compressed form, made for the first socket that can read it; a stand-in,
 * where that takes long. */
static struct broadcast *variant(struct connection *connection, struct command *command)
{
    struct server *server = connection->server;
    struct deflate *deflate = connection->websocket.session.deflate;
    struct broadcast *message = command->broadcast.message;
    if (deflate == NULL || !deflate_reads_shared(deflate, &server->settings) || command->broadcast.compressing_failed)
        return message;
    if (outbox_is_shut(&connection->transport.out) && deflate_has_takeover(deflate))
        return message; /* what is still to be compressed before it must not be made to forget by what comes behind */
    if (command->broadcast.compressed == NULL && message->payload_length > WEBSOCKET_SLICE) {
        command->broadcast.compressing_failed = squeeze_begin(server, command) != 0;
        if (command->broadcast.compressing_failed)
            return message;
    }
    if (command->broadcast.compressed == NULL) {
        size_t length;
        unsigned char *bytes = deflate_shared(&server->deflate_pool, &server->settings, broadcast_payload(message), message->payload_length,
                                              &length);
        command->broadcast.compressed = bytes != NULL ? broadcast_compressed(message, bytes, length) : NULL;
        mem_free(bytes);
        command->broadcast.compressing_failed = command->broadcast.compressed == NULL;
        if (command->broadcast.compressing_failed)
            return message;
    }
    deflate_forget(deflate);
    return command->broadcast.compressed;
}

void websocket_broadcast(struct connection *connection, struct command *command, uint64_t label)
{
    struct server *server = connection->server;
    struct broadcast *message = command->broadcast.message;
    size_t limit = server->settings.websocket_write_limit;
    if (connection->websocket.closing)
        return;
    if (message == NULL) {
        websocket_close(connection, command->broadcast.code, command->bytes, command->length, DISCONNECT_APPLICATION);
        return;
    }
    message = variant(connection, command);
    limit = limit != 0 ? limit : SIZE_MAX;
    /* Many may come at once, before anything has been written: only what the socket does not take counts as waiting. */
    if (outbox_is_full(&connection->transport.out, message, limit))
        connection_push(connection);
    if (connection->state != CONNECTION_WEBSOCKET || connection->websocket.closing)
        return;
    switch (transport_broadcast(&connection->transport, message, label, limit)) {
    case OUTBOX_OK:
        count(&server->counters.relayed_total, 1);
        count(&server->counters.messages_out_total, 1);
        count(&server->counters.bytes_out_total, message->payload_length);
        connection_cork(connection);
        if (message->unsettled)
            squeeze_await(connection);
        break;
    case OUTBOX_CLOSE:
        count(&server->counters.kicks_total, 1);
        transport_drop_broadcasts(&connection->transport);
        websocket_close(connection, CLOSE_TRY_AGAIN_LATER, NULL, 0, DISCONNECT_OVERFLOW);
        break;
    case OUTBOX_DROPPED:
    case OUTBOX_NO_MEMORY:
        break;
    }
}

void websocket_command(struct connection *connection, struct command *command)
{
    switch (command->kind) {
    case COMMAND_MESSAGE:
        send_message(connection, command);
        break;
    case COMMAND_CLOSE:
        websocket_close(connection, command->code, command->bytes, command->length, DISCONNECT_APPLICATION);
        break;
    case COMMAND_KICK:
        websocket_close(connection, command->code, NULL, 0, DISCONNECT_OVERFLOW);
        break;
    case COMMAND_WAITS:
        if (connection->websocket.failed)
            finish_failure(connection);
        break;
    case COMMAND_CONSUMED:
        if (exchange_consumed(connection->exchange, command->amount))
            connection_resume(connection);
        break;
    default:
        break;
    }
}

/* Our refusal to read is no silence of the client's: it begins anew. */
static void excuse_unread(struct connection *connection)
{
    if (connection_is_paused(connection))
        connection->websocket.last_read = uv_now(&connection->server->loop);
}

/* A ping waits for anything from the client. What came in the ping's own millisecond came after it: before, there was silence. */
static bool is_unanswered(const struct websocket_connection *websocket)
{
    return websocket->pinged > websocket->last_read;
}

/* Looks every interval, or when the silence would be that long, whether to ping; one ping at a time waits for its answer. */
static void on_silence(struct connection *connection)
{
    struct websocket_connection *websocket = &connection->websocket;
    if (websocket->session.deflate != NULL)
        deflate_rest(websocket->session.deflate);
    const struct server_settings *settings = &connection->server->settings;
    uint64_t now = uv_now(&connection->server->loop);
    excuse_unread(connection);
    uint64_t silence = now - websocket->last_read;
    if (silence < settings->ping_interval_ms) {
        deadline_set(&connection->deadlines, DEADLINE_PING, settings->ping_interval_ms - silence);
        return;
    }
    deadline_set(&connection->deadlines, DEADLINE_PING, settings->ping_interval_ms);
    if (is_unanswered(websocket) && settings->ping_timeout_ms != 0)
        return;
    if (websocket_write(transport_out(&connection->transport), WEBSOCKET_PING, NULL, 0) == 0)
        connection_cork(connection);
    websocket->pinged = now;
    deadline_set(&connection->deadlines, DEADLINE_PONG, settings->ping_timeout_ms);
}

static void on_no_pong(struct connection *connection)
{
    excuse_unread(connection);
    if (!is_unanswered(&connection->websocket))
        return;
    server_count_timeout(connection->server, &connection->server->counters.ping_timeouts_total);
    connection_close(connection, &(struct ending){ .cause = DISCONNECT_PING_TIMEOUT, .code = 1006 });
}

void websocket_deadline(struct connection *connection, int which)
{
    if (which == DEADLINE_PING) {
        on_silence(connection);
    } else if (which == DEADLINE_PONG) {
        on_no_pong(connection);
    } else if (which == DEADLINE_BODY) {
        on_message_deadline(connection);
    } else if (which == DEADLINE_LIFETIME) {
        count(&connection->server->counters.timeouts_total, 1);
        websocket_close(connection, 1000, NULL, 0, DISCONNECT_LIFETIME);
    } else if (which == DEADLINE_LINGER && connection->websocket.failed) {
        finish_failure(connection);
    } else if (which == DEADLINE_LINGER && connection_is_writing(connection)) {
        deadline_set(&connection->deadlines, DEADLINE_LINGER, connection->server->settings.close_timeout_ms);
    } else if (which == DEADLINE_LINGER) {
        connection_close(connection, &(struct ending){ .cause = DISCONNECT_CLIENT, .code = 1006 });
    }
}
