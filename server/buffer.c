#include "server/buffer.h"

#include <assert.h>
#include <stdint.h>
#include <string.h>

#include "base/alloc.h"

enum { SMALLEST = 256 };

void buffer_init(struct buffer *buffer)
{
    memset(buffer, 0, sizeof *buffer);
}

void buffer_deinit(struct buffer *buffer)
{
    mem_free(buffer->bytes);
    buffer_init(buffer);
}

unsigned char *buffer_reserve(struct buffer *buffer, size_t length)
{
    if (buffer->bytes != NULL && buffer->capacity - buffer->end >= length)
        return buffer->bytes + buffer->end;
    size_t held = buffer_length(buffer);
    if (length > SIZE_MAX / 4 - held)
        return NULL;
    if (buffer->bytes != NULL && buffer->capacity >= held + length && buffer->start >= held) {
        memcpy(buffer->bytes, buffer->bytes + buffer->start, held);
    } else {
        size_t capacity = buffer->capacity > SMALLEST ? buffer->capacity : SMALLEST;
        while (capacity < held + length)
            capacity *= 2;
        unsigned char *bytes = mem_try_alloc(capacity);
        if (bytes == NULL)
            return NULL;
        if (buffer->bytes != NULL && held > 0)
            memcpy(bytes, buffer->bytes + buffer->start, held);
        mem_free(buffer->bytes);
        buffer->bytes = bytes;
        buffer->capacity = capacity;
    }
    buffer->start = 0;
    buffer->end = held;
    return buffer->bytes + buffer->end;
}

int buffer_append(struct buffer *buffer, const void *bytes, size_t length)
{
    if (length == 0)
        return 0;
    unsigned char *room = buffer_reserve(buffer, length);
    if (room == NULL)
        return -1;
    memcpy(room, bytes, length);
    buffer->end += length;
    return 0;
}

int buffer_append_string(struct buffer *buffer, const char *string)
{
    return buffer_append(buffer, string, strlen(string));
}

void buffer_consume(struct buffer *buffer, size_t length)
{
    assert(length <= buffer_length(buffer));
    buffer->start += length;
    if (buffer->start == buffer->end) {
        buffer->start = 0;
        buffer->end = 0;
    }
}
