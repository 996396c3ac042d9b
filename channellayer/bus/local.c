/* The bus of a process that is alone: there is nobody to subscribe at, and to publish is to deliver. */
#include "base/alloc.h"
#include "channellayer/bus.h"

struct bus_local {
    struct bus bus;
    struct layer *layer; /* not counted: it owns this bus */
};

static void changed(struct bus *bus, struct name group, struct name channel, bool edge)
{
    (void)bus;
    (void)group;
    (void)channel;
    (void)edge;
}

static void received(struct bus *bus, struct name channel)
{
    (void)bus;
    (void)channel;
}

static int publish(struct bus *bus, struct name group, struct message *message)
{
    return layer_deliver(((struct bus_local *)bus)->layer, group, message);
}

static void destroy(struct bus *bus)
{
    mem_free(bus);
}

static const struct bus_operations operations = {
    .name = "local",
    .joined = changed,
    .left = changed,
    .made = received,
    .gone = received,
    .publish = publish,
    .destroy = destroy,
};

struct bus *bus_local_create(struct layer *layer)
{
    struct bus_local *local = mem_try_alloc(sizeof *local);
    if (local == NULL)
        return NULL;
    local->bus.operations = &operations;
    local->layer = layer;
    return &local->bus;
}
