/* base/queue.h: order, batches, and waking only a consumer that sleeps. */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/queue.h"

struct number {
    struct queue_item item;
    int value;
};

static void count_wake(void *argument)
{
    ++*(int *)argument;
}

static void push(struct queue *queue, struct number *number)
{
    struct queue_chain chain = { NULL, NULL };
    queue_chain_add(&chain, &number->item);
    queue_push(queue, &chain);
    assert_null(chain.first);
}

static void test_order_over_chains(void **state)
{
    (void)state;
    int wakes = 0;
    struct queue queue;
    struct number numbers[5] = { { .value = 0 }, { .value = 1 }, { .value = 2 }, { .value = 3 }, { .value = 4 } };
    queue_init(&queue, count_wake, &wakes);
    struct queue_chain chain = { NULL, NULL };
    for (int i = 0; i < 3; i++)
        queue_chain_add(&chain, &numbers[i].item);
    queue_push(&queue, &chain);
    push(&queue, &numbers[3]);
    push(&queue, &numbers[4]);
    struct queue_item *item = queue_take(&queue);
    for (int i = 0; i < 5; i++, item = item->next)
        assert_int_equal(((struct number *)item)->value, i);
    assert_null(item);
    queue_take(&queue);
    queue_deinit(&queue);
}

static void test_wakes_only_a_sleeper(void **state)
{
    (void)state;
    int wakes = 0;
    struct queue queue;
    struct number numbers[4] = { { .value = 0 } };
    queue_init(&queue, count_wake, &wakes);
    push(&queue, &numbers[0]);
    assert_int_equal(wakes, 1);
    push(&queue, &numbers[1]);
    assert_int_equal(wakes, 1);
    assert_non_null(queue_take(&queue));
    push(&queue, &numbers[2]); /* taken something, but not yet seen it empty: still awake */
    assert_int_equal(wakes, 1);
    assert_non_null(queue_take(&queue));
    assert_null(queue_take(&queue));
    push(&queue, &numbers[3]);
    assert_int_equal(wakes, 2);
    assert_non_null(queue_take(&queue));
    queue_deinit(&queue);
}

static void test_empty_chain_does_nothing(void **state)
{
    (void)state;
    int wakes = 0;
    struct queue queue;
    struct queue_chain chain = { NULL, NULL };
    queue_init(&queue, count_wake, &wakes);
    queue_push(&queue, &chain);
    assert_int_equal(wakes, 0);
    assert_null(queue_take(&queue));
    queue_deinit(&queue);
}

enum { PRODUCERS = 3, EACH = 2000 };

struct shared {
    struct queue queue;
    pthread_mutex_t lock;
    pthread_cond_t woken;
    int signals;
};

static void signal_consumer(void *argument)
{
    struct shared *shared = argument;
    pthread_mutex_lock(&shared->lock);
    shared->signals++;
    pthread_cond_signal(&shared->woken);
    pthread_mutex_unlock(&shared->lock);
}

struct producer {
    struct shared *shared;
    struct number *numbers;
};

static void *produce(void *argument)
{
    struct producer *producer = argument;
    for (int i = 0; i < EACH; i++) {
        struct queue_chain chain = { NULL, NULL };
        producer->numbers[i].value = i;
        queue_chain_add(&chain, &producer->numbers[i].item);
        queue_push(&producer->shared->queue, &chain);
    }
    return NULL;
}

/* A consumer that sleeps whenever the queue says so misses nothing, and sees each producer's order. */
static void test_no_lost_wakeup(void **state)
{
    (void)state;
    static struct number numbers[PRODUCERS][EACH];
    struct shared shared = { .lock = PTHREAD_MUTEX_INITIALIZER, .woken = PTHREAD_COND_INITIALIZER };
    pthread_t threads[PRODUCERS];
    struct producer producers[PRODUCERS];
    int next[PRODUCERS] = { 0 };
    queue_init(&shared.queue, signal_consumer, &shared);
    for (int i = 0; i < PRODUCERS; i++) {
        producers[i] = (struct producer){ &shared, numbers[i] };
        pthread_create(&threads[i], NULL, produce, &producers[i]);
    }
    for (int seen = 0; seen < PRODUCERS * EACH;) {
        pthread_mutex_lock(&shared.lock);
        while (shared.signals == 0)
            pthread_cond_wait(&shared.woken, &shared.lock);
        shared.signals--;
        pthread_mutex_unlock(&shared.lock);
        struct queue_item *item;
        while ((item = queue_take(&shared.queue)) != NULL) {
            for (; item != NULL; item = item->next, seen++) {
                struct number *number = (struct number *)item;
                int producer = (int)((number - &numbers[0][0]) / EACH);
                assert_int_equal(number->value, next[producer]++);
            }
        }
    }
    for (int i = 0; i < PRODUCERS; i++)
        pthread_join(threads[i], NULL);
    queue_deinit(&shared.queue);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_order_over_chains),
        cmocka_unit_test(test_wakes_only_a_sleeper),
        cmocka_unit_test(test_empty_chain_does_nothing),
        cmocka_unit_test(test_no_lost_wakeup),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
