/* redis_sentinel.h: asks the Sentinels who the master is, and hears when it changes.
 *
 * Owner:   the link to the master; freed after on_closed.
 * Thread:  that of its loop.
 * Limits:  one connection, to one Sentinel at a time; the others are tried in turn.
 */
#ifndef PENEUS_CHANNELLAYER_BUS_REDIS_SENTINEL_H
#define PENEUS_CHANNELLAYER_BUS_REDIS_SENTINEL_H

#include <stdbool.h>
#include <uv.h>

struct redis_host;
struct redis_sentinel;

/* Each may call redis_sentinel_ask() and redis_sentinel_destroy(). */
struct redis_sentinel_events {
    void (*on_master)(void *context, const char *host, int port); /* the answer to the last redis_sentinel_ask() */
    void (*on_switch)(void *context, const char *host, int port); /* unasked: this is the master from now on */
    void (*on_failed)(void *context, const char *reason);         /* there is no answer: ask again later */
    void (*on_closed)(void *context);
};

/* host is a REDIS_SENTINEL and lives as long. NULL when there is no memory. */
struct redis_sentinel *redis_sentinel_create(uv_loop_t *loop, const struct redis_host *host, const struct redis_sentinel_events *events,
                                             void *context);

/* another: not the Sentinel that answered last. */
void redis_sentinel_ask(struct redis_sentinel *sentinel, bool another);

void redis_sentinel_destroy(struct redis_sentinel *sentinel);

#endif
