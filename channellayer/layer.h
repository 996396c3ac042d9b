/* layer.h: channels, groups and the messages between them: the Channels specification, without Python.
 *
 * Owner:   counted; asgi/ creates one for each entry of CHANNEL_LAYERS.
 * Thread:  any; one lock for each layer, never held across a call out.
 * Limits:  each mailbox has a capacity in messages and one in bytes; a group message over it meets its group's overflow
 *          policy (overflow.h), a direct send LAYER_FULL. Names are checked by the caller.
 */
#ifndef PENEUS_CHANNELLAYER_LAYER_H
#define PENEUS_CHANNELLAYER_LAYER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "channellayer/message.h"
#include "channellayer/overflow.h"

struct bus;
struct layer;
struct owners;
struct sink;

enum layer_result {
    LAYER_OK = 0,
    LAYER_EMPTY = -1,     /* no message: the waiter is armed */
    LAYER_FULL = -2,      /* the mailbox is at its capacity, in messages or in bytes */
    LAYER_TOO_LARGE = -3, /* the message is larger than message_limit */
    LAYER_CLOSED = -4,    /* the channel's owner is closed or gone: nothing was changed (counted) */
    LAYER_UNKNOWN = -5,   /* no such channel in this process, and its name says that it was one (layer_send() counts it) */
    LAYER_NO_MEMORY = -6, /* nothing was changed */
    LAYER_UNSENT = -7,    /* the bus cannot send it: it is not connected, and its buffer is full or has waited too long */
    LAYER_REFUSED = -8,   /* the other side has refused it; a reason for people goes with it */
};

/* A name: not NUL-terminated, at most 99 bytes long by the specification. */
struct name {
    const char *bytes;
    size_t length;
};

struct layer_config {
    uint64_t expiry_ms;        /* of a message in a mailbox */
    uint64_t group_expiry_ms;  /* of a membership */
    size_t message_limit;      /* bytes of one encoded message; 0, or more than mailbox_bytes: mailbox_bytes */
    size_t mailbox_bytes;      /* bytes that one mailbox holds; a message's and its key's count */
    uint64_t (*now_ms)(void);  /* NULL: clock_ms */
    bool json;                 /* messages are JSON; otherwise MessagePack */
    struct name local_prefix;  /* a channel `{local_prefix}….{32 hex}` belongs to this process, as one with "!" does; empty: none. Used
                                * during layer_create() alone */
    /* Makes the layer's bus (bus.h) from bus_settings; NULL when there is no memory. NULL: the local bus. */
    struct bus *(*bus_create)(struct layer *layer, const void *bus_settings);
    const void *bus_settings;  /* used during layer_create() alone */
};

/* How a bus is doing; all zero where there are no other processes. */
struct bus_stats {
    uint64_t links;         /* gauges: connections that the bus wants */
    uint64_t links_up;      /* that it has */
    uint64_t bytes_pending; /* of messages asked for, not yet sent and confirmed */
    uint64_t published;     /* counters: messages sent and confirmed */
    uint64_t received;      /* that came from elsewhere */
    uint64_t unsent;        /* that could not be sent */
    uint64_t refused;       /* that found a channel full elsewhere */
    uint64_t unreadable;    /* that came and could not be decrypted or read */
    uint64_t reconnects;
    uint64_t gaps;          /* times that messages to this process may have been lost */
    char trouble[200];      /* why it is not connected, or the last command was refused, for people; "": all is well */
};

struct layer_stats {
    uint64_t channels;
    uint64_t groups;
    uint64_t group_members;
    uint64_t messages_queued;
    uint64_t bytes_queued;
    uint64_t dropped[OVERFLOW_COUNT];  /* by policy */
    uint64_t dropped_expired;
    uint64_t dropped_unknown;          /* sent to a channel that is gone */
    uint64_t refused_full;             /* direct sends that got LAYER_FULL */
    uint64_t subscriptions_discarded;  /* memberships ended by owner_close */
    uint64_t late_group_adds;          /* group_add after owner_close, LAYER_CLOSED, or after owner_end, LAYER_UNKNOWN */
    uint64_t waiters;
    uint64_t orphaned_channels;        /* owned by an owner that is gone: always 0 */
    struct bus_stats bus;
};

/* LAYER_OK or LAYER_NO_MEMORY. The layer starts with one reference and the local bus. */
int layer_create(struct layer **result, const struct layer_config *config, struct owners *owners);
struct layer *layer_retain(struct layer *layer);
void layer_release(struct layer *layer);

/* A new channel for owner (0: nobody), with room for capacity messages. A channel of that name that nobody owns becomes
 * owner's; one that has an owner stays as it is. gaps: it wants to be told when messages may have been lost (bus.h).
 * LAYER_OK, LAYER_NO_MEMORY; LAYER_CLOSED where owner is gone: nothing is stored, the name may be used. */
int layer_channel_create(struct layer *layer, struct name channel, size_t capacity, uint64_t owner, bool gaps);

/* Puts message (a reference is taken) into channel. One that layer_channel_create() has not made is the bus's to reach:
 * LAYER_OK, LAYER_UNSENT. With the local bus it is made, with capacity and without owner, unless its name has a "!":
 * then LAYER_UNKNOWN. LAYER_OK, LAYER_FULL, LAYER_TOO_LARGE, LAYER_UNKNOWN, LAYER_UNSENT, LAYER_NO_MEMORY. */
int layer_send(struct layer *layer, struct name channel, size_t capacity, struct message *message);

/* Takes the oldest message that has not expired into *message, the caller's to release: LAYER_OK.
 * Otherwise LAYER_EMPTY: sink will be told token, once: LAYER_OK when there may be one, LAYER_UNKNOWN when the channel's owner has
 * ended and none will come. LAYER_NO_MEMORY. A channel that is not there is made as in layer_send; with a "!" in its name it is
 * LAYER_UNKNOWN: none will ever come, no waiter is stored, sink is never told, and layer_cancel() has nothing to do. */
int layer_receive(struct layer *layer, struct name channel, size_t capacity, struct sink *sink, uint64_t token,
                  struct message **message);

/* The receiver with token no longer waits. It may have been told already: the sink's item then goes to layer_pass(). */
void layer_cancel(struct layer *layer, struct name channel, struct sink *sink, uint64_t token);

/* A told receiver has gone: tells the next one waiting on channel (a sink_item's), if it holds a message. */
void layer_pass(struct layer *layer, uint64_t channel);

/* Joins, or renews the expiry of, a membership; overflow is the group's policy if this is its first member. A channel
 * that is not there is made, as in layer_send. LAYER_OK, LAYER_CLOSED, LAYER_UNKNOWN, LAYER_NO_MEMORY. */
int layer_group_add(struct layer *layer, struct name group, struct name channel, size_t capacity, enum overflow overflow);

/* Leaves; not being a member is no error. */
void layer_group_discard(struct layer *layer, struct name group, struct name channel);

/* Puts message into the mailbox of every member. LAYER_OK, LAYER_TOO_LARGE, LAYER_UNSENT, LAYER_NO_MEMORY (delivered to some). */
int layer_group_send(struct layer *layer, struct name group, struct message *message);

/* Whether channel is in this process. */
bool layer_has(struct layer *layer, struct name channel);

/* What layer_settle() waits for. */
struct settling {
    struct name group;   /* what was asked for this group, or this channel; both empty: everything */
    struct name channel;
    bool joined;         /* it is a join or a new channel: where the other side is known to be away, it is not waited for */
    uint64_t wait_ms;    /* longest wait; then LAYER_UNSENT */
};

/* Whether what was asked of the bus before has been confirmed: LAYER_OK. LAYER_EMPTY: sink will be told token, once, with the
 * status LAYER_OK, LAYER_UNSENT (not confirmed in time, or lost), LAYER_REFUSED (the answer, if there is one, is the reason), or
 * LAYER_FULL: the layer_send() just before found the channel full elsewhere. LAYER_NO_MEMORY. */
int layer_settle(struct layer *layer, const struct settling *what, struct sink *sink, uint64_t token);

/* Asks the other processes which channels they have in group: LAYER_EMPTY, and sink will be told token, once, with a status: LAYER_OK,
 * and as its answer a length byte and a name for each channel; LAYER_REFUSED, and as its answer a reason for people; LAYER_UNSENT or
 * LAYER_NO_MEMORY. LAYER_OK: there are no others that could be asked. LAYER_NO_MEMORY. */
int layer_query(struct layer *layer, struct name group, struct sink *sink, uint64_t token);

/* Empties every mailbox and every group, and forgets channels that nobody owns and nobody waits on. */
void layer_flush(struct layer *layer);

/* Drops what has expired, and channels without owner that are then empty, in no group and waited for by nobody; one with a
 * "!" in its name, which cannot be made anew, only after it has been so for group_expiry_ms.
 * Cheap when there is nothing: call it about once a second. */
void layer_sweep(struct layer *layer);

/* Gauges and counters, consistent with each other. */
void layer_stats(struct layer *layer, struct layer_stats *stats);

/* Of its bus alone: cheap. */
void layer_bus_stats(struct layer *layer, struct bus_stats *stats);

struct layer_group_info {
    struct name name;
    size_t members;
    uint64_t messages;     /* sent to it while it had members here */
    uint64_t dropped;      /* of its messages, or for them */
    uint64_t queued;       /* in its members' mailboxes, whoever sent it */
    uint64_t queued_bytes;
};

enum { CHANNEL_INFO_GROUPS = 64 };

struct layer_channel_info {
    struct name name;
    uint64_t owner;        /* 0: nobody */
    uint64_t queued;
    uint64_t queued_bytes;
    uint64_t dropped;      /* group messages, by overflow */
    size_t group_count;    /* of groups */
    struct name groups[CHANNEL_INFO_GROUPS]; /* that it is in, the first of them */
};

/* Calls each(context, channel) for every member of group in this process, under the layer's lock. */
void layer_each_member(struct layer *layer, struct name group, void (*each)(void *context, struct name channel), void *context);

/* Call each(context, info) for every group or channel, under the layer's lock: it must copy what it keeps and not call the
 * layer. */
void layer_each_group(struct layer *layer, void (*each)(void *context, const struct layer_group_info *info), void *context);
void layer_each_channel(struct layer *layer, void (*each)(void *context, const struct layer_channel_info *info), void *context);

#endif
