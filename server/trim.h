/* trim.h: gives memory back to the system after many clients have left. malloc() keeps what was freed between blocks that live on.
 *
 * Owner:   the server embeds it.
 * Thread:  the I/O thread. malloc_trim() itself runs on a thread of libuv's pool, as it takes a millisecond for some MiB.
 * Limits:  when TRIM_LEAST clients or more have left, and half of all, or when trim_soon() says so; TRIM_DELAY_MS after that.
 */
#ifndef PENEUS_SERVER_TRIM_H
#define PENEUS_SERVER_TRIM_H

#include <stdbool.h>
#include <stdint.h>
#include <uv.h>

enum { TRIM_LEAST = 1000, TRIM_DELAY_MS = 2000 };

struct trim {
    uv_timer_t timer;
    uv_work_t work;
    uint64_t most; /* clients at once, since the last time */
    bool due;      /* the timer runs, or the work */
};

void trim_init(struct trim *trim, uv_loop_t *loop);

/* There are so many clients: connections and exchanges. */
void trim_look(struct trim *trim, uint64_t clients);

/* Much has been freed. */
void trim_soon(struct trim *trim);

/* Before the loop stops. */
void trim_close(struct trim *trim);

#endif
