#include "channellayer/encode.h"

#include <stdio.h>

static void add_number(struct bytes *out, uint32_t number, int size)
{
    for (int shift = (size - 1) * 8; shift >= 0; shift -= 8)
        bytes_add_byte(out, (unsigned char)(number >> shift));
}

static void encode_text_msgpack(struct bytes *out, struct name text)
{
    uint32_t length = (uint32_t)text.length;
    if (length < 32) {
        bytes_add_byte(out, (unsigned char)(0xa0 | length));
    } else if (length < 0x100) {
        bytes_add_byte(out, 0xd9);
        add_number(out, length, 1);
    } else if (length < 0x10000) {
        bytes_add_byte(out, 0xda);
        add_number(out, length, 2);
    } else {
        bytes_add_byte(out, 0xdb);
        add_number(out, length, 4);
    }
    bytes_add(out, text.bytes, text.length);
}

static void encode_text_json(struct bytes *out, struct name text)
{
    bytes_add_byte(out, '"');
    for (size_t i = 0; i < text.length; i++) {
        unsigned char byte = (unsigned char)text.bytes[i];
        char escape[8];
        if (byte == '"' || byte == '\\') {
            bytes_add_byte(out, '\\');
            bytes_add_byte(out, byte);
        } else if (byte < 0x20) {
            snprintf(escape, sizeof escape, "\\u%04x", byte);
            bytes_add(out, escape, 6);
        } else {
            bytes_add_byte(out, byte);
        }
    }
    bytes_add_byte(out, '"');
}

void encode_text(struct bytes *out, bool json, struct name text)
{
    if (json)
        encode_text_json(out, text);
    else
        encode_text_msgpack(out, text);
}

static void add_head(struct bytes *out, uint32_t count, unsigned char small, unsigned char middle)
{
    if (count < 16) {
        bytes_add_byte(out, (unsigned char)(small | count));
    } else if (count < 0x10000) {
        bytes_add_byte(out, middle);
        add_number(out, count, 2);
    } else {
        bytes_add_byte(out, middle + 1);
        add_number(out, count, 4);
    }
}

void encode_list_head(struct bytes *out, uint32_t count)
{
    add_head(out, count, 0x90, 0xdc);
}

void encode_map_head(struct bytes *out, uint32_t count)
{
    add_head(out, count, 0x80, 0xde);
}
