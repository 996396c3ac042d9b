/* buffer.h: bytes that grow at the end and are taken from the front.
 *
 * Owner:   the struct that embeds it.
 * Thread:  its owner's.
 * Limits:  none of its own; growing can fail, and says so.
 */
#ifndef PENEUS_SERVER_BUFFER_H
#define PENEUS_SERVER_BUFFER_H

#include <stddef.h>

struct buffer {
    unsigned char *bytes; /* of the allocation */
    size_t start;         /* of what has not been taken */
    size_t end;
    size_t capacity;
};

void buffer_init(struct buffer *buffer);

/* Frees the bytes; the buffer is empty and usable. */
void buffer_deinit(struct buffer *buffer);

/* What it holds. */
static inline size_t buffer_length(const struct buffer *buffer)
{
    return buffer->end - buffer->start;
}

static inline unsigned char *buffer_bytes(const struct buffer *buffer)
{
    return buffer->bytes != NULL ? buffer->bytes + buffer->start : NULL;
}

/* Room for length more bytes, to be written at the returned place and then claimed by adding to end; NULL when there is no memory. */
unsigned char *buffer_reserve(struct buffer *buffer, size_t length);

/* 0, or -1 when there is no memory: nothing was appended. */
int buffer_append(struct buffer *buffer, const void *bytes, size_t length);

/* As buffer_append, of a NUL-terminated string. */
int buffer_append_string(struct buffer *buffer, const char *string);

/* Takes length bytes, at most buffer_length(), from the front. */
void buffer_consume(struct buffer *buffer, size_t length);

#endif
