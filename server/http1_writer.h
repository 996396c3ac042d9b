/* http1_writer.h: the bytes of HTTP/1 responses: heads and body framing. Sans I/O.
 *
 * Owner:   the connection embeds a struct http1_response for the response under way.
 * Thread:  the I/O thread.
 * Limits:  it never lets out more body than the head has promised.
 *
 * A body's bytes are not copied here: http1_frame_body() says what to write around them.
 */
#ifndef PENEUS_SERVER_HTTP1_WRITER_H
#define PENEUS_SERVER_HTTP1_WRITER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "server/buffer.h"
#include "server/command.h"

/* What every response says of the server. */
struct http1_identity {
    const char *date; /* "Sun, 06 Nov 1994 08:49:37 GMT" */
    const char *name; /* or NULL */
};

/* A response under way. The caller sets minor, head and keep_alive from the request, and zeroes the rest. */
struct http1_response {
    unsigned char minor;
    bool head;         /* to a HEAD request */
    bool keep_alive;   /* once the head is written: whether the connection goes on after the response */
    bool without_body; /* HEAD, 1xx, 204, 205, 304: the application's body is dropped */
    bool trailers;     /* the response does not end with its body, but with COMMAND_TRAILERS */
    bool chunked;
    bool has_length;
    uint64_t expected; /* has_length: bytes promised */
    uint64_t actual;   /* bytes given by the application */
};

/* The end of the connection is the end of its body, to an HTTP/1.0 client: where the body is cut off, only a reset says so. */
static inline bool http1_ends_with_connection(const struct http1_response *response)
{
    return !response->chunked && !response->has_length && !response->without_body;
}

/* What to write around the first length bytes of a piece of body. */
struct http1_frame {
    char prefix[24];
    size_t prefix_length;
    size_t length;
    const char *suffix; /* static, never NULL */
    size_t suffix_length;
};

enum http1_body {
    HTTP1_BODY_OK,
    HTTP1_LONGER,  /* than Content-Length: the frame has what was promised and no more; close after it */
    HTTP1_SHORTER, /* the body has ended before its Content-Length: close */
};

/* What the application's own fields say. */
struct http1_own {
    bool date, server;
};

/* Takes note of a field of the application's; false: it is not written, as the framing or the connection is the server's. */
bool http1_note_field(struct http1_response *response, struct http1_own *own, uint16_t status, const char *name,
                      size_t name_length, const char *value, size_t value_length);

/* Appends the head of COMMAND_RESPOND to out and decides the framing; the command's body is for http1_frame_body(). Of the
 * application's fields Connection (whose "close" is honoured), Keep-Alive, Transfer-Encoding and a Content-Length that is no number, or is
 * a second one, are left out. 0, or -1 when there is no memory: nothing was written. */
int http1_write_head(struct http1_response *response, struct buffer *out, const struct command *command,
                     const struct http1_identity *identity);

/* Frames length more bytes of the body; more: not the last. Once for every RESPOND and BODY, whatever its length, until !more. */
enum http1_body http1_frame_body(struct http1_response *response, size_t length, bool more, struct http1_frame *frame);

/* Appends the fields of COMMAND_TRAILERS and the end of the response; nothing where the body is not chunked, as there is no place for
 * them. 0, or -1 when there is no memory: nothing was written. */
int http1_write_trailers(const struct http1_response *response, struct buffer *out, const struct command *command);

/* Appends the informational response of COMMAND_HINT. 0, or -1 when there is no memory: nothing was written. */
int http1_write_hint(struct buffer *out, const struct command *command);

/* Appends a whole text/plain response of the server's own, with Connection: close; head: without its body. 405 and 426 get the fields
 * that a refused WebSocket handshake needs, 503 a Retry-After. 0, or -1 when there is no memory: nothing was written. */
int http1_write_error(struct buffer *out, uint16_t status, bool head, const struct http1_identity *identity);

/* Appends "100 Continue". 0, or -1 when there is no memory. */
int http1_write_continue(struct buffer *out);

/* "OK" for 200; "" for a status without a name. */
const char *http1_reason(uint16_t status);

#endif
