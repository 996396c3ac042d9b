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

/* A host with or without a port: RFC 9110, 7.2 by RFC 3986, 3.2.2 and 3.2.3. A name has no comma, which would make a list of it;
 * an address in brackets is an IPv6 address; a port is at most 65535. It may be empty. */
bool grammar_is_host(const unsigned char *bytes, size_t length);

/* A byte of a target's path: RFC 3986, 3.3, and the | ^ [ ] that browsers send as they are. */
bool grammar_is_path_byte(unsigned char byte);

/* RFC 9112, 3.2.1, by RFC 3986, 3.3 and 3.4. In a query browsers send as they are bytes that no URI has: it ends with the target
 * whatever is in it, but for "#", which would begin a fragment. */
bool grammar_is_path_and_query(const unsigned char *bytes, size_t length);

#endif
