/* encode.h: the little of MessagePack and JSON that a layer writes itself: text, lists of text, the head of a map.
 *
 * Owner:   the caller's bytes.
 * Thread:  any.
 * Limits:  texts are UTF-8 below 4 GiB.
 */
#ifndef PENEUS_CHANNELLAYER_ENCODE_H
#define PENEUS_CHANNELLAYER_ENCODE_H

#include <stdbool.h>
#include <stdint.h>

#include "channellayer/bytes.h"
#include "channellayer/layer.h"

/* text as a string, quoted and escaped in JSON. */
void encode_text(struct bytes *out, bool json, struct name text);

/* The heads of a MessagePack list and map. */
void encode_list_head(struct bytes *out, uint32_t count);
void encode_map_head(struct bytes *out, uint32_t count);

#endif
