/* crew.h: the processes that share listening sockets, and which of them takes who comes next.
 *
 * Owner:   the memory is the supervisor's; each server has a mapping of it, and one place in it.
 * Thread:  the I/O thread, or the one that has not started it yet.
 * Limits:  CREW_SIZE places. Without a crew everybody is taken at once.
 *
 * The kernel wakes all of them and gives a connection to the fastest: on a quiet machine nearly always to the same one, and also
 * to one whose application stands still. So who has many more connections than another, or whose event loop does not beat,
 * lets the others go first, and looks again a little later.
 */
#ifndef PENEUS_SERVER_CREW_H
#define PENEUS_SERVER_CREW_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

enum { CREW_SIZE = 256, CREW_POLITE_MS = 2, CREW_STUCK_MS = 50, CREW_STALE_MS = 2500, CREW_SLACK = 4 };

/* One place. python/peneus/pulse.py knows this layout. */
struct crew_member {
    _Atomic uint64_t beat_ns;     /* when the event loop last ran, by clock_ns(); written by its thread. 0: nobody is here */
    _Atomic uint64_t connections; /* written by its I/O thread; CREW_AWAY: it takes none */
};

#define CREW_AWAY UINT64_MAX

struct crew {
    struct crew_member *members; /* CREW_SIZE; NULL: there is no crew */
    struct crew_member *own;
};

/* Takes place (below CREW_SIZE) in the memory that fd is, which may be closed afterwards. 0, or -1 with errno. */
int crew_join(struct crew *crew, int fd, unsigned place);

/* Says how many connections there are, or CREW_AWAY. */
void crew_tell(struct crew *crew, uint64_t connections);

/* How long to let others go first; 0: not at all. */
unsigned crew_wait_ms(const struct crew *crew, uint64_t now_ns);

/* Takes none any more. Twice is allowed. */
void crew_leave(struct crew *crew);

#endif
