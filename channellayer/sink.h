/* sink.h: where receivers that wait for a message are told that one has come: one for each event loop.
 *
 * Owner:   counted: the event loop's port, and every waiter that is armed.
 * Thread:  any; sink_take() from the loop's thread alone.
 * Limits:  at most one item for each armed waiter.
 *
 * A waiter is named by a token of the loop's choice. Being told is a hint: the message stays in its mailbox
 * until layer_receive() takes it, so a receiver that was cancelled meanwhile loses nothing for anyone.
 */
#ifndef PENEUS_CHANNELLAYER_SINK_H
#define PENEUS_CHANNELLAYER_SINK_H

#include <stdint.h>

struct layer;
struct sink;

/* One told waiter: its token, and the channel it waited on. */
struct sink_item {
    uint64_t token;
    uint64_t channel; /* for layer_pass() */
    struct layer *layer; /* counted: release it with layer_release() */
    int status;          /* of layer_receive(), layer_settle() and layer_query() */
    struct message *answer; /* of layer_query(), or a reason of layer_settle(); counted, or NULL */
};

/* wake(argument) is called from any thread, without a lock but the sink's own, when the sink gets an item and its loop
 * sleeps: it must not block and not call the sink. */
struct sink *sink_create(void (*wake)(void *argument), void *argument);
struct sink *sink_retain(struct sink *sink);
void sink_release(struct sink *sink);

/* The loop is gone: what it was told, and would be from now on, goes to the next receiver that waits (layer_pass); wake is
 * never called again after it returns. Thread: the loop's, or any when that is no more. */
void sink_close(struct sink *sink);

/* Takes one item: 1, or 0 when there is none, and then the loop sleeps (base/queue.h). */
int sink_take(struct sink *sink, struct sink_item *item);

#endif
