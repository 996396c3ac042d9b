#include "server/http2_connection.h"

#include <string.h>

#include "base/alloc.h"
#include "server/connection.h"
#include "server/http2_stream.h"
#include "server/load.h"
#include "server/server_state.h"

/* How long the answer to our PING may take when draining. */
enum { LAST_CALL_MS = 1000 };

/* A head is read to its end, and answered with 431, up to this many times the limits of header fields. */
enum { HEAD_PATIENCE = 2 };

bool http2_is_preface(const unsigned char *bytes, size_t length)
{
    return memcmp(bytes, NGHTTP2_CLIENT_MAGIC, length < NGHTTP2_CLIENT_MAGIC_LEN ? length : NGHTTP2_CLIENT_MAGIC_LEN) == 0;
}

/* nghttp2's allocations can fail as ours do. */
static void *allocate(size_t size, void *context)
{
    (void)context;
    return mem_try_alloc(size);
}

static void release(void *memory, void *context)
{
    (void)context;
    mem_free(memory);
}

static void *allocate_zeroed(size_t count, size_t size, void *context)
{
    (void)context;
    void *memory = mem_try_alloc(count * size); /* of nghttp2's own structures: no overflow */
    return memory != NULL ? memset(memory, 0, count * size) : NULL;
}

static void *reallocate(void *memory, size_t size, void *context)
{
    (void)context;
    return mem_try_realloc(memory, size);
}

struct http2_stream *http2_find_stream(struct http2_session *session, int32_t id)
{
    return nghttp2_session_get_stream_user_data(session->nghttp2, id);
}

void http2_check(struct http2_session *session, int error)
{
    if (!nghttp2_is_fatal(error))
        return;
    session->failed = true;
    connection_cork(session->connection); /* the flush closes it */
}

void http2_terminate(struct http2_session *session, uint32_t code)
{
    http2_check(session, nghttp2_session_terminate_session(session->nghttp2, code));
    connection_cork(session->connection);
}

void http2_pay(struct http2_session *session)
{
    struct server *server = session->connection->server;
    unsigned rate = server->settings.http2_control_rate;
    uint64_t now = uv_now(&server->loop);
    if (rate == 0)
        return;
    session->purse += (double)(now - session->filled_at) * rate / 1000;
    if (session->purse > (double)rate * CONTROL_SECONDS)
        session->purse = (double)rate * CONTROL_SECONDS;
    session->filled_at = now;
    session->purse -= 1;
    if (session->purse >= 0 || session->leaving)
        return;
    session->leaving = true;
    count(&server->counters.http2_floods_total, 1);
    http2_terminate(session, NGHTTP2_ENHANCE_YOUR_CALM);
}

/* A stream is reset for its client's fault, which costs as much as a stream that the client resets. */
static void blame(struct http2_session *session)
{
    count(&session->connection->server->counters.bad_requests_total, 1);
    http2_pay(session);
}

/* HEADERS and DATA for streams that are no more. */
static void judge(struct http2_session *session, const nghttp2_frame_hd *header)
{
    if (header->type == NGHTTP2_HEADERS && header->stream_id > session->history.last) {
        http2_history_open(&session->history, header->stream_id);
        return;
    }
    if (nghttp2_session_get_stream_remote_close(session->nghttp2, header->stream_id) >= 0)
        return; /* it is there */
    uint32_t code = http2_history_judge(&session->history, header->stream_id);
    if (code == 0)
        return;
    count(&session->connection->server->counters.bad_requests_total, 1);
    http2_terminate(session, code);
}

/* A frame begins: before nghttp2 sees it, as it passes over some without a word. */
static void on_frame_header(struct http2_session *session, const nghttp2_frame_hd *header)
{
    bool empty = header->length == 0 && !(header->flags & NGHTTP2_FLAG_END_STREAM);
    if (header->type == NGHTTP2_HEADERS || header->type == NGHTTP2_DATA)
        judge(session, header);
    switch (header->type) {
    case NGHTTP2_DATA:
        if (empty)
            http2_pay(session);
        break;
    case NGHTTP2_HEADERS:
    case NGHTTP2_WINDOW_UPDATE:
        break;
    case NGHTTP2_SETTINGS:
    case NGHTTP2_PING:
        if (!(header->flags & NGHTTP2_FLAG_ACK))
            http2_pay(session);
        break;
    default: /* RST_STREAM, PRIORITY, CONTINUATION, GOAWAY, and what we do not know */
        http2_pay(session);
    }
}

/* How many of the bytes belong to the present frame, or to the preface. */
static size_t next_piece(struct http2_session *session, const unsigned char *bytes, size_t length)
{
    size_t taken = 0;
    if (session->preface_left > 0) {
        taken = length < session->preface_left ? length : session->preface_left;
        session->preface_left -= taken;
        return taken;
    }
    if (session->header_length < FRAME_HEADER) {
        taken = FRAME_HEADER - session->header_length;
        taken = length < taken ? length : taken;
        memcpy(session->header + session->header_length, bytes, taken);
        session->header_length += taken;
        if (session->header_length < FRAME_HEADER)
            return taken;
        const unsigned char *header = session->header;
        session->payload_left = (size_t)header[0] << 16 | (size_t)header[1] << 8 | header[2];
        uint32_t id = (uint32_t)header[5] << 24 | (uint32_t)header[6] << 16 | (uint32_t)header[7] << 8 | header[8];
        on_frame_header(session, &(nghttp2_frame_hd){ .length = session->payload_left,
                                                      .stream_id = (int32_t)(id & 0x7fffffff),
                                                      .type = header[3],
                                                      .flags = header[4] });
    }
    size_t payload = length - taken < session->payload_left ? length - taken : session->payload_left;
    session->payload_left -= payload;
    if (session->payload_left == 0)
        session->header_length = 0;
    return taken + payload;
}

/* The frame that has just been read was the last one of a head. */
static bool has_ended_head(const struct http2_session *session)
{
    bool of_head = session->header[3] == NGHTTP2_HEADERS || session->header[3] == NGHTTP2_CONTINUATION;
    return session->header_length == 0 && of_head && session->header[4] & NGHTTP2_FLAG_END_HEADERS;
}

static bool is_request(const nghttp2_frame *frame)
{
    return frame->hd.type == NGHTTP2_HEADERS && frame->headers.cat == NGHTTP2_HCAT_REQUEST;
}

/* Whether the application's thread may be asked for one more. A client that asks for too much pays; for what others ask it does not. */
static bool takes_request(struct http2_session *session)
{
    struct server *server = session->connection->server;
    const struct server_settings *settings = &server->settings;
    const struct load *load = session->connection->load;
    bool running = settings->http2_max_applications != 0 && load->applications >= settings->http2_max_applications;
    bool waiting = settings->head_window != 0 && load_heads(load) >= settings->head_window;
    if (running)
        count(&server->counters.applications_refused_total, 1);
    else if (waiting || !server_takes_heads(server))
        count(&server->counters.heads_refused_total, 1);
    else
        return true;
    if (running || waiting)
        http2_pay(session);
    return false;
}

/* RFC 9113, 8.7: the client may send the request again. */
static int refuse_stream(struct http2_session *session, int32_t id)
{
    http2_check(session, nghttp2_submit_rst_stream(session->nghttp2, NGHTTP2_FLAG_NONE, id, NGHTTP2_REFUSED_STREAM));
    return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
}

static int on_begin_headers(nghttp2_session *nghttp2, const nghttp2_frame *frame, void *context)
{
    struct http2_session *session = context;
    struct connection *connection = session->connection;
    if (connection->deadlines.at[DEADLINE_HEADER] == 0)
        deadline_set(&connection->deadlines, DEADLINE_HEADER, connection->server->settings.header_timeout_ms);
    if (!is_request(frame))
        return 0;
    if (!takes_request(session))
        return refuse_stream(session, frame->hd.stream_id);
    struct http2_stream *stream = http2_stream_create(session, frame->hd.stream_id);
    if (stream == NULL)
        return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE; /* the stream is reset */
    nghttp2_session_set_stream_user_data(nghttp2, frame->hd.stream_id, stream); /* it exists: it cannot fail */
    deadline_clear(&connection->deadlines, DEADLINE_IDLE);
    return 0;
}

static int on_header(nghttp2_session *nghttp2, const nghttp2_frame *frame, const uint8_t *name, size_t name_length, const uint8_t *value,
                     size_t value_length, uint8_t flags, void *context)
{
    struct http2_session *session = context;
    const struct server_settings *settings = &session->connection->server->settings;
    struct http2_stream *stream = http2_find_stream(session, frame->hd.stream_id);
    bool request = is_request(frame);
    (void)flags;
    if (stream == NULL)
        return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE; /* it has been closed */
    if (request)
        http2_head_add(&stream->head, settings, name, name_length, value, value_length);
    else
        http2_head_skip(&stream->head, name_length, value_length); /* ASGI has no place for trailers */
    if (!http2_head_exceeds(&stream->head, settings, request ? HEAD_PATIENCE : 1))
        return 0;
    /* A byte of HPACK can stand for kilobytes: from here on nghttp2 only keeps its table right, and checks no field any more. */
    blame(session);
    if (request)
        http2_stream_tell_refused(stream, 431);
    http2_check(session, nghttp2_submit_rst_stream(nghttp2, NGHTTP2_FLAG_NONE, stream->id, NGHTTP2_ENHANCE_YOUR_CALM));
    return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
}

/* The answer to the PING behind our first GOAWAY: what the client had sent before it knew has come. */
static void leave(struct http2_session *session)
{
    session->leaving = true;
    int32_t last = nghttp2_session_get_last_proc_stream_id(session->nghttp2);
    http2_check(session, nghttp2_submit_goaway(session->nghttp2, NGHTTP2_FLAG_NONE, last, NGHTTP2_NO_ERROR, NULL, 0));
    connection_cork(session->connection);
}

static int on_frame_recv(nghttp2_session *nghttp2, const nghttp2_frame *frame, void *context)
{
    struct http2_session *session = context;
    bool end = frame->hd.flags & NGHTTP2_FLAG_END_STREAM;
    (void)nghttp2;
    if (frame->hd.type == NGHTTP2_PING && frame->hd.flags & NGHTTP2_FLAG_ACK && session->told && !session->leaving)
        leave(session);
    if (frame->hd.type != NGHTTP2_HEADERS && frame->hd.type != NGHTTP2_DATA)
        return 0;
    struct http2_stream *stream = http2_find_stream(session, frame->hd.stream_id);
    if (stream != NULL && is_request(frame))
        http2_stream_begin(stream, !end);
    stream = http2_find_stream(session, frame->hd.stream_id); /* it may have been refused */
    if (stream != NULL && end)
        http2_stream_input_ended(stream);
    return 0;
}

static int on_invalid_frame(nghttp2_session *nghttp2, const nghttp2_frame *frame, int error, void *context)
{
    struct http2_session *session = context;
    struct http2_stream *stream = http2_find_stream(session, frame->hd.stream_id);
    (void)nghttp2;
    if (error == NGHTTP2_ERR_REFUSED_STREAM) {
        count(&session->connection->server->counters.http2_refused_total, 1);
        http2_pay(session);
    } else {
        blame(session);
        if (stream != NULL && is_request(frame))
            http2_stream_tell_refused(stream, 400);
    }
    if (stream != NULL)
        stream->blamed = true;
    return 0;
}

static int on_data_chunk(nghttp2_session *nghttp2, uint8_t flags, int32_t id, const uint8_t *bytes, size_t length, void *context)
{
    struct http2_session *session = context;
    struct http2_stream *stream = http2_find_stream(session, id);
    (void)flags;
    /* The connection's window is open whatever one stream's application does: it must not stop the others. */
    http2_check(session, nghttp2_session_consume_connection(nghttp2, length));
    if (stream != NULL)
        http2_stream_input(stream, bytes, length);
    else
        http2_check(session, nghttp2_session_consume_stream(nghttp2, id, length));
    return 0;
}

static int on_stream_close(nghttp2_session *nghttp2, int32_t id, uint32_t code, void *context)
{
    struct http2_session *session = context;
    struct http2_stream *stream = http2_find_stream(session, id);
    (void)nghttp2;
    (void)code;
    http2_history_end(&session->history, id, HTTP2_ENDED_BY_PEER);
    if (stream != NULL)
        http2_stream_closed(stream);
    return 0;
}

/* A RST_STREAM of ours, or of nghttp2's own. nghttp2 does not tell of all that it finds wrong (a body that contradicts Content-Length, a
 * window that is exceeded), so we see it here, at the latest. */
static void on_reset(struct http2_session *session, const nghttp2_frame *frame)
{
    struct http2_stream *stream = http2_find_stream(session, frame->hd.stream_id);
    http2_history_end(&session->history, frame->hd.stream_id, HTTP2_RESET_BY_US);
    switch (frame->rst_stream.error_code) {
    case NGHTTP2_NO_ERROR:
    case NGHTTP2_INTERNAL_ERROR:
    case NGHTTP2_REFUSED_STREAM:
    case NGHTTP2_CANCEL:
    case NGHTTP2_ENHANCE_YOUR_CALM:
        return; /* ours: who asked for it has blamed the client, if it is the client's fault */
    default:
        if (stream == NULL || !stream->blamed)
            blame(session);
    }
}

static int on_frame_send(nghttp2_session *nghttp2, const nghttp2_frame *frame, void *context)
{
    struct http2_session *session = context;
    (void)nghttp2;
    if (frame->hd.type == NGHTTP2_RST_STREAM)
        on_reset(session, frame);
    if ((frame->hd.type == NGHTTP2_HEADERS || frame->hd.type == NGHTTP2_DATA) && frame->hd.flags & NGHTTP2_FLAG_END_STREAM) {
        struct http2_stream *stream = http2_find_stream(session, frame->hd.stream_id);
        if (stream != NULL)
            http2_stream_said_all(stream);
    }
    return 0;
}

/* Writes the DATA frame that the data source has just announced: the header, then length bytes of the stream's outbox. nghttp2 calls
 * this function directly after the data source, so the outbox still holds those bytes. Never return NGHTTP2_ERR_WOULDBLOCK: nghttp2
 * would call again later with the same length, although the stream may have been reset and freed, or its outbox may have dropped
 * messages, in between. Always write the frame; if the connection is full afterwards, pause nghttp2 before the next one. */
static int send_data(nghttp2_session *nghttp2, nghttp2_frame *frame, const uint8_t *header, size_t length, nghttp2_data_source *source,
                     void *context)
{
    struct http2_session *session = context;
    struct transport *transport = &session->connection->transport;
    struct http2_stream *stream = http2_find_stream(session, frame->hd.stream_id);
    struct buffer *out = transport_out(transport);
    (void)nghttp2;
    (void)source;
    if (stream == NULL)
        return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE; /* nghttp2 resets the stream */
    if (buffer_reserve(out, FRAME_HEADER + length) == NULL)
        return NGHTTP2_ERR_CALLBACK_FAILURE;
    buffer_append(out, header, FRAME_HEADER); /* no padding: we never ask for it */
    http2_stream_give(stream, out, length);
    return transport_unwritten(transport) >= FILL_LIMIT ? NGHTTP2_ERR_PAUSE : 0;
}

static int make_callbacks(nghttp2_session_callbacks **result)
{
    nghttp2_session_callbacks *callbacks;
    if (nghttp2_session_callbacks_new(&callbacks) != 0)
        return -1;
    nghttp2_session_callbacks_set_on_begin_headers_callback(callbacks, on_begin_headers);
    nghttp2_session_callbacks_set_on_header_callback(callbacks, on_header);
    nghttp2_session_callbacks_set_on_frame_recv_callback(callbacks, on_frame_recv);
    nghttp2_session_callbacks_set_on_invalid_frame_recv_callback(callbacks, on_invalid_frame);
    nghttp2_session_callbacks_set_on_data_chunk_recv_callback(callbacks, on_data_chunk);
    nghttp2_session_callbacks_set_on_stream_close_callback(callbacks, on_stream_close);
    nghttp2_session_callbacks_set_on_frame_send_callback(callbacks, on_frame_send);
    nghttp2_session_callbacks_set_send_data_callback(callbacks, send_data);
    *result = callbacks;
    return 0;
}

/* nghttp2 limits the rate of RST_STREAM and of suspicious frames by itself. It would end a connection that keeps http2_control_rate, with
 * another error code, and count nothing: http2_pay() has the only limit. */
static void lift_rate_limits(nghttp2_option *option)
{
    (void)option;
#ifdef NGHTTP2_HAS_STREAM_RESET_RATE_LIMIT
    nghttp2_option_set_stream_reset_rate_limit(option, UINT64_MAX, UINT64_MAX);
#endif
#ifdef NGHTTP2_HAS_GLITCH_RATE_LIMIT
    nghttp2_option_set_glitch_rate_limit(option, UINT64_MAX, UINT64_MAX);
#endif
}

static int make_session(struct http2_session *session)
{
    nghttp2_mem memory = { NULL, allocate, release, allocate_zeroed, reallocate };
    nghttp2_session_callbacks *callbacks;
    nghttp2_option *option;
    if (make_callbacks(&callbacks) != 0)
        return -1;
    int error = nghttp2_option_new(&option);
    if (error == 0) {
        nghttp2_option_set_no_auto_window_update(option, 1);
        nghttp2_option_set_builtin_recv_extension_type(option, NGHTTP2_PRIORITY_UPDATE);
        /* A client that does not know RFC 9218's priorities has RFC 7540's. */
        nghttp2_option_set_server_fallback_rfc7540_priorities(option, 1);
        lift_rate_limits(option);
        error = nghttp2_session_server_new3(&session->nghttp2, callbacks, session, option, &memory);
        nghttp2_option_del(option);
    }
    nghttp2_session_callbacks_del(callbacks);
    return error;
}

/* The first SETTINGS, and a window for the connection that no single stream can use up. */
static int introduce(struct http2_session *session)
{
    enum { LEAST_WINDOW = 65535, MOST_WINDOW = 0x7fffffff, WINDOWS = 16 };
    const struct server_settings *settings = &session->connection->server->settings;
    size_t window = settings->receive_window;
    window = window < LEAST_WINDOW ? LEAST_WINDOW : window > MOST_WINDOW / WINDOWS ? MOST_WINDOW / WINDOWS : window;
    nghttp2_settings_entry entries[] = {
        { NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, settings->http2_max_concurrent_streams },
        { NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, (uint32_t)window },
        { NGHTTP2_SETTINGS_ENABLE_CONNECT_PROTOCOL, 1 },
        { NGHTTP2_SETTINGS_NO_RFC7540_PRIORITIES, 1 },
        { NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE, (uint32_t)settings->max_header_size },
    };
    size_t known = sizeof entries / sizeof entries[0] - (settings->max_header_size == 0);
    int error = nghttp2_submit_settings(session->nghttp2, NGHTTP2_FLAG_NONE, entries, known);
    if (error == 0)
        error = nghttp2_session_set_local_window_size(session->nghttp2, NGHTTP2_FLAG_NONE, 0, (int32_t)(window * WINDOWS));
    return error;
}

void http2_begin(struct connection *connection)
{
    struct server *server = connection->server;
    http1_connection_deinit(connection);
    struct http2_session *session = mem_zalloc(sizeof *session);
    session->connection = connection;
    session->purse = (double)server->settings.http2_control_rate * CONTROL_SECONDS;
    session->filled_at = uv_now(&server->loop);
    session->preface_left = NGHTTP2_CLIENT_MAGIC_LEN;
    list_init(&session->streams);
    unsent_init(&session->unsent);
    connection->http2 = session;
    connection->protocol = PROTOCOL_HTTP2;
    connection_set_load(connection, load_create(server->load));
    connection_set_state(connection, CONNECTION_HTTP2);
    count(&server->counters.http2_connections, 1);
    deadline_clear(&connection->deadlines, DEADLINE_HEADER);
    deadline_set(&connection->deadlines, DEADLINE_IDLE, server->settings.keep_alive_timeout_ms);
    if (make_session(session) != 0 || introduce(session) != 0)
        connection_close(connection, NULL);
    else
        connection_cork(connection);
}

void http2_connection_deinit(struct connection *connection)
{
    struct http2_session *session = connection->http2;
    nghttp2_session_del(session->nghttp2);
    mem_free(session);
    count(&connection->server->counters.http2_connections, (uint64_t)-1);
}

/* Nothing will come any more, or be said. */
static void finish(struct connection *connection)
{
    http2_end_streams(connection, &(struct ending){ .cause = DISCONNECT_PROTOCOL_ERROR, .code = 1006 });
    connection_linger(connection);
}

static bool is_over(const struct http2_session *session)
{
    return !nghttp2_session_want_read(session->nghttp2) && !nghttp2_session_want_write(session->nghttp2);
}

/* nghttp2 takes no more. */
static void fail(struct http2_session *session, ssize_t error)
{
    struct connection *connection = session->connection;
    if (error == NGHTTP2_ERR_NOMEM || error == NGHTTP2_ERR_CALLBACK_FAILURE) {
        session->failed = true;
        connection_close(connection, &(struct ending){ .cause = DISCONNECT_CLIENT, .code = 1006 });
        return;
    }
    bool flooded = error == NGHTTP2_ERR_FLOODED || error == NGHTTP2_ERR_TOO_MANY_CONTINUATIONS;
    count(flooded ? &connection->server->counters.http2_floods_total : &connection->server->counters.bad_requests_total, 1);
    http2_terminate(session, flooded ? NGHTTP2_ENHANCE_YOUR_CALM : NGHTTP2_PROTOCOL_ERROR);
    http2_fill(connection);
    if (connection->state == CONNECTION_HTTP2)
        finish(connection);
}

size_t http2_input(struct connection *connection, const unsigned char *bytes, size_t length)
{
    struct http2_session *session = connection->http2;
    size_t at = 0;
    while (at < length && connection->state == CONNECTION_HTTP2 && !session->failed) {
        size_t piece = next_piece(session, bytes + at, length - at);
        session->busy = true;
        ssize_t taken = nghttp2_session_mem_recv(session->nghttp2, bytes + at, piece);
        session->busy = false;
        at += piece;
        if (has_ended_head(session))
            deadline_clear(&connection->deadlines, DEADLINE_HEADER);
        if (taken < 0 && connection->state == CONNECTION_HTTP2)
            fail(session, taken);
    }
    connection_cork(connection);
    return length;
}

void http2_fill(struct connection *connection)
{
    struct http2_session *session = connection->http2;
    const uint8_t *bytes;
    ssize_t length = 0;
    session->busy = true;
    while (!session->failed && transport_unwritten(&connection->transport) < FILL_LIMIT &&
           (length = nghttp2_session_mem_send(session->nghttp2, &bytes)) > 0)
        session->failed = buffer_append(transport_out(&connection->transport), bytes, (size_t)length) != 0;
    session->busy = false;
    if (length < 0)
        session->failed = true;
    if (connection->state != CONNECTION_HTTP2)
        return;
    if (session->failed)
        connection_close(connection, &(struct ending){ .cause = DISCONNECT_CLIENT, .code = 1006 });
    else if (is_over(session) || (session->leaving && session->stream_count == 0 && !nghttp2_session_want_write(session->nghttp2)))
        finish(connection);
}

void http2_push(struct http2_session *session)
{
    if (!session->busy && session->connection->state == CONNECTION_HTTP2)
        http2_fill(session->connection);
}

void http2_say_goodbye(struct connection *connection)
{
    struct http2_session *session = connection->http2;
    if (connection->transport.input_ended || session->busy || session->nghttp2 == NULL || session->failed)
        return;
    http2_terminate(session, NGHTTP2_NO_ERROR);
    if (!session->failed)
        http2_fill(connection);
    transport_flush(&connection->transport);
    if (connection->state != CONNECTION_CLOSED)
        transport_say_goodbye(&connection->transport);
}

void http2_end_streams(struct connection *connection, const struct ending *ending)
{
    static const struct ending left = { .cause = DISCONNECT_CLIENT, .code = 1006 };
    struct list_node *streams = &connection->http2->streams;
    while (!list_empty(streams))
        connection_close(list_entry(streams->next, struct http2_stream, of_session)->connection, ending != NULL ? ending : &left);
}

void http2_stream_gone(struct http2_session *session)
{
    struct connection *connection = session->connection;
    if (connection->state != CONNECTION_HTTP2)
        return;
    connection_cork(connection);
    if (session->stream_count > 0)
        return;
    if (session->told && !session->leaving)
        leave(session);
    deadline_set(&connection->deadlines, DEADLINE_IDLE, connection->server->settings.keep_alive_timeout_ms);
}

void http2_deadline(struct connection *connection, int which)
{
    struct http2_session *session = connection->http2;
    struct server *server = connection->server;
    if (which == DEADLINE_IDLE && session->told && !session->leaving) {
        leave(session);
    } else if (which == DEADLINE_IDLE && session->stream_count == 0) {
        server_count_timeout(server, &server->counters.idle_timeouts_total);
        http2_terminate(session, NGHTTP2_NO_ERROR);
    } else if (which == DEADLINE_HEADER) {
        server_count_timeout(server, &server->counters.header_timeouts_total);
        http2_terminate(session, NGHTTP2_ENHANCE_YOUR_CALM);
    }
}

/* Streams that the client opens before it knows are served: the first GOAWAY names no last one (RFC 9113, 6.8). */
void http2_drain(struct connection *connection, uint16_t code)
{
    struct http2_session *session = connection->http2;
    for (struct list_node *node = session->streams.next, *next; node != &session->streams; node = next) {
        next = node->next;
        connection_drain(list_entry(node, struct http2_stream, of_session)->connection, code);
    }
    session->told = true;
    http2_check(session, nghttp2_submit_shutdown_notice(session->nghttp2));
    http2_check(session, nghttp2_submit_ping(session->nghttp2, NGHTTP2_FLAG_NONE, NULL));
    deadline_set(&connection->deadlines, DEADLINE_IDLE, LAST_CALL_MS);
    connection_cork(connection);
}
