#include "channellayer/bus/hub_frame.h"

#include <string.h>

static void write_number(unsigned char *bytes, uint64_t number, size_t count)
{
    for (size_t i = 0; i < count; i++)
        bytes[i] = (unsigned char)(number >> 8 * i);
}

static uint64_t read_number(const unsigned char *bytes, size_t count)
{
    uint64_t number = 0;
    for (size_t i = count; i > 0; i--)
        number = number << 8 | bytes[i - 1];
    return number;
}

int hub_frame_read(const unsigned char *bytes, size_t length, struct hub_frame *frame, size_t *taken)
{
    if (length < 4)
        return 0;
    uint64_t size = read_number(bytes, 4);
    if (size < HUB_HEAD_SIZE - 4 || size > HUB_FRAME_LIMIT - 4)
        return -1;
    if (length < 6)
        return 0;
    unsigned char kind = bytes[4], name_length = bytes[5];
    if (kind < HUB_HELLO || kind >= HUB_KINDS || size < HUB_HEAD_SIZE - 4 + (uint64_t)name_length)
        return -1;
    if (length < 4 + size)
        return 0;
    const unsigned char *name = bytes + HUB_HEAD_SIZE;
    *frame = (struct hub_frame){
        .kind = (enum hub_kind)kind,
        .number = read_number(bytes + 6, 8),
        .name = { (const char *)name, name_length },
        .payload = { name + name_length, (size_t)(4 + size) - HUB_HEAD_SIZE - name_length },
    };
    *taken = (size_t)(4 + size);
    return 1;
}

int hub_frame_write_head(const struct hub_frame *frame, unsigned char *head)
{
    if (frame->name.length > HUB_NAME_LIMIT || frame->payload.length > HUB_FRAME_LIMIT - HUB_HEAD_SIZE - frame->name.length)
        return -1;
    write_number(head, hub_frame_size(frame) - 4, 4);
    head[4] = (unsigned char)frame->kind;
    head[5] = (unsigned char)frame->name.length;
    write_number(head + 6, frame->number, 8);
    if (frame->name.length > 0)
        memcpy(head + HUB_HEAD_SIZE, frame->name.bytes, frame->name.length);
    return 0;
}
