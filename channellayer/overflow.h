/* overflow.h: what a full mailbox does to a group message.
 *
 * Owner:   a constant; each group has one, set when its first member joins.
 * Thread:  any.
 * Limits:  direct sends have no policy: they get LAYER_FULL.
 */
#ifndef PENEUS_CHANNELLAYER_OVERFLOW_H
#define PENEUS_CHANNELLAYER_OVERFLOW_H

enum overflow {
    OVERFLOW_DROP_OLDEST, /* the oldest queued messages make room */
    OVERFLOW_DROP_NEWEST, /* the new message is dropped */
    OVERFLOW_LATEST,      /* a queued message of the same key makes room, else the oldest */
    OVERFLOW_CLOSE,       /* the new message is dropped and the channel's connection closed with 1013 */
    OVERFLOW_COUNT
};

#endif
