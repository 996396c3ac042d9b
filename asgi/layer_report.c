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
        {"bus_refused", stats.bus.refused},
        {"bus_unreadable", stats.bus.unreadable},
        {"bus_reconnects", stats.bus.reconnects},
        {"bus_gaps", stats.bus.gaps},
    };
    return numbers_dict(numbers, sizeof numbers / sizeof numbers[0]);
}

/* Names and numbers are copied under the layer's lock, and become Python's objects only when it is released. */
struct copy {
    uint64_t numbers[5];
    size_t length;      /* of the name */
    size_t more_length; /* of what follows it: the names of a channel's groups, each behind its length */
    char bytes[];
};

struct copies {
    struct copy **all;
    size_t count, room;
    int failed;
};

/* A copy with room for bytes; NULL when there is no memory. */
static struct copy *copy_add(struct copies *copies, size_t bytes)
{
    if (copies->count == copies->room) {
        size_t room = copies->room == 0 ? 64 : copies->room * 2;
        struct copy **all = mem_try_realloc(copies->all, room * sizeof *all);
        if (all != NULL) {
            copies->all = all;
            copies->room = room;
        }
    }
    struct copy *copy = copies->count < copies->room ? mem_try_alloc(sizeof *copy + bytes) : NULL;
    if (copy == NULL)
        copies->failed = 1;
    else
        copies->all[copies->count++] = copy;
    return copy;
}

static void copy_group(void *context, const struct layer_group_info *info)
{
    struct copy *copy = copy_add(context, info->name.length);
    if (copy == NULL)
        return;
    copy->numbers[0] = info->members;
    copy->numbers[1] = info->messages;
    copy->numbers[2] = info->dropped;
    copy->numbers[3] = info->queued;
    copy->numbers[4] = info->queued_bytes;
    copy->length = info->name.length;
    copy->more_length = 0;
    memcpy(copy->bytes, info->name.bytes, info->name.length);
}

static void copy_channel(void *context, const struct layer_channel_info *info)
{
    size_t more = 0;
    for (size_t i = 0; i < info->group_count; i++)
        more += 1 + info->groups[i].length; /* at most 99 */
    struct copy *copy = copy_add(context, info->name.length + more);
    if (copy == NULL)
        return;
    copy->numbers[0] = info->owner;
    copy->numbers[1] = info->queued;
    copy->numbers[2] = info->queued_bytes;
    copy->numbers[3] = info->dropped;
    copy->length = info->name.length;
    copy->more_length = more;
    memcpy(copy->bytes, info->name.bytes, info->name.length);
    char *at = copy->bytes + info->name.length;
    for (size_t i = 0; i < info->group_count; i++) {
        *at++ = (char)info->groups[i].length;
        memcpy(at, info->groups[i].bytes, info->groups[i].length);
        at += info->groups[i].length;
    }
}

static PyObject *group_dict(const struct copy *copy)
{
    const struct number numbers[] = {
        {"members", copy->numbers[0]}, {"messages", copy->numbers[1]},     {"dropped", copy->numbers[2]},
        {"queued", copy->numbers[3]},  {"queued_bytes", copy->numbers[4]},
    };
    return numbers_dict(numbers, sizeof numbers / sizeof numbers[0]);
}

static PyObject *group_list(const struct copy *copy)
{
    PyObject *list = PyList_New(0);
    const char *at = copy->bytes + copy->length;
    const char *end = at + copy->more_length;
    while (list != NULL && at < end) {
        Py_ssize_t length = (unsigned char)*at++;
        PyObject *name = PyUnicode_DecodeUTF8(at, length, "replace");
        if (name == NULL || PyList_Append(list, name) < 0)
            Py_CLEAR(list);
        Py_XDECREF(name);
        at += length;
    }
    return list;
}

static PyObject *channel_dict(const struct copy *copy)
{
    const struct number numbers[] = {
        {"queued", copy->numbers[1]},
        {"queued_bytes", copy->numbers[2]},
        {"dropped", copy->numbers[3]},
    };
    PyObject *dict = numbers_dict(numbers, sizeof numbers / sizeof numbers[0]);
    PyObject *owner = copy->numbers[0] == 0 ? Py_NewRef(Py_None) : PyLong_FromUnsignedLongLong(copy->numbers[0]);
    PyObject *groups = group_list(copy);
    if (dict == NULL || owner == NULL || groups == NULL || PyDict_SetItemString(dict, "owner", owner) < 0 ||
        PyDict_SetItemString(dict, "groups", groups) < 0)
        Py_CLEAR(dict);
    Py_XDECREF(owner);
    Py_XDECREF(groups);
    return dict;
}

static int add(PyObject *all, const struct copy *copy, PyObject *(*dict_of)(const struct copy *copy))
{
    PyObject *name = PyUnicode_DecodeUTF8(copy->bytes, (Py_ssize_t)copy->length, "replace");
    PyObject *dict = dict_of(copy);
    int result = name == NULL || dict == NULL ? -1 : PyDict_SetItem(all, name, dict);
    Py_XDECREF(name);
    Py_XDECREF(dict);
    return result;
}

/* Frees copies. */
static PyObject *dict_of_all(struct copies *copies, PyObject *(*dict_of)(const struct copy *copy))
{
    PyObject *all = PyDict_New();
    if (all != NULL && copies->failed) {
        PyErr_NoMemory();
        Py_CLEAR(all);
    }
    for (size_t i = 0; i < copies->count; i++) {
        if (all != NULL && add(all, copies->all[i], dict_of) < 0)
            Py_CLEAR(all);
        mem_free(copies->all[i]);
    }
    mem_free(copies->all);
    return all;
}

PyObject *layer_trouble_text(struct layer *layer)
{
    struct bus_stats stats;
    layer_bus_stats(layer, &stats);
    return PyUnicode_DecodeUTF8(stats.trouble, (Py_ssize_t)strlen(stats.trouble), "replace");
}

PyObject *layer_groups_dict(struct layer *layer)
{
    struct copies copies = {0};
    layer_each_group(layer, copy_group, &copies);
    return dict_of_all(&copies, group_dict);
}

PyObject *layer_channels_dict(struct layer *layer)
{
    struct copies copies = {0};
    layer_each_channel(layer, copy_channel, &copies);
    return dict_of_all(&copies, channel_dict);
}
