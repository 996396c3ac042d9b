#include "server/utf8.h"

#include <stdint.h>
#include <string.h>

/* Begins a character with a byte above 7F. */
static bool begin(struct utf8 *utf8, unsigned char byte)
{
    utf8->low = 0x80;
    utf8->high = 0xbf;
    if (byte >= 0xc2 && byte <= 0xdf) {
        utf8->missing = 1;
    } else if (byte >= 0xe0 && byte <= 0xef) {
        utf8->missing = 2;
        if (byte == 0xe0)
            utf8->low = 0xa0; /* shorter forms exist */
        if (byte == 0xed)
            utf8->high = 0x9f; /* surrogates */
    } else if (byte >= 0xf0 && byte <= 0xf4) {
        utf8->missing = 3;
        if (byte == 0xf0)
            utf8->low = 0x90;
        if (byte == 0xf4)
            utf8->high = 0x8f; /* above U+10FFFF */
    } else {
        return false;
    }
    return true;
}

bool utf8_feed(struct utf8 *utf8, const unsigned char *bytes, size_t length)
{
    size_t i = 0;
    while (i < length) {
        if (utf8->missing == 0) {
            uint64_t word;
            while (length - i >= sizeof word) {
                memcpy(&word, bytes + i, sizeof word);
                if (word & UINT64_C(0x8080808080808080))
                    break;
                i += sizeof word;
            }
            if (i == length)
                break;
            if (bytes[i] >= 0x80 && !begin(utf8, bytes[i]))
                return false;
        } else {
            if (bytes[i] < utf8->low || bytes[i] > utf8->high)
                return false;
            utf8->missing--;
            utf8->low = 0x80;
            utf8->high = 0xbf;
        }
        i++;
    }
    return true;
}
