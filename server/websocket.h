/* websocket.h: frames in, messages out: wslay's frame parser, and RFC 6455's rules above it. Sans I/O.
 *
 * Owner:   the connection embeds it.
 * Thread:  the I/O thread.
 * Limits:  websocket_max_message_size and websocket_max_frame_size, checked when a frame's header has come.
 */
#ifndef PENEUS_SERVER_WEBSOCKET_H
#define PENEUS_SERVER_WEBSOCKET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <wslay/wslay.h>

#include "server/buffer.h"
#include "server/settings.h"
#include "server/utf8.h"

enum websocket_opcode {
    WEBSOCKET_TEXT = 1,
    WEBSOCKET_BINARY = 2,
    WEBSOCKET_CLOSE = 8,
    WEBSOCKET_PING = 9,
    WEBSOCKET_PONG = 10,
};

enum { WEBSOCKET_HEADER_SIZE = 10, WEBSOCKET_CONTROL_SIZE = 125 };

enum websocket_result {
    WEBSOCKET_MORE,   /* all was consumed */
    WEBSOCKET_PAUSED, /* on_message said false */
    WEBSOCKET_CLOSED, /* the client's close frame: code, and websocket_reason() */
    WEBSOCKET_FAILED, /* the client broke the protocol or a limit: code is what to close with */
};

struct websocket_callbacks {
    bool (*on_message)(void *context, bool text, const unsigned char *bytes, size_t length); /* false: stop here */
    void (*on_ping)(void *context, const unsigned char *bytes, size_t length);
};

struct websocket {
    const struct server_settings *settings;
    const struct websocket_callbacks *callbacks;
    void *context;
    wslay_frame_context_ptr frames;
    const unsigned char *input;
    size_t input_length;
    struct buffer message;
    uint64_t message_length;
    uint64_t frame_left;
    struct utf8 utf8;
    uint16_t code;
    bool in_message;
    bool in_frame;
    bool text;
    bool fin;
    unsigned char opcode;
    unsigned char control_length;
    unsigned char control[WEBSOCKET_CONTROL_SIZE];
};

/* 0, or -1 when there is no memory. */
int websocket_init(struct websocket *session, const struct server_settings *settings,
                   const struct websocket_callbacks *callbacks, void *context);
void websocket_deinit(struct websocket *session);

/* Reads length bytes; *consumed of them were used. */
enum websocket_result websocket_feed(struct websocket *session, const unsigned char *bytes, size_t length, size_t *consumed);

/* The reason of the client's close frame. */
const unsigned char *websocket_reason(const struct websocket *session, size_t *length);

size_t websocket_header(unsigned char header[WEBSOCKET_HEADER_SIZE], enum websocket_opcode opcode, size_t length);
int websocket_write(struct buffer *out, enum websocket_opcode opcode, const unsigned char *bytes, size_t length);
int websocket_write_close(struct buffer *out, uint16_t code, const unsigned char *reason, size_t length);
bool websocket_valid_code(uint16_t code);

#endif
