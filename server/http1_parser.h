/* http1_parser.h: HTTP/1 requests out of bytes: llhttp, and the strictness above it. Sans I/O.
 *
 * Owner:   the connection embeds it.
 * Thread:  the I/O thread.
 * Limits:  struct server_settings: target, header fields, body; the head's arena is freed when the message is complete.
 *
 * It stops after each complete message: what follows in the input stays with the caller, who calls http1_parser_feed again
 * when it wants the next request.
 */
#ifndef PENEUS_SERVER_HTTP1_PARSER_H
#define PENEUS_SERVER_HTTP1_PARSER_H

#include <llhttp.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "server/buffer.h"
#include "server/event.h"
#include "server/settings.h"

/* A request head, valid during on_head. Pieces point into bytes. */
struct http1_head {
    const unsigned char *bytes;
    size_t length;
    struct piece method;
    struct piece target; /* origin-form, or "*"; the absolute-form's authority is cut off */
    const struct field *fields;
    uint32_t field_count;
    unsigned char minor;
    bool keep_alive;
    bool has_body;
    bool expect_continue;
    bool upgrade_websocket; /* Upgrade: websocket and Connection: upgrade; the rest is handshake.h's to check */
};

struct http1_callbacks {
    void (*on_head)(void *context, const struct http1_head *head);
    void (*on_body)(void *context, const unsigned char *bytes, size_t length);
};

enum http1_result {
    HTTP1_MORE,     /* all was consumed; the message is not complete */
    HTTP1_COMPLETE, /* the message is complete; *consumed says where it ended */
    HTTP1_ERROR,    /* parser->status is what to answer; the connection cannot go on */
};

struct http1_parser {
    llhttp_t llhttp;
    const struct server_settings *settings;
    const struct http1_callbacks *callbacks;
    void *context;
    struct buffer arena;
    struct field *fields;
    uint32_t field_count;
    uint32_t field_capacity;
    uint32_t target_length;
    uint32_t method_length;
    uint32_t host_count;
    size_t header_bytes; /* of fields or trailers, names and values */
    uint64_t body_bytes;
    uint16_t status;     /* of HTTP1_ERROR */
    bool in_trailers;
    bool begun;          /* the present message has */
    bool complete;
    bool expect_continue;
    bool upgrade_websocket;
    bool length_seen;
};

void http1_parser_init(struct http1_parser *parser, const struct server_settings *settings,
                       const struct http1_callbacks *callbacks, void *context);
void http1_parser_deinit(struct http1_parser *parser);

/* Parses length bytes, at most to the end of the message; *consumed of them were used. */
enum http1_result http1_parser_feed(struct http1_parser *parser, const unsigned char *bytes, size_t length, size_t *consumed);

#endif
