/* alloc.h: memory, in one place so that tests can make it fail.
 *
 * Owner:   the caller of each allocation; free with mem_free().
 * Thread:  any.
 * Limits:  none here; sizes that a peer chooses go through mem_try_*, and their failure is survived.
 */
#ifndef PENEUS_BASE_ALLOC_H
#define PENEUS_BASE_ALLOC_H

#include <stddef.h>

/* size bytes, never NULL: for fixed sizes, aborts the process when there is no memory. */
void *mem_alloc(size_t size);

/* As mem_alloc, zeroed. */
void *mem_zalloc(size_t size);

/* size bytes, or NULL: for sizes that a peer or an application chooses. */
void *mem_try_alloc(size_t size);

/* count objects of size bytes, zeroed, or NULL: for counts that a peer chooses. Pages that are not written to take no memory. */
void *mem_try_calloc(size_t count, size_t size);

/* Resizes pointer (may be NULL) to size bytes, or returns NULL and leaves it as it was. */
void *mem_try_realloc(void *pointer, size_t size);

/* Frees what the functions above returned; NULL is allowed. */
void mem_free(void *pointer);

/* Tests only: the n-th (1 = next) mem_try_* call from now on fails, once; 0 switches off. Thread: any. */
void mem_fail_at(unsigned long n);

/* Tests only: the same, and the count - 1 calls behind it fail too. */
void mem_fail_run(unsigned long n, unsigned long count);

/* Tests only: the calling thread's mem_try_* calls neither fail nor count from now on. */
void mem_spare_thread(void);

/* Tests only: mem_try_* calls made since the last mem_fail_at(n); they are counted only while n is not 0. */
unsigned long mem_try_count(void);

#endif
