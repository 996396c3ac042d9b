/* response_body.h: the bodies of responses, out of bytes and of files, and what stands around them: trailers, and hints before.
 *
 * Owner:   http1_connection and http2_stream embed it.
 * Thread:  the I/O thread.
 * Limits:  one file at a time is with the transport; the commands that come meanwhile wait here, in order, and their costs are of the
 *          exchange's send window.
 *
 * A response with a file in it is complete when the file is with the kernel: no pipelined request is answered before, so that a
 * connection never holds more files than one response has.
 */
#ifndef PENEUS_SERVER_RESPONSE_BODY_H
#define PENEUS_SERVER_RESPONSE_BODY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/queue.h"
#include "server/http1_writer.h"
#include "server/transport.h"

struct command;
struct connection;

struct response_body {
    struct queue_chain waiting; /* of struct command, behind the file */
    size_t cost;                /* command_charge() of those */
    size_t held;                /* bytes of those */
    bool ended;                 /* the application has sent the last of the response */
    bool file_more;             /* of the file that is with the transport: */
    enum http1_body file_result;
    const char *file_suffix;
};

/* More of the body, which is not behind a file. */
void response_body_write(struct connection *connection, const unsigned char *bytes, size_t length, bool more);

/* BODY, FILE or TRAILERS, at once or when the file before it is through. */
void response_body_command(struct connection *connection, struct command *command);

/* HINT, before the response. */
void response_body_hint(struct connection *connection, const struct command *command);

/* The transport is through with a file; left: bytes of it that do not come. */
void response_body_on_file(struct connection *connection, enum transport_file how, uint64_t left);

/* What waits behind a file, in bytes of the send window; 0 where no response can be. */
size_t response_body_waiting(const struct connection *connection);

/* The same in bytes of memory. */
size_t response_body_held(const struct connection *connection);

/* Drops what waits. */
void response_body_deinit(struct response_body *body);

#endif
