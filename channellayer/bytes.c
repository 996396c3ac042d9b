#include "channellayer/bytes.h"

#include <stdint.h>
#include <string.h>

#include "base/alloc.h"

enum { FIRST_ROOM = 128 };

void bytes_deinit(struct bytes *bytes)
{
    mem_free(bytes->data);
    *bytes = (struct bytes){ 0 };
}

static bool grow(struct bytes *bytes, size_t needed)
{
    size_t room = bytes->room > 0 ? bytes->room : FIRST_ROOM;
    while (room < needed)
        room *= 2;
    unsigned char *data = mem_try_realloc(bytes->data, room);
    if (data == NULL)
        return false;
    bytes->data = data;
    bytes->room = room;
    return true;
}

unsigned char *bytes_extend(struct bytes *bytes, size_t size)
{
    if (bytes->failed || size > SIZE_MAX / 4 - bytes->length ||
        (size > bytes->room - bytes->length && !grow(bytes, bytes->length + size))) {
        bytes->failed = true;
        return NULL;
    }
    unsigned char *added = bytes->data + bytes->length;
    bytes->length += size;
    return added;
}

void bytes_add(struct bytes *bytes, const void *data, size_t size)
{
    if (size == 0)
        return;
    unsigned char *added = bytes_extend(bytes, size);
    if (added != NULL)
        memcpy(added, data, size);
}

void bytes_add_byte(struct bytes *bytes, unsigned char byte)
{
    bytes_add(bytes, &byte, 1);
}

void bytes_cut(struct bytes *bytes, size_t length)
{
    if (length < bytes->length)
        bytes->length = length;
}
