#include "asgi/redis_settings_in.h"

#include <limits.h>
#include <string.h>

#include "channellayer/bus/redis_config.h"

/* What is being read, and into whose memory. */
struct source {
    struct redis_settings *settings;
    PyObject *dict;
};

static int wrong(const char *key, const char *wanted)
{
    if (!PyErr_Occurred() || PyErr_ExceptionMatches(PyExc_TypeError) || PyErr_ExceptionMatches(PyExc_OverflowError)) {
        PyErr_Clear();
        PyErr_Format(PyExc_ValueError, "bus[%s] must be %s", key, wanted);
    }
    return -1;
}

/* A new reference, as what is read may run any code; NULL with an exception. */
static PyObject *get(const struct source *from, const char *key)
{
    PyObject *value = PyDict_GetItemString(from->dict, key);
    if (value == NULL)
        PyErr_Format(PyExc_ValueError, "bus[%s] is missing", key);
    return Py_XNewRef(value);
}

static int copied(const struct source *from, const char *bytes, size_t length, const char **text)
{
    *text = redis_settings_text(from->settings, bytes, length);
    if (*text == NULL)
        PyErr_NoMemory();
    return *text == NULL ? -1 : 0;
}

/* A str; *text NULL where it is None and may be. */
static int text_of(const struct source *from, PyObject *value, const char *key, bool optional, const char **text)
{
    Py_ssize_t length;
    *text = NULL;
    if (value == Py_None && optional)
        return 0;
    const char *bytes = PyUnicode_AsUTF8AndSize(value, &length);
    if (bytes == NULL || strlen(bytes) != (size_t)length)
        return wrong(key, "a string without NUL");
    return copied(from, bytes, (size_t)length, text);
}

static int read_text(const struct source *from, const char *key, bool optional, const char **text)
{
    PyObject *value = get(from, key);
    int result = value == NULL ? -1 : text_of(from, value, key, optional, text);
    Py_XDECREF(value);
    return result;
}

static int name_of(const struct source *from, PyObject *value, const char *key, struct name *name)
{
    *name = (struct name){ "", 0 };
    if (value == Py_None)
        return 0;
    Py_ssize_t length;
    const char *bytes;
    if (PyBytes_Check(value)) {
        bytes = PyBytes_AS_STRING(value);
        length = PyBytes_GET_SIZE(value);
    } else if ((bytes = PyUnicode_AsUTF8AndSize(value, &length)) == NULL) {
        return wrong(key, "a string or bytes");
    }
    name->length = (size_t)length;
    return copied(from, bytes, name->length, &name->bytes);
}

/* A str, or bytes; empty where it is None. */
static int read_name(const struct source *from, const char *key, struct name *name)
{
    PyObject *value = get(from, key);
    int result = value == NULL ? -1 : name_of(from, value, key, name);
    Py_XDECREF(value);
    return result;
}

static int number_of(PyObject *value, const char *key, long long most, uint64_t *number)
{
    long long found = PyLong_AsLongLong(value);
    if ((found == -1 && PyErr_Occurred()) || found < 0 || found > most)
        return wrong(key, "a number that is not negative and not too large");
    *number = (uint64_t)found;
    return 0;
}

static int read_number(const struct source *from, const char *key, long long most, uint64_t *number)
{
    PyObject *value = get(from, key);
    int result = value == NULL ? -1 : number_of(value, key, most, number);
    Py_XDECREF(value);
    return result;
}

static int read_flag(const struct source *from, const char *key, bool *flag)
{
    PyObject *value = get(from, key);
    int truth = value == NULL ? -1 : PyObject_IsTrue(value);
    Py_XDECREF(value);
    *flag = truth == 1;
    return truth < 0 ? -1 : 0;
}

/* The list at key as a tuple; *items zeroed memory for size bytes each. */
static PyObject *read_list(const struct source *from, const char *key, size_t size, void **items, size_t *count)
{
    PyObject *value = get(from, key);
    PyObject *list = value == NULL ? NULL : PySequence_Tuple(value);
    Py_XDECREF(value);
    if (list == NULL) {
        wrong(key, "a list");
        return NULL;
    }
    *count = (size_t)PyTuple_GET_SIZE(list);
    *items = redis_settings_alloc(from->settings, *count * size);
    if (*items == NULL) {
        Py_DECREF(list);
        PyErr_NoMemory();
        return NULL;
    }
    return list;
}

/* The position of a str among choices, which end with NULL. */
static int read_choice(const struct source *from, const char *key, const char *const *choices, int *choice)
{
    PyObject *value = get(from, key);
    if (value == NULL)
        return -1;
    int result = -1;
    for (*choice = 0; PyUnicode_Check(value) && choices[*choice] != NULL; ++*choice) {
        if ((result = PyUnicode_CompareWithASCIIString(value, choices[*choice]) == 0 ? 0 : -1) == 0)
            break;
    }
    if (result < 0)
        PyErr_Format(PyExc_ValueError, "bus[%s] is %R, which is not known", key, value);
    Py_DECREF(value);
    return result;
}

static int tls_of(const struct source *from, PyObject *value, const char *key, const struct redis_tls **result)
{
    static const char *const verifying[] = { "required", "optional", "none", NULL };
    *result = NULL;
    if (value == Py_None)
        return 0;
    if (!PyDict_Check(value))
        return wrong(key, "a dict or None");
    struct source inner = { from->settings, value };
    struct redis_tls *tls = redis_settings_alloc(from->settings, sizeof *tls);
    int verify = 0;
    if (tls == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    if (read_text(&inner, "ca_file", true, &tls->ca_file) < 0 || read_text(&inner, "ca_path", true, &tls->ca_path) < 0 ||
        read_text(&inner, "ca_data", true, &tls->ca_data) < 0 || read_text(&inner, "cert_file", true, &tls->cert_file) < 0 ||
        read_text(&inner, "key_file", true, &tls->key_file) < 0 || read_text(&inner, "key_password", true, &tls->key_password) < 0 ||
        read_choice(&inner, "verify", verifying, &verify) < 0 || read_flag(&inner, "check_hostname", &tls->check_hostname) < 0)
        return -1;
    tls->verify = (enum redis_verify)verify;
    *result = tls;
    return 0;
}

static int read_tls(const struct source *from, const char *key, const struct redis_tls **tls)
{
    PyObject *value = get(from, key);
    int result = value == NULL ? -1 : tls_of(from, value, key, tls);
    Py_XDECREF(value);
    return result;
}

static int read_address(const struct source *from, PyObject *item, struct redis_address *address)
{
    static const char key[] = "addresses";
    if (PyUnicode_Check(item))
        return text_of(from, item, key, false, &address->path);
    uint64_t port = 0;
    if (!PyTuple_Check(item) || PyTuple_GET_SIZE(item) != 2)
        return wrong(key, "a list of paths and of pairs of host and port");
    if (text_of(from, PyTuple_GET_ITEM(item, 0), key, false, &address->host) < 0 ||
        number_of(PyTuple_GET_ITEM(item, 1), key, 65535, &port) < 0)
        return -1;
    address->port = (int)port;
    return 0;
}

static int read_addresses(const struct source *from, struct redis_host *host)
{
    PyObject *list = read_list(from, "addresses", sizeof *host->addresses, (void **)&host->addresses, &host->address_count);
    if (list == NULL)
        return -1;
    int result = host->address_count > 0 ? 0 : wrong("addresses", "a list that is not empty");
    for (size_t i = 0; result == 0 && i < host->address_count; i++)
        result = read_address(from, PyTuple_GET_ITEM(list, (Py_ssize_t)i), &host->addresses[i]);
    Py_DECREF(list);
    return result;
}

static int read_host(struct redis_settings *settings, PyObject *item, struct redis_host *host)
{
    static const char *const kinds[] = { "single", "sentinel", "cluster", NULL };
    struct source from = { settings, item };
    uint64_t db = 0, protocol = 0;
    int kind = 0;
    if (!PyDict_Check(item))
        return wrong("hosts", "a list of dicts");
    if (read_choice(&from, "kind", kinds, &kind) < 0 || read_text(&from, "label", false, &host->label) < 0 ||
        read_addresses(&from, host) < 0 || read_text(&from, "master", kind != REDIS_SENTINEL, &host->master) < 0 ||
        read_number(&from, "db", INT_MAX, &db) < 0 || read_text(&from, "username", true, &host->username) < 0 ||
        read_text(&from, "password", true, &host->password) < 0 || read_number(&from, "protocol", 3, &protocol) < 0 ||
        read_number(&from, "connect_timeout_ms", LLONG_MAX, &host->connect_timeout_ms) < 0 || read_tls(&from, "tls", &host->tls) < 0 ||
        read_text(&from, "sentinel_username", true, &host->sentinel_username) < 0 ||
        read_text(&from, "sentinel_password", true, &host->sentinel_password) < 0 ||
        read_tls(&from, "sentinel_tls", &host->sentinel_tls) < 0)
        return -1;
    host->kind = (enum redis_kind)kind;
    host->db = (int)db;
    host->protocol = (int)protocol;
    return 0;
}

static int read_hosts(const struct source *from)
{
    struct redis_settings *settings = from->settings;
    PyObject *list = read_list(from, "hosts", sizeof *settings->hosts, (void **)&settings->hosts, &settings->host_count);
    if (list == NULL)
        return -1;
    int result = settings->host_count > 0 ? 0 : wrong("hosts", "a list that is not empty");
    for (size_t i = 0; result == 0 && i < settings->host_count; i++)
        result = read_host(settings, PyTuple_GET_ITEM(list, (Py_ssize_t)i), &settings->hosts[i]);
    Py_DECREF(list);
    for (size_t i = 0; result == 0 && i < settings->host_count; i++) {
        if (settings->hosts[i].kind == REDIS_CLUSTER && settings->host_count > 1)
            result = wrong("hosts", "one cluster, or servers without any");
    }
    return result;
}

static int read_keys(const struct source *from)
{
    unsigned char(*keys)[REDIS_KEY_BYTES];
    size_t count;
    PyObject *list = read_list(from, "keys", sizeof *keys, (void **)&keys, &count);
    if (list == NULL)
        return -1;
    int result = 0;
    for (size_t i = 0; result == 0 && i < count; i++) {
        PyObject *key = PyTuple_GET_ITEM(list, (Py_ssize_t)i);
        if (!PyBytes_Check(key) || PyBytes_GET_SIZE(key) != REDIS_KEY_BYTES)
            result = wrong("keys", "a list of 32 bytes each");
        else
            memcpy(keys[i], PyBytes_AS_STRING(key), REDIS_KEY_BYTES);
    }
    Py_DECREF(list);
    from->settings->keys = (const unsigned char(*)[REDIS_KEY_BYTES])keys;
    from->settings->key_count = count;
    return result;
}

static int read_capacities(const struct source *from)
{
    struct redis_capacity *capacities;
    size_t count;
    PyObject *list = read_list(from, "capacities", sizeof *capacities, (void **)&capacities, &count);
    if (list == NULL)
        return -1;
    int result = 0;
    for (size_t i = 0; result == 0 && i < count; i++) {
        PyObject *pair = PyTuple_GET_ITEM(list, (Py_ssize_t)i);
        uint64_t capacity = 0;
        if (!PyTuple_Check(pair) || PyTuple_GET_SIZE(pair) != 2)
            result = wrong("capacities", "a list of pairs of pattern and capacity");
        else if ((result = text_of(from, PyTuple_GET_ITEM(pair, 0), "capacities", false, &capacities[i].glob)) == 0 &&
                 (result = number_of(PyTuple_GET_ITEM(pair, 1), "capacities", PY_SSIZE_T_MAX, &capacity)) == 0)
            capacities[i].capacity = (size_t)capacity;
    }
    Py_DECREF(list);
    from->settings->capacities = capacities;
    from->settings->capacity_count = count;
    return result;
}

struct redis_settings *redis_settings_read(PyObject *dict)
{
    struct redis_settings *settings = redis_settings_create();
    if (settings == NULL)
        return (struct redis_settings *)PyErr_NoMemory();
    struct source from = { settings, dict };
    uint64_t buffer_limit, capacity, random_prefix_length;
    if (read_name(&from, "prefix", &settings->prefix) < 0 || read_flag(&from, "json", &settings->json) < 0 ||
        read_number(&from, "buffer_limit", PY_SSIZE_T_MAX, &buffer_limit) < 0 ||
        read_number(&from, "buffer_time_ms", LLONG_MAX, &settings->buffer_time_ms) < 0 || read_keys(&from) < 0 ||
        read_name(&from, "client", &settings->client) < 0 || read_number(&from, "expiry_ms", LLONG_MAX, &settings->expiry_ms) < 0 ||
        read_number(&from, "group_expiry_ms", LLONG_MAX, &settings->group_expiry_ms) < 0 ||
        read_number(&from, "capacity", PY_SSIZE_T_MAX, &capacity) < 0 || read_capacities(&from) < 0 ||
        read_number(&from, "random_prefix_length", INT_MAX, &random_prefix_length) < 0 ||
        read_name(&from, "on_disconnect", &settings->on_disconnect) < 0 || read_name(&from, "on_reconnect", &settings->on_reconnect) < 0 ||
        read_hosts(&from) < 0) {
        redis_settings_release(settings);
        return NULL;
    }
    settings->buffer_limit = (size_t)buffer_limit;
    settings->capacity = (size_t)capacity;
    settings->random_prefix_length = (unsigned)random_prefix_length;
    return settings;
}
