/* patience.h: whether those who join something wait for a server's answer. One that is away, or has let somebody wait in vain, is
 * not waited for: what was asked is done when it is back, and a client that connects meanwhile is served.
 *
 * Owner:   whoever embeds it: one for each connection that joins are sent on.
 * Thread:  the bus's.
 * Limits:  those who join one after the other wait for one server no longer than the longest of their waits, or PATIENCE_AWAY_MS.
 */
#ifndef PENEUS_CHANNELLAYER_BUS_PATIENCE_H
#define PENEUS_CHANNELLAYER_BUS_PATIENCE_H

#include <stdbool.h>
#include <stdint.h>

enum { PATIENCE_AWAY_MS = 1000 }; /* a lost connection is usually back sooner */

struct patience {
    uint64_t away_since; /* clock_ms(): it is not connected; 0: it is */
    uint64_t vain_since; /* clock_ms(): somebody waited in vain; 0: nobody has since it was heard from */
};

static inline void patience_away(struct patience *patience, uint64_t now)
{
    patience->away_since = now;
    patience->vain_since = 0;
}

static inline void patience_back(struct patience *patience)
{
    *patience = (struct patience){ 0 };
}

/* Somebody has waited for as long as was allowed. */
static inline void patience_in_vain(struct patience *patience, uint64_t now)
{
    patience->vain_since = now;
}

/* heard_at: when the server was heard from last; on the clock of now. */
static inline bool patience_is_over(struct patience *patience, uint64_t now, uint64_t heard_at)
{
    if (heard_at > patience->vain_since)
        patience->vain_since = 0;
    return patience->vain_since != 0 || (patience->away_since != 0 && now >= patience->away_since + PATIENCE_AWAY_MS);
}

#endif
