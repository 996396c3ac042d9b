#include "server/websocket.h"

#include <assert.h>
#include <string.h>

static ssize_t on_read(uint8_t *bytes, size_t length, int flags, void *context)
{
    struct websocket *session = context;
    (void)flags;
    if (session->input_length == 0)
        return -1; /* wslay: no more for now */
    if (length > session->input_length)
        length = session->input_length;
    memcpy(bytes, session->input, length);
    session->input += length;
    session->input_length -= length;
    session->unparsed += length;
    return (ssize_t)length;
}

static const struct wslay_frame_callbacks frame_callbacks = { .recv_callback = on_read };

int websocket_init(struct websocket *session, const struct server_settings *settings, struct deflate *deflate,
                   const struct websocket_callbacks *callbacks, void *context)
{
    memset(session, 0, sizeof *session);
    session->settings = settings;
    session->deflate = deflate;
    session->callbacks = callbacks;
    session->context = context;
    return 0;
}

/* Between frames wslay has no state: its context can go, with the bytes it has read ahead. */
static void drop_frames(struct websocket *session)
{
    if (session->frames != NULL)
        wslay_frame_context_free(session->frames);
    session->frames = NULL;
    session->unparsed = 0;
}

void websocket_deinit(struct websocket *session)
{
    drop_frames(session);
    buffer_deinit(&session->message);
    deflate_destroy(session->deflate);
    session->deflate = NULL;
}

static enum websocket_result fail(struct websocket *session, uint16_t code)
{
    session->code = code;
    return WEBSOCKET_FAILED;
}

static bool is_control(unsigned char opcode)
{
    return wslay_is_ctrl_frame(opcode);
}

/* Of a masked frame; wslay accepts no longer form than necessary. */
static size_t header_length(uint64_t payload_length)
{
    return payload_length < 126 ? 6 : payload_length <= UINT16_MAX ? 8 : 14;
}

/* RSV1 marks the first frame of a compressed message, where compression was agreed (RFC 7692, section 6), and nothing else. */
static bool rsv_is_right(const struct websocket *session, const struct wslay_frame_iocb *frame)
{
    bool begins = frame->opcode == WEBSOCKET_TEXT || frame->opcode == WEBSOCKET_BINARY;
    return frame->rsv == WSLAY_RSV_NONE || (frame->rsv == WSLAY_RSV1_BIT && begins && session->deflate != NULL);
}

/* Judges the header of a frame: 0, or the code to fail with. */
static uint16_t begin_frame(struct websocket *session, const struct wslay_frame_iocb *frame)
{
    if (!frame->mask || !rsv_is_right(session, frame))
        return 1002;
    session->in_frame = true;
    session->unparsed -= header_length(frame->payload_length);
    session->frame_left = frame->payload_length;
    session->fin = frame->fin;
    session->opcode = frame->opcode;
    session->control_length = 0;
    if (is_control(frame->opcode)) {
        bool known = frame->opcode == WEBSOCKET_CLOSE || frame->opcode == WEBSOCKET_PING || frame->opcode == WEBSOCKET_PONG;
        return known && frame->fin && frame->payload_length <= WEBSOCKET_CONTROL_SIZE ? 0 : 1002;
    }
    bool continues = frame->opcode == WSLAY_CONTINUATION_FRAME;
    if (continues != session->in_message || frame->opcode > WEBSOCKET_BINARY)
        return 1002;
    if (!continues) {
        session->text = frame->opcode == WEBSOCKET_TEXT;
        session->compressed = frame->rsv != WSLAY_RSV_NONE;
        session->message_length = 0;
        session->in_message = true;
    }
    size_t frame_limit = session->settings->websocket_max_frame_size;
    size_t message_limit = session->settings->websocket_max_message_size;
    if (frame_limit != 0 && frame->payload_length > frame_limit)
        return 1009;
    if (session->compressed)
        return 0;
    if (frame->payload_length > SIZE_MAX / 4 - session->message_length)
        return 1009;
    session->message_length += frame->payload_length;
    return message_limit != 0 && session->message_length > message_limit ? 1009 : 0;
}

static enum websocket_result deliver(struct websocket *session, const unsigned char *bytes, size_t length)
{
    session->in_message = false;
    if (session->text && !utf8_complete(&session->utf8))
        return fail(session, 1007);
    bool more = session->callbacks->on_message(session->context, session->text, bytes, length);
    buffer_deinit(&session->message);
    return more ? WEBSOCKET_MORE : WEBSOCKET_PAUSED;
}

/* What has come out of a compressed message. The limit cuts where it is, not where a piece ends: so the code does not depend on how
 * the bytes came. */
static uint16_t on_inflated(void *context, const unsigned char *bytes, size_t length)
{
    struct websocket *session = context;
    size_t limit = session->settings->websocket_max_message_size;
    size_t allowed = limit != 0 ? limit - (size_t)session->message_length : SIZE_MAX / 4 - (size_t)session->message_length;
    size_t taken = length < allowed ? length : allowed;
    if (session->text && !utf8_feed(&session->utf8, bytes, taken))
        return 1007;
    if (taken < length)
        return 1009;
    session->message_length += length;
    return buffer_append(&session->message, bytes, length) == 0 ? 0 : 1011;
}

/* The piece's bytes lie in wslay's context until the next piece is taken from it. */
static enum websocket_result on_compressed(struct websocket *session, const unsigned char *bytes, size_t length)
{
    bool last = session->frame_left == 0 && session->fin;
    size_t taken = 0;
    uint16_t code = DEFLATE_AGAIN;
    if (session->budget > 0)
        code = deflate_inflate(session->deflate, bytes, length, last, &session->budget, &taken, on_inflated, session);
    session->behind = code == DEFLATE_AGAIN;
    if (session->behind) {
        session->piece = bytes + taken;
        session->piece_length = length - taken;
        return WEBSOCKET_BUSY;
    }
    if (code != 0)
        return fail(session, code);
    if (!last)
        return WEBSOCKET_MORE;
    size_t inflated = buffer_length(&session->message);
    return deliver(session, inflated > 0 ? buffer_bytes(&session->message) : bytes, inflated);
}

/* A piece of a data frame's payload. */
static enum websocket_result on_data(struct websocket *session, const unsigned char *bytes, size_t length)
{
    if (session->compressed)
        return on_compressed(session, bytes, length);
    if (session->text && !utf8_feed(&session->utf8, bytes, length))
        return fail(session, 1007);
    bool last = session->frame_left == 0 && session->fin;
    if (last && buffer_length(&session->message) == 0)
        return deliver(session, bytes, length);
    if (buffer_append(&session->message, bytes, length) != 0)
        return fail(session, 1011);
    return last ? deliver(session, buffer_bytes(&session->message), buffer_length(&session->message)) : WEBSOCKET_MORE;
}

static enum websocket_result on_close_frame(struct websocket *session)
{
    struct utf8 utf8 = { 0 };
    if (session->control_length == 0) {
        session->code = 1005;
        return WEBSOCKET_CLOSED;
    }
    if (session->control_length == 1)
        return fail(session, 1002);
    uint16_t code = (uint16_t)(session->control[0] << 8 | session->control[1]);
    if (!websocket_valid_code(code))
        return fail(session, 1002);
    if (!utf8_feed(&utf8, session->control + 2, session->control_length - 2u) || !utf8_complete(&utf8))
        return fail(session, 1007);
    session->code = code;
    return WEBSOCKET_CLOSED;
}

/* A piece of a control frame's payload; wslay may give it in several. */
static enum websocket_result on_control(struct websocket *session, const unsigned char *bytes, size_t length)
{
    memcpy(session->control + session->control_length, bytes, length);
    session->control_length += (unsigned char)length;
    if (session->frame_left > 0)
        return WEBSOCKET_MORE;
    if (session->opcode == WEBSOCKET_CLOSE)
        return on_close_frame(session);
    if (session->opcode == WEBSOCKET_PING)
        session->callbacks->on_ping(session->context, session->control, session->control_length);
    return WEBSOCKET_MORE;
}

/* Takes the next piece of a frame from wslay; *idle: there is none. */
static enum websocket_result read_piece(struct websocket *session, bool *idle)
{
    struct wslay_frame_iocb frame = { 0 };
    ssize_t got = wslay_frame_recv(session->frames, &frame);
    *idle = got == WSLAY_ERR_WANT_READ;
    if (*idle)
        return WEBSOCKET_MORE;
    if (got < 0)
        return fail(session, 1002);
    if (!session->in_frame) {
        uint16_t code = begin_frame(session, &frame);
        if (code != 0)
            return fail(session, code);
    }
    session->frame_left -= (uint64_t)got;
    session->unparsed -= (size_t)got;
    if (session->frame_left == 0)
        session->in_frame = false;
    if (is_control(session->opcode))
        return on_control(session, frame.data, (size_t)got);
    session->data_bytes += (uint64_t)got;
    return on_data(session, frame.data, (size_t)got);
}

enum websocket_result websocket_feed(struct websocket *session, const unsigned char *bytes, size_t length, size_t *consumed)
{
    enum websocket_result result = WEBSOCKET_MORE;
    bool idle = length == 0 && !session->behind && session->unparsed == 0;
    *consumed = 0;
    if (session->frames == NULL && !idle && wslay_frame_context_init(&session->frames, &frame_callbacks, session) != 0)
        return fail(session, 1011);
    session->input = bytes;
    session->input_length = length;
    session->budget = WEBSOCKET_SLICE;
    while (result == WEBSOCKET_MORE && !idle)
        result = session->behind ? on_compressed(session, session->piece, session->piece_length) : read_piece(session, &idle);
    *consumed = length - session->input_length;
    bool keep = result == WEBSOCKET_BUSY || (result == WEBSOCKET_MORE && (session->in_frame || session->unparsed > 0));
    if (result == WEBSOCKET_PAUSED && session->unparsed > *consumed)
        keep = true; /* some of them came with an earlier input, before it was WEBSOCKET_BUSY: they are read first when this goes on */
    else if (result == WEBSOCKET_PAUSED)
        *consumed -= session->unparsed;
    if (!keep)
        drop_frames(session);
    session->input = NULL;
    session->input_length = 0;
    return result;
}

const unsigned char *websocket_reason(const struct websocket *session, size_t *length)
{
    *length = session->control_length > 2 ? session->control_length - 2u : 0;
    return session->control + 2;
}

size_t websocket_header(unsigned char header[WEBSOCKET_HEADER_SIZE], enum websocket_opcode opcode, bool compressed, size_t length)
{
    header[0] = (compressed ? 0xc0u : 0x80u) | (unsigned char)opcode;
    if (length < 126) {
        header[1] = (unsigned char)length;
        return 2;
    }
    if (length <= UINT16_MAX) {
        header[1] = 126;
        header[2] = (unsigned char)(length >> 8);
        header[3] = (unsigned char)length;
        return 4;
    }
    header[1] = 127;
    for (int i = 0; i < 8; i++)
        header[2 + i] = (unsigned char)((uint64_t)length >> (56 - 8 * i));
    return 10;
}

int websocket_write(struct buffer *out, enum websocket_opcode opcode, const unsigned char *bytes, size_t length)
{
    unsigned char header[WEBSOCKET_HEADER_SIZE];
    size_t header_length = websocket_header(header, opcode, false, length);
    unsigned char *room = buffer_reserve(out, header_length + length);
    if (room == NULL)
        return -1;
    memcpy(room, header, header_length);
    if (length > 0)
        memcpy(room + header_length, bytes, length);
    out->end += header_length + length;
    return 0;
}

size_t websocket_cut_reason(const unsigned char *reason, size_t length)
{
    if (length <= WEBSOCKET_CONTROL_SIZE - 2)
        return length;
    length = WEBSOCKET_CONTROL_SIZE - 2;
    while (length > 0 && (reason[length] & 0xc0) == 0x80)
        length--;
    return length;
}

int websocket_write_close(struct buffer *out, uint16_t code, const unsigned char *reason, size_t length)
{
    unsigned char payload[WEBSOCKET_CONTROL_SIZE];
    if (code == 1005)
        return websocket_write(out, WEBSOCKET_CLOSE, NULL, 0);
    length = websocket_cut_reason(reason, length);
    payload[0] = (unsigned char)(code >> 8);
    payload[1] = (unsigned char)code;
    if (length > 0)
        memcpy(payload + 2, reason, length);
    return websocket_write(out, WEBSOCKET_CLOSE, payload, length + 2);
}

bool websocket_valid_code(uint16_t code)
{
    return (code >= 1000 && code <= 1003) || (code >= 1007 && code <= 1014) || (code >= 3000 && code <= 4999);
}
