/* hub_server.h: the hub: routes messages between the processes of one machine that join it, over a Unix socket.
 *
 * Owner:   asgi/hub_type.c creates and closes it; it frees itself on the bus thread.
 * Thread:  hub_create, hub_close and hub_stats from any; the rest happens on the bus thread.
 * Limits:  HUB_OUT_LIMIT bytes wait for one slow process, then its oldest messages go (counted), and it is told that there was
 *          a gap. A channel that nobody receives from keeps `capacity` messages, HUB_EXPIRY_MS long; HUB_CHANNELS such channels,
 *          HUB_CHANNEL_BYTES for each and HUB_WAITING_BYTES for all.
 *
 * For its first HUB_GRACE_MS it sends nothing on: the processes of a hub that has died are coming back.
 * Only processes of the same user are let in. A group message goes to the processes that have announced a member, and not back to
 * the one that sent it; a message for `prefix.{client}!…` goes to the process of that client; one for another channel to one of the
 * processes that receive from it, in turn.
 */
#ifndef PENEUS_CHANNELLAYER_BUS_HUB_SERVER_H
#define PENEUS_CHANNELLAYER_BUS_HUB_SERVER_H

#include <stdint.h>
#include <stddef.h>

struct hub;

enum { HUB_OUT_LIMIT = 16 * 1024 * 1024, HUB_EXPIRY_MS = 60 * 1000, HUB_CHANNELS = 10000, HUB_CHANNEL_BYTES = 16 * 1024 * 1024, HUB_WAITING_BYTES = 64 * 1024 * 1024, HUB_GRACE_MS = 250 };

struct hub_stats {
    uint64_t members;   /* gauges: processes */
    uint64_t groups;
    uint64_t published; /* counters: group messages that came */
    uint64_t forwarded; /* the same, once for each process that got it */
    uint64_t dropped;   /* because a process was too slow, a channel full, or nobody there */
    uint64_t refused;   /* processes of other users, and such as did not keep to the rules */
};

/* Binds path (mode 0600; a socket that is left over is replaced) and serves. NULL, with a sentence in error (size bytes), where
 * path cannot be had: somebody else is the hub there (errno EADDRINUSE), or it is no socket, or cannot be bound. */
struct hub *hub_create(const char *path, char *error, size_t size);

/* Ends it: its socket is gone when this returns, its members are disconnected soon after. In a child that has forked from the
 * process of hub_create() it does nothing. */
void hub_close(struct hub *hub);

void hub_stats(struct hub *hub, struct hub_stats *stats);

#endif
