/* forwarded.h: what trusted proxies say in a request's headers about who it came from: X-Forwarded-*, or Forwarded (RFC 7239).
 * Sans I/O.
 *
 * Owner:   nobody: functions only.
 * Thread:  any.
 * Limits:  those of the request's headers; nothing is allocated.
 *
 * Each proxy appends the address that it was spoken to from. So the last address is the nearest one's word, and true; the one before
 * it is true if that one is a trusted proxy, and so on: the first that is not trusted, from the right, is the client. What is to the
 * left of it anybody may have written. Only one family of headers counts: a proxy that writes the one lets the other pass.
 */
#ifndef PENEUS_SERVER_FORWARDED_H
#define PENEUS_SERVER_FORWARDED_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "server/address.h"
#include "server/event.h"

struct trust;

/* Which headers count, by their lower-case names; NULL: that one does not. */
struct forwarded_rules {
    const char *standard; /* "forwarded"; then no other counts */
    const char *address;  /* "x-forwarded-for" */
    const char *port;     /* of the client, as Daphne has it */
    const char *proto;
    const char *host;
};

enum forwarded_scheme { FORWARDED_SAME, FORWARDED_HTTP, FORWARDED_HTTPS };

struct forwarded {
    bool has_client;
    struct address client;
    uint16_t port; /* 0: nobody said */
    enum forwarded_scheme scheme;
    const unsigned char *host; /* in the request's bytes; NULL: nobody said */
    size_t host_length;
    unsigned malformed; /* values that were ignored */
};

/* Reads the fields of a request whose connection comes from a trusted peer; bytes are those that the fields' pieces point into. */
void forwarded_read(const struct forwarded_rules *rules, const struct trust *trust, const unsigned char *bytes,
                    const struct field *fields, uint32_t count, struct forwarded *forwarded);

#endif
