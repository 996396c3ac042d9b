#include "asgi/kick.h"

#include <pthread.h>

#include "base/alloc.h"
#include "base/slots.h"
#include "server/command.h"
#include "server/server.h"

enum { CLOSE_TRY_AGAIN_LATER = 1013 };

struct target {
    struct server *server;
    uint64_t exchange;
    uint64_t tag;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct slots targets; /* of struct target, by tag */
static struct owners *owners;
static pthread_once_t once = PTHREAD_ONCE_INIT;

/* The lock is held until the command is on its way, so that the server cannot be destroyed meanwhile. */
static void overflow_close(void *context, uint64_t tag)
{
    (void)context;
    pthread_mutex_lock(&lock);
    struct target *target = slots_get(&targets, tag);
    struct command *command = NULL;
    if (target != NULL)
        command = command_create(COMMAND_KICK, target->exchange, 0);
    if (command != NULL) {
        command->code = CLOSE_TRY_AGAIN_LATER;
        struct queue_chain chain = {0};
        queue_chain_add(&chain, &command->item);
        server_send(target->server, &chain);
    }
    pthread_mutex_unlock(&lock);
}

static void create(void)
{
    slots_init(&targets);
    owners = owners_create(overflow_close, NULL);
}

struct owners *kick_owners(void)
{
    pthread_once(&once, create);
    return owners;
}

uint64_t kick_add(struct server *server, uint64_t exchange)
{
    struct target *target = mem_alloc(sizeof *target);
    *target = (struct target){ .server = server, .exchange = exchange };
    pthread_mutex_lock(&lock);
    uint64_t tag = slots_add(&targets, target);
    target->tag = tag;
    pthread_mutex_unlock(&lock);
    if (tag == 0)
        mem_free(target);
    return tag;
}

void kick_remove(uint64_t tag)
{
    pthread_mutex_lock(&lock);
    struct target *target = tag == 0 ? NULL : slots_get(&targets, tag);
    if (target != NULL)
        slots_remove(&targets, tag);
    pthread_mutex_unlock(&lock);
    mem_free(target);
}

void kick_remove_server(const struct server *server)
{
    pthread_mutex_lock(&lock);
    uint32_t cursor = 0;
    struct target *target;
    while ((target = slots_next(&targets, &cursor)) != NULL) {
        if (target->server == server) {
            slots_remove(&targets, target->tag);
            mem_free(target);
        }
    }
    pthread_mutex_unlock(&lock);
}
