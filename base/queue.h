/* queue.h: items handed from any thread to one consumer, in batches.
 *
 * Owner:   the consumer creates and destroys it; producers hold it only while it lives.
 * Thread:  queue_push from any; queue_take from the consumer alone.
 * Limits:  none here: every producer is bounded by credit (server/event.h, server/command.h).
 *
 * A producer wakes the consumer only when it sleeps: the consumer is awake from the push that woke it
 * until queue_take() has returned NULL. So it must call queue_take() until it does, or arrange its own
 * next wake-up.
 */
#ifndef PENEUS_BASE_QUEUE_H
#define PENEUS_BASE_QUEUE_H

#include <pthread.h>
#include <stdbool.h>

struct queue_item {
    struct queue_item *next;
};

/* A chain of items being built by one thread, first to last, for one queue_push(). */
struct queue_chain {
    struct queue_item *first;
    struct queue_item *last;
};

struct queue {
    pthread_mutex_t lock;
    struct queue_chain items;
    bool awake;
    void (*wake)(void *argument); /* any thread, no lock held; must not block */
    void *argument;
};

void queue_init(struct queue *queue, void (*wake)(void *argument), void *argument);

/* The queue must be empty. */
void queue_deinit(struct queue *queue);

/* Adds item at the end of chain. */
void queue_chain_add(struct queue_chain *chain, struct queue_item *item);

/* Moves all of chain to the end of queue, in order, and empties chain; an empty chain does nothing. */
void queue_push(struct queue *queue, struct queue_chain *chain);

/* All items, first to last, linked by next; NULL when there is none, and then the consumer sleeps. */
struct queue_item *queue_take(struct queue *queue);

#endif
