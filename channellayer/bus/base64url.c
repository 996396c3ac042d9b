#include "channellayer/bus/base64url.h"

#include <stdint.h>

static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

void base64url_encode(unsigned char *out, const unsigned char *data, size_t length)
{
    for (size_t i = 0; i < length; i += 3) {
        size_t left = length - i;
        uint32_t bits = (uint32_t)data[i] << 16;
        bits |= left > 1 ? (uint32_t)data[i + 1] << 8 : 0;
        bits |= left > 2 ? data[i + 2] : 0;
        *out++ = (unsigned char)digits[bits >> 18];
        *out++ = (unsigned char)digits[bits >> 12 & 63];
        *out++ = left > 1 ? (unsigned char)digits[bits >> 6 & 63] : '=';
        *out++ = left > 2 ? (unsigned char)digits[bits & 63] : '=';
    }
}

/* 64: no digit. */
static uint32_t value_of(unsigned char byte)
{
    if (byte >= 'A' && byte <= 'Z')
        return byte - (uint32_t)'A';
    if (byte >= 'a' && byte <= 'z')
        return byte - (uint32_t)'a' + 26;
    if (byte >= '0' && byte <= '9')
        return byte - (uint32_t)'0' + 52;
    return byte == '-' ? 62 : byte == '_' ? 63 : 64;
}

long base64url_decode(unsigned char *out, const unsigned char *text, size_t length)
{
    unsigned char *begin = out;
    if (length % 4 != 0)
        return -1;
    size_t padding = length > 0 && text[length - 1] == '=' ? 1 + (size_t)(text[length - 2] == '=') : 0;
    for (size_t i = 0; i < length; i += 4) {
        size_t count = i + 4 == length ? 4 - padding : 4;
        uint32_t bits = 0;
        for (size_t k = 0; k < 4; k++) {
            uint32_t value = k < count ? value_of(text[i + k]) : 0;
            if (value == 64)
                return -1;
            bits = bits << 6 | value;
        }
        if (bits & ((1u << (4 - count) * 8) - 1))
            return -1; /* bits that no byte has */
        for (size_t k = 0; k + 1 < count; k++)
            *out++ = (unsigned char)(bits >> (16 - 8 * k));
    }
    return out - begin;
}
