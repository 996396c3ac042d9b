/* headers.h: an application's header fields, checked, on their way into a command.
 *
 * Owner:   nobody.
 * Thread:  with the GIL.
 * Limits:  4 GiB of fields.
 */
#ifndef PENEUS_ASGI_HEADERS_H
#define PENEUS_ASGI_HEADERS_H

#include <Python.h>

#include <stdint.h>

#include "server/command.h"

/* A command (RESPOND or ACCEPT) whose bytes are the fields in headers, an iterable of (name, value) or NULL for none, and,
 * where subprotocol is not NULL, sec-websocket-protocol with that str. ValueError, with the name of the field, where a name
 * is no token, a value has CR, LF, NUL or another control character, or one of both is not bytes; with a subprotocol in the headers of an ACCEPT. */
struct command *headers_command(enum command_kind kind, uint64_t exchange, PyObject *headers, PyObject *subprotocol);

/* The same command with more fields behind its own, of other, which is destroyed; first may be NULL. NULL with a MemoryError, and then
 * both are destroyed. */
struct command *headers_join(struct command *first, struct command *other);

/* head with a Content-Length behind its fields; head is destroyed. NULL with a MemoryError, and then too. */
struct command *headers_add_length(struct command *head, uint64_t length);

/* The name of the first field of command that is none for trailers (RFC 9110 section 6.5.1), as a str; NULL where there is none, or with
 * an exception. */
PyObject *headers_not_for_trailers(const struct command *command);

/* -1 with ValueError where the Content-Length of a response is no number, or there are two that differ: what is told of the body's end
 * must be one thing (RFC 9110, 8.6). */
int headers_check_length(const struct command *command);

/* What the first Content-Length among the fields of command says; -1 where there is none, or no number. */
int64_t headers_content_length(const struct command *command);

#endif
