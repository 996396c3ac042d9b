/* http2_head.h: a request's head out of the fields of an HTTP/2 stream, as http1_head, so that everything behind is the same. Sans I/O.
 *
 * Owner:   the stream, until its head is complete.
 * Thread:  the I/O thread.
 * Limits:  struct server_settings: target, header fields. What is over a limit, or wrong, gives a status; the fields behind it are
 *          counted, but not kept.
 *
 * nghttp2 has checked what RFC 9113 asks of a field: the order of the pseudo-fields, lower case, no field of a connection's. Names with an
 * underscore are dropped and cookies are put together, as for HTTP/1.
 */
#ifndef PENEUS_SERVER_HTTP2_HEAD_H
#define PENEUS_SERVER_HTTP2_HEAD_H

#include "server/http1_parser.h"

struct http2_head {
    struct buffer arena;  /* names and values */
    struct buffer cookie; /* the values of all cookie fields */
    struct field *fields;
    uint32_t field_count;
    uint32_t field_capacity;
    struct piece method, target, authority, protocol;
    struct piece host;    /* of the field */
    size_t bytes;         /* of names and values, dropped ones too */
    size_t count;
    uint16_t status;      /* the first fault: 400, 413, 414, 431, 501, 503 (no memory); 0: none */
    bool expect_continue;
    bool is_connect, is_head;
};

void http2_head_init(struct http2_head *head);
void http2_head_deinit(struct http2_head *head);

/* One field, or pseudo-field, as it came. */
void http2_head_add(struct http2_head *head, const struct server_settings *settings, const unsigned char *name, size_t name_length,
                    const unsigned char *value, size_t value_length);

/* A field of the trailers, which are not kept: counts it. */
void http2_head_skip(struct http2_head *head, size_t name_length, size_t value_length);

/* Whether the fields so far are more than times as many, or as long, as settings allow. */
bool http2_head_exceeds(const struct http2_head *head, const struct server_settings *settings, unsigned times);

/* The head is complete: *result is valid until http2_head_deinit(). 0, or the status to answer with. */
uint16_t http2_head_finish(struct http2_head *head, bool has_body, struct http1_head *result);

#endif
