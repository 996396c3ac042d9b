/* resident.h: how much memory this process has.
 *
 * Owner:   nobody.
 * Thread:  any.
 * Limits:  what malloc() keeps counts too. With a sanitizer or valgrind, which have memory of their own, it is always 0.
 */
#ifndef PENEUS_TESTS_UNIT_RESIDENT_H
#define PENEUS_TESTS_UNIT_RESIDENT_H

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
enum { RESIDENT_IS_KNOWN = 0 };
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer) || __has_feature(memory_sanitizer)
enum { RESIDENT_IS_KNOWN = 0 };
#else
enum { RESIDENT_IS_KNOWN = 1 };
#endif
#else
enum { RESIDENT_IS_KNOWN = 1 };
#endif

/* KiB; 0: not known. */
static inline long resident_kib(void)
{
    long pages = 0, resident = 0;
    FILE *file = RESIDENT_IS_KNOWN && getenv("PENEUS_VALGRIND") == NULL ? fopen("/proc/self/statm", "r") : NULL;
    if (file == NULL)
        return 0;
    if (fscanf(file, "%ld %ld", &pages, &resident) != 2)
        resident = 0;
    fclose(file);
    return resident * (sysconf(_SC_PAGESIZE) / 1024);
}

#endif
