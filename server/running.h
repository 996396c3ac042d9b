/* running.h: the servers of this process whose I/O thread runs, so that those threads can be halted at the process's end, before
 * the libraries that they use (OpenSSL) are shut down.
 *
 * Owner:   server_start() and server_destroy() add and remove.
 * Thread:  any; one lock.
 * Limits:  none.
 */
#ifndef PENEUS_SERVER_RUNNING_H
#define PENEUS_SERVER_RUNNING_H

struct server;

void running_add(struct server *server);

/* Once or never added: does nothing where it is not there. */
void running_remove(struct server *server);

/* Halts every I/O thread as it stands, and waits until they have ended; nothing is closed or told. For the process's last moments:
 * no server can be used afterwards. In a fork, which has no such threads, it does nothing. */
void running_halt(void);

#endif
