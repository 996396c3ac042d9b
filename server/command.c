#include "server/command.h"

#include <stdint.h>
#include <unistd.h>

#include "base/alloc.h"

struct command *command_create(enum command_kind kind, uint64_t exchange, size_t length)
{
    if (length > SIZE_MAX / 2)
        return NULL;
    struct command *command = mem_try_alloc(sizeof *command + length);
    if (command == NULL)
        return NULL;
    *command = (struct command){ .kind = kind, .exchange = exchange, .length = length };
    if (kind == COMMAND_BROADCAST) { /* more of the union than compilers promise to clear */
        command->broadcast.message = command->broadcast.compressed = NULL;
        command->broadcast.targets = NULL;
        command->broadcast.compressing_failed = false;
    }
    if (kind == COMMAND_FILE)
        command->file.fd = -1;
    return command;
}

void command_destroy(struct command *command)
{
    if (command != NULL && command->kind == COMMAND_BROADCAST) {
        broadcast_release(command->broadcast.message);
        broadcast_release(command->broadcast.compressed);
        mem_free(command->broadcast.targets);
    }
    if (command != NULL && command->kind == COMMAND_FILE && command->file.fd >= 0)
        close(command->file.fd);
    mem_free(command);
}

size_t command_broadcast_weight(const struct command *command)
{
    const struct broadcast *message = command->broadcast.message;
    return sizeof *command + command->length + command->broadcast.count * sizeof(struct broadcast_target) +
           (message != NULL ? broadcast_weight(message) : 0);
}
