/* http2_writer.h: heads of HTTP/2 responses (RFC 9113, 8.3.2) out of commands. Sans I/O: nghttp2 keeps them.
 *
 * Owner:   nobody: functions only.
 * Thread:  the I/O thread.
 * Limits:  none of its own.
 */
#ifndef PENEUS_SERVER_HTTP2_WRITER_H
#define PENEUS_SERVER_HTTP2_WRITER_H

#include <nghttp2/nghttp2.h>
#include <stdint.h>

#include "server/command.h"
#include "server/deflate.h"
#include "server/http1_writer.h"

/* The head of COMMAND_RESPOND. What is left out, and what response learns, is as with http1_write_head(). body: where its bytes come from;
 * none is asked for where response has no body. 0, or an error of nghttp2's. */
int http2_write_head(nghttp2_session *session, int32_t stream, struct http1_response *response, const struct command *command,
                     const struct http1_identity *identity, const nghttp2_data_provider *body);

/* The answer to an accepted WebSocket handshake (RFC 8441, 5): COMMAND_ACCEPT's fields, and what was agreed. As above. */
int http2_write_accept(nghttp2_session *session, int32_t stream, const struct command *command, const struct deflate_terms *terms,
                       const struct http1_identity *identity, const nghttp2_data_provider *data);

/* A response of the server's own; its body, text/plain, has length bytes. */
int http2_write_error(nghttp2_session *session, int32_t stream, uint16_t status, size_t length, const struct http1_identity *identity,
                      const nghttp2_data_provider *body);

/* COMMAND_HINT: an informational response before the response. */
int http2_write_hint(nghttp2_session *session, int32_t stream, const struct command *command);

/* COMMAND_TRAILERS: the fields behind the body; they end the stream. */
int http2_write_trailers(nghttp2_session *session, int32_t stream, const struct command *command);

/* 100 Continue. */
int http2_write_continue(nghttp2_session *session, int32_t stream);

#endif
