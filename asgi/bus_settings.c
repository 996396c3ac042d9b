#include "asgi/bus_settings.h"

#include "asgi/redis_settings_in.h"
#include "base/alloc.h"
#include "channellayer/bus/hub.h"
#include "channellayer/bus/redis_config.h"
#include "channellayer/bus/redis_core.h"
#include "channellayer/bus/redis_pubsub.h"

struct kind {
    const char *name;
    int (*read)(PyObject *dict, struct bus_settings *result);
};

static int read_local(PyObject *dict, struct bus_settings *result)
{
    (void)dict;
    (void)result;
    return 0;
}

static void release_redis(void *settings)
{
    redis_settings_release(settings);
}

static int read_redis(PyObject *dict, struct bus_settings *result)
{
    struct redis_settings *settings = redis_settings_read(dict);
    if (settings == NULL)
        return -1;
    result->create = bus_redis_create;
    result->settings = settings;
    result->release = release_redis;
    result->local_prefix = settings->prefix; /* channels_redis.pubsub's names have no "!" */
    return 0;
}

static int read_redis_core(PyObject *dict, struct bus_settings *result)
{
    struct redis_settings *settings = redis_settings_read(dict);
    if (settings == NULL)
        return -1;
    result->create = bus_redis_core_create;
    result->settings = settings;
    result->release = release_redis;
    return 0;
}

static void release_hub(void *settings)
{
    mem_free(settings);
}

/* The text of key, borrowed from dict; NULL with an exception. */
static const char *text_of(PyObject *dict, const char *key)
{
    PyObject *text = PyDict_GetItemString(dict, key);
    if (text != NULL && PyUnicode_Check(text))
        return PyUnicode_AsUTF8(text);
    PyErr_Format(PyExc_TypeError, "bus[%s] must be a str", key);
    return NULL;
}

/* The number of key: 0, or -1 with an exception. */
static int number_of(PyObject *dict, const char *key, uint64_t *number)
{
    PyObject *value = PyDict_GetItemString(dict, key);
    if (value != NULL && PyLong_Check(value)) {
        *number = PyLong_AsUnsignedLongLong(value);
        return PyErr_Occurred() ? -1 : 0;
    }
    PyErr_Format(PyExc_TypeError, "bus[%s] must be an int", key);
    return -1;
}

static int read_hub(PyObject *dict, struct bus_settings *result)
{
    uint64_t limit, time;
    const char *path = text_of(dict, "hub");
    const char *client = path == NULL ? NULL : text_of(dict, "client");
    if (client == NULL || number_of(dict, "buffer_limit", &limit) < 0 || number_of(dict, "buffer_time_ms", &time) < 0)
        return -1;
    struct hub_settings *settings = mem_alloc(sizeof *settings);
    *settings = (struct hub_settings){ .path = path, .client = client, .buffer_limit = (size_t)limit, .buffer_time_ms = time };
    result->create = bus_hub_create;
    result->settings = settings;
    result->release = release_hub;
    return 0;
}

static const struct kind kinds[] = {
    { "hub", read_hub },
    { "local", read_local },
    { "redis", read_redis },
    { "redis-core", read_redis_core },
};

static int read_kind(PyObject *dict, struct bus_settings *result)
{
    PyObject *json = PyDict_GetItemString(dict, "json"), *kind = PyDict_GetItemString(dict, "kind");
    int truth = json == NULL ? 0 : PyObject_IsTrue(json);
    if (truth < 0)
        return -1;
    result->json = truth == 1;
    for (size_t i = 0; kind != NULL && PyUnicode_Check(kind) && i < sizeof kinds / sizeof *kinds; i++) {
        if (PyUnicode_CompareWithASCIIString(kind, kinds[i].name) == 0)
            return kinds[i].read(dict, result);
    }
    PyErr_Format(PyExc_ValueError, "bus[kind] is %R, which is not known", kind == NULL ? Py_None : kind);
    return -1;
}

int bus_settings_read(PyObject *bus, struct bus_settings *result)
{
    *result = (struct bus_settings){ 0 };
    if (bus == Py_None)
        return 0;
    if (!PyDict_Check(bus)) {
        PyErr_Format(PyExc_TypeError, "bus must be a dict or None, not %.100s", Py_TYPE(bus)->tp_name);
        return -1;
    }
    result->dict = PyDict_Copy(bus);
    if (result->dict != NULL && read_kind(result->dict, result) == 0)
        return 0;
    Py_CLEAR(result->dict);
    return -1;
}

void bus_settings_deinit(struct bus_settings *settings)
{
    if (settings->release != NULL)
        settings->release(settings->settings);
    settings->release = NULL;
    Py_CLEAR(settings->dict);
}
