#include "base/alloc.h"

#include <limits.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

static atomic_ulong fail_at;   /* 0: never */
static atomic_ulong fail_last; /* the last call that fails */
static atomic_ulong try_count;
static _Thread_local bool is_spared;

void *mem_alloc(size_t size)
{
    void *pointer = malloc(size > 0 ? size : 1);
    if (pointer == NULL)
        abort();
    return pointer;
}

void *mem_zalloc(size_t size)
{
    return memset(mem_alloc(size), 0, size);
}

/* Off, the counting costs one read that all threads share, so the hot paths do not fight for a cache line. */
static bool told_to_fail(void)
{
    unsigned long n = atomic_load_explicit(&fail_at, memory_order_relaxed);
    if (n == 0 || is_spared)
        return false;
    unsigned long call = atomic_fetch_add(&try_count, 1) + 1;
    return call >= n && call <= atomic_load(&fail_last);
}

void *mem_try_alloc(size_t size)
{
    if (told_to_fail())
        return NULL;
    return malloc(size > 0 ? size : 1);
}

void *mem_try_calloc(size_t count, size_t size)
{
    if (told_to_fail())
        return NULL;
    return count > 0 && size > 0 ? calloc(count, size) : calloc(1, 1);
}

void *mem_try_realloc(void *pointer, size_t size)
{
    if (told_to_fail())
        return NULL;
    return realloc(pointer, size > 0 ? size : 1);
}

void mem_free(void *pointer)
{
    free(pointer);
}

void mem_fail_run(unsigned long n, unsigned long count)
{
    atomic_store(&fail_at, 0);
    atomic_store(&try_count, 0);
    atomic_store(&fail_last, count > ULONG_MAX - n ? ULONG_MAX : n + count - 1);
    atomic_store(&fail_at, n);
}

void mem_fail_at(unsigned long n)
{
    mem_fail_run(n, 1);
}

void mem_spare_thread(void)
{
    is_spared = true;
}

unsigned long mem_try_count(void)
{
    return atomic_load(&try_count);
}
