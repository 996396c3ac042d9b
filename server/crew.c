#include "server/crew.h"

#include <errno.h>
#include <stddef.h>
#include <sys/mman.h>
#include <sys/stat.h>

static const size_t size = CREW_SIZE * sizeof(struct crew_member);

int crew_join(struct crew *crew, int fd, unsigned place)
{
    struct stat status;
    if (fstat(fd, &status) != 0)
        return -1;
    if (place >= CREW_SIZE || status.st_size < (off_t)size) {
        errno = EINVAL;
        return -1;
    }
    void *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (memory == MAP_FAILED)
        return -1;
    crew->members = memory;
    crew->own = &crew->members[place];
    crew_tell(crew, CREW_AWAY);
    return 0;
}

void crew_tell(struct crew *crew, uint64_t connections)
{
    if (crew->own != NULL)
        atomic_store_explicit(&crew->own->connections, connections, memory_order_relaxed);
}

static bool beats(const struct crew_member *member, uint64_t now_ns)
{
    uint64_t beat = atomic_load_explicit(&member->beat_ns, memory_order_relaxed);
    return beat != 0 && (beat > now_ns || now_ns - beat < CREW_STALE_MS * UINT64_C(1000000));
}

unsigned crew_wait_ms(const struct crew *crew, uint64_t now_ns)
{
    if (crew->members == NULL)
        return 0;
    uint64_t least = CREW_AWAY; /* of the others that would take somebody at once */
    for (const struct crew_member *member = crew->members; member < crew->members + CREW_SIZE; member++) {
        uint64_t connections = atomic_load_explicit(&member->connections, memory_order_relaxed);
        if (member != crew->own && connections < least && beats(member, now_ns))
            least = connections;
    }
    if (least == CREW_AWAY)
        return 0;
    if (!beats(crew->own, now_ns))
        return CREW_STUCK_MS;
    uint64_t connections = atomic_load_explicit(&crew->own->connections, memory_order_relaxed);
    return connections > least + CREW_SLACK + least / 16 ? CREW_POLITE_MS : 0;
}

void crew_leave(struct crew *crew)
{
    if (crew->members == NULL)
        return;
    crew_tell(crew, CREW_AWAY);
    munmap(crew->members, size);
    crew->members = crew->own = NULL;
}
