#include "channellayer/bus/thread.h"

#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdlib.h>
#include <time.h>

#include "base/alloc.h"
#include "base/descriptors.h"

struct bus_thread {
    uv_loop_t loop;
    uv_async_t wake;
    struct queue tasks;
    pthread_t id;
    bool ending;      /* under the lock: nobody has a count; only wake keeps the loop running */
    bool halting;     /* under the lock: it is to leave the loop as it is */
    bool halted;      /* under the lock: it has */
    bool joined;      /* under the lock: after it halted */
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct bus_thread *current; /* NULL: there is none */
static unsigned references;        /* of current */
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER; /* leaving or halted */
static unsigned leaving;

static void end_if_unused(struct bus_thread *thread)
{
    pthread_mutex_lock(&lock);
    bool ending = thread->ending;
    if (thread->halting)
        uv_stop(&thread->loop);
    pthread_mutex_unlock(&lock);
    if (ending && !uv_is_closing((uv_handle_t *)&thread->wake))
        uv_close((uv_handle_t *)&thread->wake, NULL);
}

static void on_wake(uv_async_t *wake)
{
    struct bus_thread *thread = wake->data;
    struct queue_item *item;
    while ((item = queue_take(&thread->tasks)) != NULL) {
        while (item != NULL) {
            struct bus_task *task = (struct bus_task *)((char *)item - offsetof(struct bus_task, item));
            item = item->next; /* before run: it may free the task */
            task->run(task);
        }
    }
    end_if_unused(thread);
}

static void wake_up(void *argument)
{
    struct bus_thread *thread = argument;
    uv_async_send(&thread->wake);
}

static void destroy(struct bus_thread *thread)
{
    int error = uv_loop_close(&thread->loop);
    if (error != 0)
        abort(); /* somebody gave back its count and left a handle open */
    queue_deinit(&thread->tasks);
    mem_free(thread);
}

static void *run(void *argument)
{
    struct bus_thread *thread = argument;
    uv_run(&thread->loop, UV_RUN_DEFAULT);
    pthread_mutex_lock(&lock);
    bool halting = thread->halting;
    thread->halted = halting;
    pthread_cond_broadcast(&changed);
    pthread_mutex_unlock(&lock);
    if (!halting)
        destroy(thread);
    return NULL;
}

/* In the child of a fork there is no thread, and the lock may have been held. */
static void forget(void)
{
    pthread_mutex_init(&lock, NULL);
    pthread_cond_init(&changed, NULL);
    current = NULL;
    references = 0;
    leaving = 0;
}

static void watch_forks(void)
{
    pthread_atfork(NULL, NULL, forget);
}

/* The lock is held. */
static struct bus_thread *start(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    sigset_t all, before;
    pthread_once(&once, watch_forks);
    struct bus_thread *thread = mem_zalloc(sizeof *thread);
    if (!descriptors_are_left(DESCRIPTORS_LOOP) || uv_loop_init(&thread->loop) != 0)
        goto fail;
    if (uv_async_init(&thread->loop, &thread->wake, on_wake) != 0)
        goto fail_loop;
    thread->wake.data = thread;
    queue_init(&thread->tasks, wake_up, thread);
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int error = pthread_create(&thread->id, NULL, run, thread);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (error == 0)
        return thread;
    queue_deinit(&thread->tasks);
    uv_close((uv_handle_t *)&thread->wake, NULL);
    uv_run(&thread->loop, UV_RUN_DEFAULT);
fail_loop:
    uv_loop_close(&thread->loop);
fail:
    mem_free(thread);
    return NULL;
}

struct bus_thread *bus_thread_retain(void)
{
    pthread_mutex_lock(&lock);
    if (current == NULL)
        current = start();
    struct bus_thread *thread = current;
    if (thread != NULL)
        references++;
    pthread_mutex_unlock(&lock);
    return thread;
}

void bus_thread_release(struct bus_thread *thread)
{
    pthread_t id = thread->id;
    pthread_mutex_lock(&lock);
    bool last = --references == 0;
    bool joined = thread->joined;
    if (last) {
        current = NULL;
        thread->ending = true;
        uv_async_send(&thread->wake); /* under the lock: the thread looks at ending with it, so wake still lives */
    }
    pthread_mutex_unlock(&lock);
    if (!last)
        return;
    if (joined)
        return;
    if (pthread_equal(pthread_self(), id))
        pthread_detach(id);
    else
        pthread_join(id, NULL);
}

void bus_thread_leaving(void)
{
    pthread_mutex_lock(&lock);
    leaving++;
    pthread_mutex_unlock(&lock);
}

void bus_thread_left(void)
{
    pthread_mutex_lock(&lock);
    leaving--;
    pthread_cond_broadcast(&changed);
    pthread_mutex_unlock(&lock);
}

static struct timespec in(unsigned milliseconds)
{
    struct timespec when;
    clock_gettime(CLOCK_REALTIME, &when);
    when.tv_sec += milliseconds / 1000;
    when.tv_nsec += (long)(milliseconds % 1000) * 1000000;
    if (when.tv_nsec >= 1000000000) {
        when.tv_sec++;
        when.tv_nsec -= 1000000000;
    }
    return when;
}

void bus_thread_halt(unsigned wait_ms)
{
    struct timespec deadline = in(wait_ms);
    pthread_mutex_lock(&lock);
    while (leaving > 0 && pthread_cond_timedwait(&changed, &lock, &deadline) == 0)
        continue;
    struct bus_thread *thread = current;
    if (thread != NULL) {
        thread->halting = true;
        uv_async_send(&thread->wake);
        deadline = in(wait_ms);
        while (!thread->halted && pthread_cond_timedwait(&changed, &lock, &deadline) == 0)
            continue;
        thread->joined = thread->halted;
        if (thread->joined)
            pthread_join(thread->id, NULL); /* it has nothing left to do but to let the lock go */
    }
    pthread_mutex_unlock(&lock);
}

void bus_thread_post(struct bus_thread *thread, struct bus_task *task)
{
    struct queue_chain chain = { 0 };
    queue_chain_add(&chain, &task->item);
    queue_push(&thread->tasks, &chain);
}

uv_loop_t *bus_thread_loop(struct bus_thread *thread)
{
    return &thread->loop;
}
