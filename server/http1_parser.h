/* http1_parser.h: HTTP/1 requests out of bytes: llhttp, and the strictness above it. Sans I/O.
 *
 * Owner:   the connection embeds it.
 * Thread:  the I/O thread.
 * Limits:  struct server_settings: target, header fields (a chunk's extensions and trailers alike), body. The head's memory is
 *          freed as soon as on_head has returned.
 *
 * It stops after each complete message: what follows in the input stays with the caller, who calls http1_parser_feed again
 * when it wants the next request. Header names with an underscore are dropped, as Daphne does: Django could not tell them
 * from those with a dash.
 */
#ifndef PENEUS_SERVER_HTTP1_PARSER_H
#define PENEUS_SERVER_HTTP1_PARSER_H

#include <llhttp.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "server/buffer.h"
#include "server/event.h"
#include "server/http1_strict.h"
#include "server/settings.h"

/* A request head, valid during on_head. Pieces, those of the fields too, point into bytes. */
struct http1_head {
    const unsigned char *bytes;
    size_t length;
    struct piece method;
    struct piece target; /* origin-form, or "*" of OPTIONS; the absolute-form's authority is Host's value */
    const struct field *fields;
    uint32_t field_count;
    unsigned char major, minor;
    bool keep_alive;        /* as far as the client is concerned */
    bool has_body;          /* chunked, or a Content-Length above 0 */
    bool expect_continue;   /* the client waits for 100 before it sends the body */
    bool upgrade_websocket; /* Upgrade: websocket and Connection: upgrade; the rest is handshake.h's to check */
};

/* The callbacks must not call the parser. */
struct http1_callbacks {
    void (*on_head)(void *context, const struct http1_head *head);
    void (*on_body)(void *context, const unsigned char *bytes, size_t length); /* length is never 0 */
};

enum http1_result {
    HTTP1_MORE,     /* all was consumed; the message is not complete */
    HTTP1_COMPLETE, /* the message is complete; *consumed says where it ended */
    HTTP1_ERROR,    /* parser->status is what to answer; the parser is of no more use */
};

struct http1_parser {
    llhttp_t llhttp;
    const struct server_settings *settings;
    const struct http1_callbacks *callbacks;
    void *context;
    struct buffer arena; /* method, target, names and values */
    struct field *fields;
    struct field field;  /* the one being read */
    uint32_t field_count;
    uint32_t field_capacity;
    uint32_t method_length;
    uint32_t target_length;
    size_t header_bytes; /* of names and values: of the head; then of a chunk's extensions or the trailers */
    size_t header_count; /* dropped ones too */
    uint64_t body_bytes;
    uint16_t status;     /* of HTTP1_ERROR: 400, 413, 414, 417, 431, 501, 503 (no memory), 505 */
    const char *reason;  /* of a status that does not say enough, for the log; a literal, or NULL */
    unsigned char protocol_length;
    bool head_done;
    bool complete;
    bool drop_field;
    bool extension_value; /* of a chunk: something of it has come */
    struct http1_strict strict;
    const char *input;   /* of this call */
    size_t offset;       /* of input in the message */
    size_t line_at;      /* where the method, then the target, has ended */
};

/* settings and callbacks stay the caller's, and outlive the parser. */
void http1_parser_init(struct http1_parser *parser, const struct server_settings *settings,
                       const struct http1_callbacks *callbacks, void *context);
void http1_parser_deinit(struct http1_parser *parser);

/* The message is a HEAD request, as far as it has been read. */
static inline bool http1_parser_is_head(const struct http1_parser *parser)
{
    return parser->llhttp.method == HTTP_HEAD;
}

/* Parses length bytes, at most to the end of the message; *consumed of them were used. After HTTP1_COMPLETE the next call begins the
 * next message. */
enum http1_result http1_parser_feed(struct http1_parser *parser, const unsigned char *bytes, size_t length, size_t *consumed);

#endif
