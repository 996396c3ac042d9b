/* load.h: what one connection asks of the application's thread, and what all connections of a server ask together.
 *
 * Owner:   counted. A connection and each of its exchanges hold a reference: an application may run longer than its connection.
 * Thread:  the I/O thread.
 * Limits:  http2_max_applications; the caller compares. HTTP/1 has one exchange at a time: its connections use the server's load.
 */
#ifndef PENEUS_SERVER_LOAD_H
#define PENEUS_SERVER_LOAD_H

#include <stddef.h>

struct load {
    size_t references;
    size_t applications; /* exchanges that have begun and are not freed: whose application runs, or whose stream is open */
};

struct load *load_create(void);
struct load *load_retain(struct load *load);
void load_release(struct load *load);

/* An exchange begins; it is freed. */
void load_begin_application(struct load *load);
void load_end_application(struct load *load);

#endif
