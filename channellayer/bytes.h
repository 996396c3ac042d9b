/* bytes.h: bytes that are written one after the other.
 *
 * Owner:   whoever embeds it; zeroed it is empty.
 * Thread:  none of its own.
 * Limits:  none here. Where there is no memory, failed is set and nothing more is added: one look at the end is enough.
 */
#ifndef PENEUS_CHANNELLAYER_BYTES_H
#define PENEUS_CHANNELLAYER_BYTES_H

#include <stdbool.h>
#include <stddef.h>

struct bytes {
    unsigned char *data;
    size_t length;
    size_t room;
    bool failed;
};

void bytes_deinit(struct bytes *bytes);

/* size more bytes, the caller's to fill at once; NULL when there is no memory. */
unsigned char *bytes_extend(struct bytes *bytes, size_t size);

void bytes_add(struct bytes *bytes, const void *data, size_t size);
void bytes_add_byte(struct bytes *bytes, unsigned char byte);

/* Lets the last bytes go. */
void bytes_cut(struct bytes *bytes, size_t length);

#endif
