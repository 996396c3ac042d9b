#include "asgi/bus_settings.h"

#include "asgi/redis_settings_in.h"
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

static const struct kind kinds[] = {
    { "local", read_local },
    { "redis", read_redis },
    { "redis-core", read_redis_core },
};

int bus_settings_read(PyObject *bus, struct bus_settings *result)
{
    *result = (struct bus_settings){ 0 };
    if (bus == Py_None)
        return 0;
    if (!PyDict_Check(bus)) {
        PyErr_Format(PyExc_TypeError, "bus must be a dict or None, not %.100s", Py_TYPE(bus)->tp_name);
        return -1;
    }
    PyObject *json = PyDict_GetItemString(bus, "json"), *kind = PyDict_GetItemString(bus, "kind");
    int truth = json == NULL ? 0 : PyObject_IsTrue(json);
    if (truth < 0)
        return -1;
    result->json = truth == 1;
    for (size_t i = 0; kind != NULL && PyUnicode_Check(kind) && i < sizeof kinds / sizeof *kinds; i++) {
        if (PyUnicode_CompareWithASCIIString(kind, kinds[i].name) == 0)
            return kinds[i].read(bus, result);
    }
    PyErr_Format(PyExc_ValueError, "bus[kind] is %R, which is not known", kind == NULL ? Py_None : kind);
    return -1;
}

void bus_settings_deinit(struct bus_settings *settings)
{
    if (settings->release != NULL)
        settings->release(settings->settings);
    settings->release = NULL;
}
