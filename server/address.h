/* address.h: an IP address, of either family, and where it comes from.
 *
 * Owner:   the caller; a value.
 * Thread:  any.
 * Limits:  none. A scope id is not part of it.
 */
#ifndef PENEUS_SERVER_ADDRESS_H
#define PENEUS_SERVER_ADDRESS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { ADDRESS_SIZE = 16, ADDRESS_TEXT_SIZE = 46, ADDRESS_V4_PREFIX = 96 };

/* As IPv6; IPv4 as ::ffff:a.b.c.d, and so are the same both ways of writing it. */
struct address {
    unsigned char bytes[ADDRESS_SIZE];
};

/* Reads length bytes of text, such as "192.0.2.1" or "2001:db8::1": 0; -1: they are no address. */
int address_parse(struct address *address, const char *text, size_t length);

/* Of the 4 bytes of an IPv4 address. */
struct address address_from_v4(const void *bytes);

bool address_is_v4(const struct address *address);

/* The shortest text, NUL-terminated; IPv4 with dots. */
void address_text(const struct address *address, char text[ADDRESS_TEXT_SIZE]);

/* Whether the first bits (0 to 128) of both are the same. */
bool address_matches(const struct address *address, const struct address *network, unsigned bits);

/* Whom a limit for each address counts together: an IPv4 address, or an IPv6 network of 64 bits, which any customer has to himself. */
struct address address_origin(const struct address *address);

#endif
