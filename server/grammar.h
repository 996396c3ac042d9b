/* grammar.h: what RFC 9110 lets stand where, as far as more than one protocol asks. Sans I/O.
 *
 * Owner:   nobody: functions only.
 * Thread:  any.
 * Limits:  none.
 */
#ifndef PENEUS_SERVER_GRAMMAR_H
#define PENEUS_SERVER_GRAMMAR_H

#include <stdbool.h>
#include <stddef.h>

/* A byte of a token (RFC 9110, 5.6.2). */
bool grammar_is_token_byte(unsigned char byte);

/* A host with or without a port: none of the bytes that would end it in a URL, or make a list of it. It may be empty. */
bool grammar_is_host(const unsigned char *bytes, size_t length);

#endif
