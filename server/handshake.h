/* handshake.h: the opening handshake of RFC 6455, the server's side. Sans I/O.
 *
 * Owner:   nobody: functions only.
 * Thread:  any.
 * Limits:  none of its own.
 */
#ifndef PENEUS_SERVER_HANDSHAKE_H
#define PENEUS_SERVER_HANDSHAKE_H

#include <stdbool.h>
#include <stdint.h>

#include "server/buffer.h"
#include "server/command.h"
#include "server/deflate.h"
#include "server/http1_parser.h"
#include "server/http1_writer.h"

enum { HANDSHAKE_ACCEPT_SIZE = 29 }; /* with NUL */

/* Checks a request with upgrade_websocket set: 0, and accept and what we agree to of its extensions are filled in; or the status to
 * answer it with: 405 for a method other than GET, 426 for a version other than 13, 400 for anything else. */
uint16_t handshake_check(const struct http1_head *head, const struct server_settings *settings, char accept[HANDSHAKE_ACCEPT_SIZE],
                         struct deflate_terms *terms);

/* The same for a stream of HTTP/2, whose handshake has no key (RFC 8441, 5). */
uint16_t handshake_check_stream(const struct http1_head *head, const struct server_settings *settings, struct deflate_terms *terms);

/* Whether an application's field is the handshake's own, or would promise a body or an extension. */
bool handshake_is_ours(const char *name, size_t length);

/* Appends the head with status 101 and COMMAND_ACCEPT's fields. Those that are the handshake's own, or would promise a body or an
 * extension, are left out. 0, or -1 when there is no memory: nothing was written. */
int handshake_write(struct buffer *out, const struct command *command, const char *accept, const struct deflate_terms *terms,
                    const struct http1_identity *identity);

#endif
