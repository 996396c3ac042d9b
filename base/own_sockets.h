/* own_sockets.h: the sockets that native threads of this process have open. A child that forks without exec() closes them at once: its
 * copies would keep clients, a Redis or a port waiting for it when the parent has closed them, or has died.
 *
 * Owner:   whoever opened the descriptor, and closes it.
 * Thread:  any; one lock, which fork() takes too.
 * Limits:  one bit for each descriptor number. Where there is no memory for the bits, the child keeps the socket.
 */
#ifndef PENEUS_BASE_OWN_SOCKETS_H
#define PENEUS_BASE_OWN_SOCKETS_H

#include <stdbool.h>

/* No fork() of another thread comes between: around opening and adding, and around removing and closing. Nothing that may wait for
 * anything is called meanwhile. */
void own_sockets_lock(void);
void own_sockets_unlock(void);

/* With the lock. fd: negative ones are ignored. */
void own_sockets_add(int fd);
void own_sockets_remove(int fd);

/* Removes and closes. */
void own_sockets_close(int fd);

#endif
