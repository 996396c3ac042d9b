/* What a layer, and an owner in it, tell about themselves. */
#include <string.h>

#include "asgi/layer_type.h"
#include "asgi/numbers.h"
#include "base/alloc.h"

PyObject *layer_stats_dict(struct layer *layer)
{
    struct layer_stats stats;
    layer_stats(layer, &stats);
    const struct number numbers[] = {
        {"channels", stats.channels},
        {"groups", stats.groups},
        {"group_members", stats.group_members},
        {"messages_queued", stats.messages_queued},
        {"bytes_queued", stats.bytes_queued},
        {"dropped_oldest", stats.dropped[OVERFLOW_DROP_OLDEST]},
        {"dropped_newest", stats.dropped[OVERFLOW_DROP_NEWEST]},
        {"dropped_latest", stats.dropped[OVERFLOW_LATEST]},
        {"dropped_close", stats.dropped[OVERFLOW_CLOSE]},
        {"dropped_expired", stats.dropped_expired},
        {"dropped_unknown", stats.dropped_unknown},
        {"refused_full", stats.refused_full},
        {"subscriptions_discarded", stats.subscriptions_discarded},
        {"late_group_adds", stats.late_group_adds},
        {"waiters", stats.waiters},
        {"orphaned_channels", stats.orphaned_channels},
        {"bus_links", stats.bus.links},
        {"bus_links_up", stats.bus.links_up},
        {"bus_bytes_pending", stats.bus.bytes_pending},
        {"bus_published", stats.bus.published},
        {"bus_received", stats.bus.received},
        {"bus_unsent", stats.bus.unsent},
        {"bus_reconnects", stats.bus.reconnects},
        {"bus_gaps", stats.bus.gaps},
    };
    return numbers_dict(numbers, sizeof numbers / sizeof numbers[0]);
}

/* Groups are copied under the layer's lock, and become Python's objects only when it is released. */
struct group_copy {
    uint64_t members, messages, dropped;
    size_t length;
    char name[];
};

struct copies {
    struct group_copy **all;
    size_t count, room;
    int failed;
};

static void copy_group(void *context, struct name group, size_t members, uint64_t messages, uint64_t dropped)
{
    struct copies *copies = context;
    if (copies->count == copies->room) {
        size_t room = copies->room == 0 ? 64 : copies->room * 2;
        struct group_copy **all = mem_try_realloc(copies->all, room * sizeof *all);
        if (all == NULL) {
            copies->failed = 1;
            return;
        }
        copies->all = all;
        copies->room = room;
    }
    struct group_copy *copy = mem_try_alloc(sizeof *copy + group.length);
    if (copy == NULL) {
        copies->failed = 1;
        return;
    }
    copy->members = members;
    copy->messages = messages;
    copy->dropped = dropped;
    copy->length = group.length;
    memcpy(copy->name, group.bytes, group.length);
    copies->all[copies->count++] = copy;
}

static int add_group(PyObject *groups, const struct group_copy *copy)
{
    const struct number numbers[] = {
        {"members", copy->members},
        {"messages", copy->messages},
        {"dropped", copy->dropped},
    };
    PyObject *name = PyUnicode_DecodeUTF8(copy->name, (Py_ssize_t)copy->length, "replace");
    PyObject *counts = numbers_dict(numbers, sizeof numbers / sizeof numbers[0]);
    int result = name == NULL || counts == NULL ? -1 : PyDict_SetItem(groups, name, counts);
    Py_XDECREF(name);
    Py_XDECREF(counts);
    return result;
}

PyObject *layer_groups_dict(struct layer *layer)
{
    struct copies copies = {0};
    layer_each_group(layer, copy_group, &copies);
    PyObject *groups = PyDict_New();
    if (groups != NULL && copies.failed) {
        PyErr_NoMemory();
        Py_CLEAR(groups);
    }
    for (size_t i = 0; i < copies.count; i++) {
        if (groups != NULL && add_group(groups, copies.all[i]) < 0)
            Py_CLEAR(groups);
        mem_free(copies.all[i]);
    }
    mem_free(copies.all);
    return groups;
}
