/* fields.h: the fields of an encoded message's top-level map, one after the other, without decoding what is in them.
 *
 * Owner:   the caller; everything points into its bytes.
 * Thread:  any.
 * Limits:  no memory and no recursion, so no depth is too deep. What is not well-formed MessagePack or JSON ends the walk.
 */
#ifndef PENEUS_CHANNELLAYER_FIELDS_H
#define PENEUS_CHANNELLAYER_FIELDS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "channellayer/span.h"

enum field_kind {
    FIELD_NULL,
    FIELD_FALSE,
    FIELD_TRUE,
    FIELD_INTEGER, /* integer; one above INT64_MAX is FIELD_OTHER */
    FIELD_TEXT,    /* text: not checked to be UTF-8; JSON: between the quotes, see escaped */
    FIELD_BYTES,   /* text */
    FIELD_OTHER,   /* a float, a list, a map */
};

struct field {
    struct span key; /* JSON: between the quotes, as it stands there */
    enum field_kind kind;
    struct span text;
    bool escaped; /* JSON: text holds a backslash: field_unescape() */
    int64_t integer;
    struct span whole;       /* key and value as they stand, without a comma */
    struct span whole_value;
};

struct fields {
    bool json;
    bool begun;
    const unsigned char *next;
    const unsigned char *end;
    uint32_t left; /* MessagePack: fields still to come */
};

/* 0; or -1: bytes is no map. */
int fields_begin(struct fields *fields, bool json, const void *bytes, size_t length);

/* 1: *field; 0: there are no more, and nothing stands behind the map; -1: not well-formed. Not to be called again after 0 or -1. */
int fields_next(struct fields *fields, struct field *field);

/* Whether the key is name. */
bool field_is(const struct field *field, const char *name);

/* Writes an escaped text's characters as UTF-8 to out, which has room for text.length bytes: their number; -1: an escape is
 * wrong, or stands for half a surrogate pair. */
long field_unescape(const struct field *field, unsigned char *out);

#endif
