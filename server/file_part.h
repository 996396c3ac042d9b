/* file_part.h: a part of a file that is to be sent, and how far it has been.
 *
 * Owner:   the struct that embeds it; the descriptor is its own.
 * Thread:  its owner's.
 * Limits:  it reads and sends no more than it was made for, whatever the file has grown to. Reading waits for the disk where the page cache
 *          does not have the bytes: file_part_prepare() asks for them in time.
 */
#ifndef PENEUS_SERVER_FILE_PART_H
#define PENEUS_SERVER_FILE_PART_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct command;

struct file_part {
    int fd;          /* -1: there is none */
    uint64_t offset; /* of what comes next */
    uint64_t left;
    uint64_t asked;  /* the kernel has been asked for what is before this offset */
    bool by_reading; /* sendfile() refuses this file, or only its tail is left */
};

/* The last bytes of a part are read, not sent by sendfile(): that gives the kernel the file's own pages, and where somebody cuts the file off
 * before they have left, they leave as zeros, unnoticed. This is more than the kernel keeps unsent (listener.c), so what can still change
 * when the last byte has been read is on its way already. */
enum { FILE_PART_TAIL = 256 * 1024 };

/* Instead of a number of bytes. */
enum file_part_error {
    FILE_PART_SHORT = -1,   /* the file has ended before: somebody has cut it off meanwhile */
    FILE_PART_BROKEN = -2,  /* it cannot be read: errno */
    FILE_PART_SOCKET = -3,  /* the socket has failed: errno */
    FILE_PART_REFUSED = -4, /* sendfile() does not do this file, or only its tail is left: read it */
};

void file_part_init(struct file_part *part);

/* Closes the descriptor; the part is empty. */
void file_part_deinit(struct file_part *part);

/* Takes over what a COMMAND_FILE is to send. part is empty. */
void file_part_take(struct file_part *part, struct command *command);

static inline bool file_part_is_empty(const struct file_part *part)
{
    return part->left == 0;
}

/* Asks the kernel for what comes next, and does not wait for it. */
void file_part_prepare(struct file_part *part);

/* Reads at most size bytes, and moves on: how many, more than 0; FILE_PART_SHORT or FILE_PART_BROKEN. part is not empty. */
ssize_t file_part_read(struct file_part *part, void *bytes, size_t size);

/* sendfile() of at most size bytes to a socket that does not wait: how many; 0: it takes none now; or any error. part is not empty. */
ssize_t file_part_send(struct file_part *part, int socket, size_t size);

#endif
