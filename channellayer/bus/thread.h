/* thread.h: the one native thread on which the buses of this process do their work, with its libuv loop.
 *
 * Owner:   counted: every bus, and the hub; it starts with the first count and ends with the last.
 * Thread:  bus_thread_retain, _release and _post from any; the loop belongs to the thread.
 * Limits:  one for the process. All signals are blocked in it, and it never takes the GIL. A child that forks begins without one.
 *
 * Not the server's I/O thread: a layer is at work in processes without a server too, and outlives a server.
 */
#ifndef PENEUS_CHANNELLAYER_BUS_THREAD_H
#define PENEUS_CHANNELLAYER_BUS_THREAD_H

#include <uv.h>

#include "base/queue.h"

struct bus_thread;

/* Something to do on the thread. Whoever posts it keeps it in place until run is called, and posts it once at a time. */
struct bus_task {
    struct queue_item item;
    void (*run)(struct bus_task *task);
};

/* NULL: the thread cannot be started. */
struct bus_thread *bus_thread_retain(void);

/* Every handle that its owner opened on the loop has been closed. May be called on the thread itself. */
void bus_thread_release(struct bus_thread *thread);

/* Around the time that a count takes to be given back: bus_thread_halt() waits for it. */
void bus_thread_leaving(void);
void bus_thread_left(void);

/* Before the process exits: the thread runs nothing any more, so that it uses no library that is being shut down. Waits at most
 * wait_ms for those that are leaving, and as long again for the thread. Nothing is freed; what is posted later is never done. */
void bus_thread_halt(unsigned wait_ms);

/* task->run(task) on the thread, in the order of the posts. */
void bus_thread_post(struct bus_thread *thread, struct bus_task *task);

/* For use on the thread alone. */
uv_loop_t *bus_thread_loop(struct bus_thread *thread);

#endif
