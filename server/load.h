/* load.h: what one connection asks of the application's thread, and what all connections of a server ask together.
 *
 * Owner:   counted. A connection, each of its exchanges and each of its events that load counts hold a reference: an application may run
 *          longer than its connection.
 * Thread:  load_take_head() and load_release() any; the rest the I/O thread.
 * Limits:  head_window, head_backlog and http2_max_applications; the caller compares. HTTP/1 has one exchange at a time: its connections
 *          use the server's load.
 */
#ifndef PENEUS_SERVER_LOAD_H
#define PENEUS_SERVER_LOAD_H

#include <stdatomic.h>
#include <stddef.h>

struct load {
    struct load *whole;       /* counted: the server's, of which this is a part; NULL: this is the server's */
    _Atomic size_t references;
    _Atomic size_t heads;     /* weight of the EVENT_REQUESTs and EVENT_REFUSEDs that the application's thread has not taken */
    size_t applications;      /* exchanges that have begun and are not freed: whose application runs, or whose stream is open */
};

/* A part of whole; NULL: a whole. */
struct load *load_create(struct load *whole);
struct load *load_retain(struct load *load);
void load_release(struct load *load);

/* An exchange begins; it is freed. */
void load_begin_application(struct load *load);
void load_end_application(struct load *load);

/* A request of weight bytes is queued for the application's thread, which takes it. The whole counts it too. */
void load_add_head(struct load *load, size_t weight);
void load_take_head(struct load *load, size_t weight);

static inline size_t load_heads(const struct load *load)
{
    return atomic_load_explicit(&load->heads, memory_order_relaxed);
}

#endif
