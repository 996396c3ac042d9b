/* websocket.h: WebSocket frames in, messages out: wslay's frame parser, and the rules of RFC 6455 above it. Sans I/O.
 *
 * Owner:   the connection embeds it.
 * Thread:  the I/O thread.
 * Limits:  websocket_max_message_size and websocket_max_frame_size, judged by a frame's header before its payload is kept.
 *          wslay's context (4 KiB) lives only while a frame has come in part, the message buffer only while a message has.
 *          A call inflates little more than WEBSOCKET_SLICE bytes, of however many messages.
 *
 * Where permessage-deflate was agreed, the limit of a compressed message is judged by what has come out of it, piece by piece.
 * UTF-8 is checked as it comes: a text fails at its first wrong byte. The closing handshake is the caller's: after
 * WEBSOCKET_CLOSED it answers with the same code, after WEBSOCKET_FAILED it closes with code.
 */
#ifndef PENEUS_SERVER_WEBSOCKET_H
#define PENEUS_SERVER_WEBSOCKET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <wslay/wslay.h>

#include "server/buffer.h"
#include "server/deflate.h"
#include "server/settings.h"
#include "server/utf8.h"

enum websocket_opcode {
    WEBSOCKET_TEXT = 1,
    WEBSOCKET_BINARY = 2,
    WEBSOCKET_CLOSE = 8,
    WEBSOCKET_PING = 9,
    WEBSOCKET_PONG = 10,
};

enum {
    WEBSOCKET_HEADER_SIZE = 10,   /* the most that the header of an unmasked frame takes */
    WEBSOCKET_CONTROL_SIZE = 125, /* the most that the payload of a control frame takes */
    WEBSOCKET_SLICE = 32 * 1024,  /* bytes of messages that zlib makes, or takes, before others have their turn: a millisecond of it */
};

enum websocket_result {
    WEBSOCKET_MORE,   /* all was consumed */
    WEBSOCKET_PAUSED, /* on_message said so; *consumed says where its frame ended, unless more had been taken before it was busy */
    WEBSOCKET_BUSY,   /* so much has been inflated that others have their turn: to be called again, with what was not consumed and more, or
                       * with nothing */
    WEBSOCKET_CLOSED, /* the client's close frame: code (1005: none), and websocket_reason() */
    WEBSOCKET_FAILED, /* close with code: 1002, 1007, 1009, or 1011 (no memory) */
};

/* The callbacks must not call the session. The bytes are valid during the call. */
struct websocket_callbacks {
    bool (*on_message)(void *context, bool text, const unsigned char *bytes, size_t length); /* text: valid UTF-8; false: pause */
    void (*on_ping)(void *context, const unsigned char *bytes, size_t length); /* to be answered with a pong of the same bytes */
};

struct websocket {
    const struct server_settings *settings;
    const struct websocket_callbacks *callbacks;
    void *context;
    struct deflate *deflate;        /* NULL: messages are not compressed */
    wslay_frame_context_ptr frames; /* NULL between frames */
    const unsigned char *input;     /* of the feed under way: what wslay has not read yet */
    size_t input_length;
    size_t unparsed;                /* of the present frame and behind it: bytes that wslay has read and not yet given */
    struct buffer message;          /* of the present message, what came before this piece */
    uint64_t message_length;        /* as its frame headers so far announce; of a compressed one: what has been inflated */
    uint64_t frame_left;            /* of the present frame's payload */
    const unsigned char *piece;     /* of a compressed message, in frames: what has not been inflated */
    size_t piece_length;
    size_t budget;                  /* bytes that the feed under way may still inflate */
    bool behind;                    /* a piece is to be inflated further: its length may be 0 */
    uint64_t data_bytes;            /* of data frames' payloads, in all */
    struct utf8 utf8;
    uint16_t code;                  /* of CLOSED and FAILED */
    bool in_message;
    bool in_frame;
    bool text;
    bool compressed;
    bool fin;
    unsigned char opcode;           /* of the present frame */
    unsigned char control_length;
    unsigned char control[WEBSOCKET_CONTROL_SIZE];
};

/* settings and callbacks stay the caller's, and outlive the session. deflate becomes the session's; NULL: without compression.
 * Always 0. */
int websocket_init(struct websocket *session, const struct server_settings *settings, struct deflate *deflate,
                   const struct websocket_callbacks *callbacks, void *context);
void websocket_deinit(struct websocket *session);

/* Reads length bytes, which may be none where it goes on; *consumed of them were used. Not to be called again after WEBSOCKET_CLOSED and WEBSOCKET_FAILED. */
enum websocket_result websocket_feed(struct websocket *session, const unsigned char *bytes, size_t length, size_t *consumed);

/* A message or a frame has come in part. */
static inline bool websocket_is_incomplete(const struct websocket *session)
{
    return session->in_message || session->frames != NULL;
}

/* After WEBSOCKET_CLOSED: the reason, valid UTF-8. */
const unsigned char *websocket_reason(const struct websocket *session, size_t *length);

/* The header of an unfragmented frame that a server sends; returns its length. compressed: a data frame's payload. */
size_t websocket_header(unsigned char header[WEBSOCKET_HEADER_SIZE], enum websocket_opcode opcode, bool compressed, size_t length);

/* Appends a frame. 0, or -1 when there is no memory: nothing was written. */
int websocket_write(struct buffer *out, enum websocket_opcode opcode, const unsigned char *bytes, size_t length);

/* How much of a reason, which is UTF-8, a close frame has room for: whole characters of at most 123 bytes. */
size_t websocket_cut_reason(const unsigned char *reason, size_t length);

/* Appends a close frame; code 1005: without code and reason. A reason is cut (websocket_cut_reason). As websocket_write(). */
int websocket_write_close(struct buffer *out, uint16_t code, const unsigned char *reason, size_t length);

/* May code stand in a close frame (RFC 6455, section 7.4, and IANA's registry)? */
bool websocket_valid_code(uint16_t code);

#endif
