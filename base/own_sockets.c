#include "base/own_sockets.h"

#include <limits.h>
#include <pthread.h>
#include <stddef.h>
#include <string.h>
#include <unistd.h>

#include "base/alloc.h"

enum { WORD = sizeof(unsigned long) * CHAR_BIT, FIRST_WORDS = 16 };

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_once_t once = PTHREAD_ONCE_INIT;
static unsigned long *words; /* the bit of fd: fd % WORD of words[fd / WORD] */
static size_t count;

static void before_fork(void)
{
    pthread_mutex_lock(&lock);
}

static void after_in_parent(void)
{
    pthread_mutex_unlock(&lock);
}

/* Only what is safe in the child of a process with several threads: close(). */
static void after_in_child(void)
{
    for (size_t i = 0; i < count; i++) {
        for (int bit = 0; words[i] != 0 && bit < WORD; bit++) {
            if (words[i] >> bit & 1)
                close((int)i * WORD + bit);
        }
        words[i] = 0;
    }
    pthread_mutex_unlock(&lock);
}

static void watch_forks(void)
{
    pthread_atfork(before_fork, after_in_parent, after_in_child); /* without memory, children keep the sockets */
}

void own_sockets_lock(void)
{
    pthread_once(&once, watch_forks);
    pthread_mutex_lock(&lock);
}

void own_sockets_unlock(void)
{
    pthread_mutex_unlock(&lock);
}

/* Whether there is a word for fd. */
static bool make_room(size_t wanted)
{
    size_t room = count == 0 ? FIRST_WORDS : count;
    if (wanted < count)
        return true;
    while (room <= wanted)
        room *= 2;
    unsigned long *more = mem_try_realloc(words, room * sizeof *more);
    if (more == NULL)
        return false;
    memset(more + count, 0, (room - count) * sizeof *more);
    words = more;
    count = room;
    return true;
}

void own_sockets_add(int fd)
{
    if (fd >= 0 && make_room((size_t)fd / WORD))
        words[fd / WORD] |= 1UL << fd % WORD;
}

void own_sockets_remove(int fd)
{
    if (fd >= 0 && (size_t)fd / WORD < count)
        words[fd / WORD] &= ~(1UL << fd % WORD);
}

void own_sockets_close(int fd)
{
    own_sockets_lock();
    own_sockets_remove(fd);
    close(fd);
    own_sockets_unlock();
}
