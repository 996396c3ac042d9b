/* layer_take.h: a message of a layer for somebody who has another place to look as well (asgi/inbox.h).
 *
 * Owner:   nobody.
 * Thread:  any.
 * Limits:  layer.h's.
 */
#ifndef PENEUS_CHANNELLAYER_LAYER_TAKE_H
#define PENEUS_CHANNELLAYER_LAYER_TAKE_H

#include "channellayer/layer.h"

/* As layer_receive(), for a message that was made before `before` (clock_ns()); where there is none, nobody waits. LAYER_OK,
 * LAYER_EMPTY. */
int layer_take_before(struct layer *layer, struct name channel, uint64_t before, struct message **message);

#endif
