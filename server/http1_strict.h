/* http1_strict.h: the rules above llhttp: what it lets pass and we do not, rule by rule, with the RFC's section. Sans I/O.
 *
 * Owner:   the parser embeds struct http1_strict, one for each message.
 * Thread:  the I/O thread.
 * Limits:  STRICT_EMPTY_LINES before a request; STRICT_METHOD bytes of a method that nobody knows.
 *
 * A rule is worth its place where two readers of the same bytes could disagree about them: where a message ends, to whom
 * it goes, what it asks for. Whoever breaks one gets a status and no second chance: the connection closes.
 */
#ifndef PENEUS_SERVER_HTTP1_STRICT_H
#define PENEUS_SERVER_HTTP1_STRICT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "server/event.h"

enum { STRICT_EMPTY_LINES = 4, STRICT_METHOD = 32 };

/* What the fields of a head have said so far. */
struct http1_strict {
    unsigned char empty_lines;   /* before the request line */
    unsigned char method_length; /* of a method that llhttp does not know */
    bool begun;                  /* the request line has */
    bool in_line_end;            /* the CR of an empty line has come, its LF has not */
    bool unknown_method;         /* llhttp has refused it; its end is awaited */
    bool host, chunked, close, keep_alive, upgrade, websocket, expect_continue, expect_other;
};

/* Passes over the empty lines before a request line: how many of the bytes, in *skipped. 0, or the status of a refusal. */
uint16_t http1_strict_begin(struct http1_strict *strict, const unsigned char *bytes, size_t length, size_t *skipped);

/* Reads on in a method that llhttp has refused. 501 if it is a method; 400 if it is none; 0 while that is open. */
uint16_t http1_strict_method(struct http1_strict *strict, const unsigned char *bytes, size_t length);

/* One field, its name in lower case, its value without the blanks around it. 0, or the status of a refusal. */
uint16_t http1_strict_field(struct http1_strict *strict, const unsigned char *name, size_t name_length, const unsigned char *value,
                            size_t value_length);

/* The target of a request, of which *target is cut down to path and query, or "*". Of an absolute-form *authority is the host
 * that counts, whatever Host says; otherwise its length is 0. May move bytes of the target. 0, or the status of a refusal. */
uint16_t http1_strict_target(unsigned char *bytes, bool options, struct piece *target, struct piece *authority);

/* The whole head, once its fields have been seen; chunked: llhttp will read the body so. 0, or the status of a refusal. */
uint16_t http1_strict_head(const struct http1_strict *strict, unsigned minor, bool chunked);

/* Will the client send another request? */
bool http1_strict_keep_alive(const struct http1_strict *strict, unsigned minor);

#endif
