/* hub_frame.h: what a process and the hub say to each other, as frames. Sans I/O.
 *
 * Owner:   nobody; a struct hub_frame points into the bytes it was read from.
 * Thread:  any.
 * Limits:  HUB_FRAME_LIMIT bytes. What is longer, of an unknown kind or does not fit in itself is refused.
 *
 *     u32 length of what follows │ u8 kind │ u8 length of name │ u64 number │ name │ payload        (little endian)
 */
#ifndef PENEUS_CHANNELLAYER_BUS_HUB_FRAME_H
#define PENEUS_CHANNELLAYER_BUS_HUB_FRAME_H

#include <stddef.h>
#include <stdint.h>

#include "channellayer/layer.h"
#include "channellayer/span.h"

enum { HUB_VERSION = 1, HUB_FRAME_LIMIT = 256 * 1024 * 1024, HUB_HEAD_SIZE = 14, HUB_NAME_LIMIT = 255 };

enum hub_kind {
    HUB_HELLO = 1, /* first of all, both ways. number: HUB_VERSION; name, to the hub: the client in `prefix.{client}!…` names */
    HUB_JOIN,      /* to the hub: name is a group that has a member here */
    HUB_LEAVE,     /* to the hub: it has none any more */
    HUB_RECEIVE,   /* to the hub: messages for the channel name are received here */
    HUB_UNRECEIVE, /* to the hub: no more */
    HUB_PUBLISH,   /* both ways: payload for the members of the group name */
    HUB_SEND,      /* both ways: payload for the channel name; number: its capacity */
    HUB_SETTLE,    /* to the hub: number comes back as HUB_SETTLED when everything before it has been done */
    HUB_SETTLED,   /* to the process */
    HUB_GAP,       /* to the process: it was so slow that messages for it were dropped */
    HUB_QUERY,     /* both ways: which channels are in the group name? number comes back */
    HUB_ANSWER,    /* both ways: number; payload: a length byte and a name for each channel; name, to the process: "?": some did not answer */
    HUB_KINDS,
};

struct hub_frame {
    enum hub_kind kind;
    uint64_t number;
    struct name name;
    struct span payload;
};

/* 1: *frame, and *taken bytes were used; 0: more bytes are needed; -1: this is no frame. */
int hub_frame_read(const unsigned char *bytes, size_t length, struct hub_frame *frame, size_t *taken);

/* Writes everything but the payload, which follows it, into head: HUB_HEAD_SIZE + name.length bytes. -1: too long; nothing was written. */
int hub_frame_write_head(const struct hub_frame *frame, unsigned char *head);

static inline size_t hub_frame_size(const struct hub_frame *frame)
{
    return HUB_HEAD_SIZE + frame->name.length + frame->payload.length;
}

#endif
