#include "server/tls_store.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stddef.h>

#include "base/alloc.h"
#include "server/tls_context.h"

struct tls_store {
    atomic_uint references;
    pthread_mutex_t lock;
    struct tls_context *context;
};

struct tls_store *tls_store_create(struct tls_context *context)
{
    struct tls_store *store = mem_zalloc(sizeof *store);
    atomic_init(&store->references, 1);
    pthread_mutex_init(&store->lock, NULL);
    store->context = context;
    return store;
}

struct tls_store *tls_store_retain(struct tls_store *store)
{
    if (store != NULL)
        atomic_fetch_add_explicit(&store->references, 1, memory_order_relaxed);
    return store;
}

void tls_store_release(struct tls_store *store)
{
    if (store == NULL || atomic_fetch_sub_explicit(&store->references, 1, memory_order_acq_rel) > 1)
        return;
    tls_context_release(store->context);
    pthread_mutex_destroy(&store->lock);
    mem_free(store);
}

void tls_store_replace(struct tls_store *store, struct tls_context *context)
{
    pthread_mutex_lock(&store->lock);
    struct tls_context *before = store->context;
    store->context = context;
    pthread_mutex_unlock(&store->lock);
    tls_context_release(before);
}

struct tls_context *tls_store_context(struct tls_store *store)
{
    pthread_mutex_lock(&store->lock);
    struct tls_context *context = tls_context_retain(store->context);
    pthread_mutex_unlock(&store->lock);
    return context;
}
