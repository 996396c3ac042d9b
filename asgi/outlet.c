#include "asgi/outlet.h"

#include <pthread.h>
#include <stdbool.h>
#include <string.h>

#include "base/alloc.h"
#include "server/broadcast.h"
#include "server/command.h"
#include "server/server.h"
#include "server/utf8.h"

struct server_outlet {
    struct outlet outlet;
    pthread_mutex_t lock;       /* held until a command is on its way, so that the server cannot be destroyed meanwhile */
    struct server *server;      /* NULL when it is about to be */
    struct queue_chain *output; /* of the loop's thread */
    bool started;
    pthread_t thread;
};

/* What a broadcast's drops are counted for. */
struct sender {
    struct layer *layer; /* counted */
    enum overflow overflow;
    struct name group;
    char text[];
};

static void on_dropped(void *context, uint64_t label, uint64_t count)
{
    struct sender *sender = context;
    layer_relay_dropped(sender->layer, sender->group, label, sender->overflow, count);
}

static void on_destroyed(void *context)
{
    struct sender *sender = context;
    layer_release(sender->layer);
    mem_free(sender);
}

static const struct broadcast_callbacks callbacks = { on_dropped, on_destroyed };

static const enum broadcast_policy policies[OVERFLOW_COUNT] = {
    [OVERFLOW_DROP_OLDEST] = BROADCAST_DROP_OLDEST,
    [OVERFLOW_DROP_NEWEST] = BROADCAST_DROP_NEWEST,
    [OVERFLOW_LATEST] = BROADCAST_LATEST,
    [OVERFLOW_CLOSE] = BROADCAST_CLOSE,
};

static struct sender *sender_create(const struct relay_request *request)
{
    struct sender *sender = mem_try_alloc(sizeof *sender + request->group.length);
    if (sender == NULL)
        return NULL;
    sender->layer = layer_retain(request->layer);
    sender->overflow = request->overflow;
    memcpy(sender->text, request->group.bytes, request->group.length);
    sender->group = (struct name){ sender->text, request->group.length };
    return sender;
}

static struct broadcast *frame(const struct relay_request *request)
{
    const struct relay_event *event = request->event;
    const struct message *message = request->message;
    struct sender *sender = sender_create(request);
    if (sender == NULL)
        return NULL;
    struct broadcast *broadcast =
        broadcast_create(event->kind == RELAY_TEXT, event->bytes, event->length, message_key(message), message->key_length,
                         policies[request->overflow], &callbacks, sender);
    if (broadcast == NULL)
        on_destroyed(sender);
    return broadcast;
}

/* Without its targets. NULL when there is no memory. */
static struct command *command_of(const struct relay_request *request)
{
    const struct relay_event *event = request->event;
    bool close = event->kind == RELAY_CLOSE;
    struct command *command = command_create(COMMAND_BROADCAST, 0, close ? event->length : 0);
    if (command == NULL)
        return NULL;
    command->broadcast.targets = NULL;
    command->broadcast.count = 0;
    command->broadcast.code = event->code;
    command->broadcast.message = close ? NULL : frame(request);
    if (close && event->length > 0)
        memcpy(command->bytes, event->bytes, event->length);
    if (!close && command->broadcast.message == NULL) {
        command_destroy(command);
        return NULL;
    }
    return command;
}

/* A text that is not UTF-8 would end the connection of everyone who gets it. */
static bool is_sendable(const struct relay_event *event)
{
    struct utf8 utf8 = { 0 };
    return event->kind == RELAY_BYTES || (utf8_feed(&utf8, event->bytes, event->length) && utf8_complete(&utf8));
}

static int hand_over(struct server_outlet *outlet, struct command *command)
{
    struct queue_chain before = { 0 };
    int result = SERVER_FULL;
    pthread_mutex_lock(&outlet->lock);
    if (outlet->server != NULL) {
        if (outlet->started && pthread_equal(outlet->thread, pthread_self())) {
            before = *outlet->output;
            *outlet->output = (struct queue_chain){ 0 };
        }
        result = server_broadcast(outlet->server, &before, command);
    }
    pthread_mutex_unlock(&outlet->lock);
    return result;
}

_Static_assert(sizeof(struct relay_target) == sizeof(struct broadcast_target) &&
                   offsetof(struct relay_target, socket) == offsetof(struct broadcast_target, exchange) &&
                   offsetof(struct relay_target, channel) == offsetof(struct broadcast_target, label),
               "a list of one is used as a list of the other");

static int relay(struct outlet *base, const struct relay_request *request, struct relay_target *targets, size_t count)
{
    struct server_outlet *outlet = (struct server_outlet *)base;
    if (!is_sendable(request->event))
        return LAYER_FULL;
    struct command *command = command_of(request);
    if (command == NULL)
        return LAYER_NO_MEMORY;
    command->broadcast.targets = (struct broadcast_target *)(void *)targets;
    command->broadcast.count = count;
    if (hand_over(outlet, command) == SERVER_OK)
        return LAYER_OK;
    command->broadcast.targets = NULL; /* they stay the caller's */
    command_destroy(command);
    return LAYER_FULL;
}

static void destroy(struct outlet *base)
{
    struct server_outlet *outlet = (struct server_outlet *)base;
    pthread_mutex_destroy(&outlet->lock);
    mem_free(outlet);
}

static const struct outlet_operations operations = { relay, destroy };

struct outlet *server_outlet_create(struct server *server, struct queue_chain *output)
{
    struct server_outlet *outlet = mem_zalloc(sizeof *outlet);
    outlet->outlet.operations = &operations;
    atomic_init(&outlet->outlet.references, 1);
    pthread_mutex_init(&outlet->lock, NULL);
    outlet->server = server;
    outlet->output = output;
    return &outlet->outlet;
}

void server_outlet_add(struct outlet *base, struct command *command)
{
    struct server_outlet *outlet = (struct server_outlet *)base;
    pthread_mutex_lock(&outlet->lock);
    queue_chain_add(outlet->output, &command->item);
    pthread_mutex_unlock(&outlet->lock);
}

void server_outlet_hand_over(struct outlet *base)
{
    struct server_outlet *outlet = (struct server_outlet *)base;
    pthread_mutex_lock(&outlet->lock);
    server_send(outlet->server, outlet->output);
    pthread_mutex_unlock(&outlet->lock);
}

void server_outlet_start(struct outlet *base)
{
    struct server_outlet *outlet = (struct server_outlet *)base;
    pthread_mutex_lock(&outlet->lock);
    outlet->thread = pthread_self();
    outlet->started = true;
    pthread_mutex_unlock(&outlet->lock);
}

void server_outlet_detach(struct outlet *base)
{
    struct server_outlet *outlet = (struct server_outlet *)base;
    pthread_mutex_lock(&outlet->lock);
    outlet->server = NULL;
    pthread_mutex_unlock(&outlet->lock);
}
