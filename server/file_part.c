#include "server/file_part.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/sendfile.h>
#include <unistd.h>

#include "server/command.h"

/* So much is asked for at a time; when half of it is left, the next. Small parts are left to the kernel's own reading ahead. */
enum { AHEAD = 1024 * 1024, SMALL = 128 * 1024 };

void file_part_init(struct file_part *part)
{
    *part = (struct file_part){ .fd = -1 };
}

void file_part_deinit(struct file_part *part)
{
    if (part->fd >= 0)
        close(part->fd);
    file_part_init(part);
}

void file_part_take(struct file_part *part, struct command *command)
{
    *part = (struct file_part){
        .fd = command->file.fd,
        .offset = command->file.offset,
        .left = command->file.length,
        .asked = command->file.offset,
    };
    command->file.fd = -1;
    if (part->left <= SMALL)
        part->asked = part->offset + part->left;
    file_part_prepare(part);
}

void file_part_prepare(struct file_part *part)
{
    uint64_t end = part->offset + part->left;
    if (part->asked >= end || part->asked > part->offset + AHEAD / 2)
        return;
    uint64_t length = end - part->asked < AHEAD ? end - part->asked : AHEAD;
    posix_fadvise(part->fd, (off_t)part->asked, (off_t)length, POSIX_FADV_WILLNEED); /* where it fails, reading waits */
    part->asked += length;
}

static size_t least(uint64_t left, size_t size)
{
    return left < size ? (size_t)left : size;
}

static void move_on(struct file_part *part, size_t length)
{
    part->offset += length;
    part->left -= length;
    file_part_prepare(part);
}

ssize_t file_part_read(struct file_part *part, void *bytes, size_t size)
{
    ssize_t got;
    do
        got = pread(part->fd, bytes, least(part->left, size), (off_t)part->offset);
    while (got < 0 && errno == EINTR);
    if (got == 0)
        return FILE_PART_SHORT;
    if (got < 0)
        return FILE_PART_BROKEN;
    move_on(part, (size_t)got);
    return got;
}

/* SIGPIPE is blocked in the I/O thread: sendfile() has no MSG_NOSIGNAL. */
ssize_t file_part_send(struct file_part *part, int socket, size_t size)
{
    off_t offset = (off_t)part->offset;
    ssize_t sent;
    if (part->left <= FILE_PART_TAIL)
        part->by_reading = true;
    if (part->by_reading)
        return FILE_PART_REFUSED;
    do
        sent = sendfile(socket, part->fd, &offset, least(part->left - FILE_PART_TAIL, size));
    while (sent < 0 && errno == EINTR);
    if (sent == 0)
        return FILE_PART_SHORT;
    if (sent > 0) {
        move_on(part, (size_t)sent);
        return sent;
    }
    switch (errno) {
    case EAGAIN:
    case ENOBUFS:
        return 0;
    case EINVAL:
    case ENOSYS:
    case EOPNOTSUPP:
        part->by_reading = true;
        return FILE_PART_REFUSED;
    case EIO:
    case ENOMEM:
    case EOVERFLOW:
        return FILE_PART_BROKEN;
    default:
        return FILE_PART_SOCKET;
    }
}
