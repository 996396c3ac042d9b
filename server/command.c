#include "server/command.h"

#include <stdint.h>

#include "base/alloc.h"

struct command *command_create(enum command_kind kind, uint64_t exchange, size_t length)
{
    if (length > SIZE_MAX / 2)
        return NULL;
    struct command *command = mem_try_alloc(sizeof *command + length);
    if (command == NULL)
        return NULL;
    *command = (struct command){ .kind = kind, .exchange = exchange, .length = length };
    return command;
}

void command_destroy(struct command *command)
{
    mem_free(command);
}
