#include "asgi/caches.h"

#include <stdbool.h>
#include <string.h>

#include "base/alloc.h"

/* Collisions cost a replaced entry, nothing more, so who chooses the bytes gains nothing by choosing collisions. */
static uint64_t hash_bytes(uint64_t hash, const unsigned char *bytes, size_t length)
{
    const uint64_t prime = 0x9e3779b97f4a7c15u;
    hash ^= length * prime;
    for (; length >= 8; bytes += 8, length -= 8) {
        uint64_t chunk;
        memcpy(&chunk, bytes, 8);
        hash = (hash ^ chunk) * prime;
        hash ^= hash >> 32;
    }
    uint64_t rest = 0;
    for (size_t i = 0; i < length; i++)
        rest = rest << 8 | bytes[i];
    hash = (hash ^ rest) * prime;
    return hash ^ hash >> 29;
}

static bool bytes_equal(PyObject *object, const unsigned char *bytes, size_t length)
{
    return (size_t)PyBytes_GET_SIZE(object) == length && memcmp(PyBytes_AS_STRING(object), bytes, length) == 0;
}

static void replace(struct cached *entry, uint64_t hash, PyObject *key, PyObject *value)
{
    Py_INCREF(key);
    Py_XINCREF(value);
    PyObject *old_key = entry->key;
    PyObject *old_value = entry->value;
    *entry = (struct cached){ .hash = hash, .key = key, .value = value };
    Py_XDECREF(old_key);
    Py_XDECREF(old_value);
}

static PyObject *new_bytes(const unsigned char *bytes, size_t length)
{
    return PyBytes_FromStringAndSize((const char *)bytes, (Py_ssize_t)length);
}

static PyObject *field_name(struct caches *caches, const unsigned char *name, size_t length)
{
    if (length > CACHE_BYTES)
        return new_bytes(name, length);
    uint64_t hash = hash_bytes(0, name, length);
    struct cached *entry = &caches->names[hash % CACHE_SIZE];
    if (entry->key != NULL && entry->hash == hash && bytes_equal(entry->key, name, length))
        return Py_NewRef(entry->key);
    PyObject *made = new_bytes(name, length);
    if (made != NULL)
        replace(entry, hash, made, NULL);
    return made;
}

static PyObject *make_field(struct caches *caches, const unsigned char *name, size_t name_length,
                            const unsigned char *value, size_t value_length)
{
    PyObject *first = field_name(caches, name, name_length);
    if (first == NULL)
        return NULL;
    PyObject *second = new_bytes(value, value_length);
    PyObject *field = second == NULL ? NULL : PyTuple_Pack(2, first, second);
    Py_DECREF(first);
    Py_XDECREF(second);
    return field;
}

static bool is_secret(const unsigned char *name, size_t length)
{
    return (length == 6 && memcmp(name, "cookie", 6) == 0) || (length == 13 && memcmp(name, "authorization", 13) == 0);
}

PyObject *caches_field(struct caches *caches, const unsigned char *name, size_t name_length, const unsigned char *value,
                       size_t value_length)
{
    if (name_length + value_length > CACHE_BYTES || is_secret(name, name_length))
        return make_field(caches, name, name_length, value, value_length);
    uint64_t hash = hash_bytes(hash_bytes(0, name, name_length), value, value_length);
    struct cached *entry = &caches->fields[hash % CACHE_SIZE];
    if (entry->key != NULL && entry->hash == hash && bytes_equal(entry->key, name, name_length) &&
        bytes_equal(PyTuple_GET_ITEM(entry->value, 1), value, value_length))
        return Py_NewRef(entry->value);
    PyObject *field = make_field(caches, name, name_length, value, value_length);
    if (field != NULL)
        replace(entry, hash, PyTuple_GET_ITEM(field, 0), field);
    return field;
}

static int hex_digit(unsigned char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* A "%" that two hexadecimal digits do not follow stands for itself. */
static PyObject *decode_path(const unsigned char *raw, size_t length)
{
    if (memchr(raw, '%', length) == NULL)
        return PyUnicode_DecodeUTF8((const char *)raw, (Py_ssize_t)length, "replace");
    char *decoded = mem_try_alloc(length);
    if (decoded == NULL)
        return PyErr_NoMemory();
    size_t used = 0;
    for (size_t i = 0; i < length; i++) {
        unsigned char c = raw[i];
        if (c == '%' && i + 2 < length && hex_digit(raw[i + 1]) >= 0 && hex_digit(raw[i + 2]) >= 0) {
            c = (unsigned char)(hex_digit(raw[i + 1]) << 4 | hex_digit(raw[i + 2]));
            i += 2;
        }
        decoded[used++] = (char)c;
    }
    PyObject *path = PyUnicode_DecodeUTF8(decoded, (Py_ssize_t)used, "replace");
    mem_free(decoded);
    return path;
}

int caches_path(struct caches *caches, const unsigned char *raw, size_t length, PyObject **raw_path, PyObject **path)
{
    uint64_t hash = 0;
    struct cached *entry = NULL;
    if (length <= CACHE_BYTES) {
        hash = hash_bytes(0, raw, length);
        entry = &caches->paths[hash % CACHE_SIZE];
        if (entry->key != NULL && entry->hash == hash && bytes_equal(entry->key, raw, length)) {
            *raw_path = Py_NewRef(entry->key);
            *path = Py_NewRef(entry->value);
            return 0;
        }
    }
    *path = NULL;
    *raw_path = new_bytes(raw, length);
    if (*raw_path != NULL)
        *path = decode_path(raw, length);
    if (*path == NULL) {
        Py_CLEAR(*raw_path);
        return -1;
    }
    if (entry != NULL)
        replace(entry, hash, *raw_path, *path);
    return 0;
}

static PyObject *upper_case(const unsigned char *method, size_t length)
{
    PyObject *text = PyUnicode_New((Py_ssize_t)length, 127);
    if (text == NULL)
        return NULL;
    for (size_t i = 0; i < length; i++) {
        unsigned char c = method[i];
        PyUnicode_1BYTE_DATA(text)[i] = c >= 'a' && c <= 'z' ? (unsigned char)(c - 32) : c & 127;
    }
    return text;
}

PyObject *caches_method(struct caches *caches, const unsigned char *method, size_t length)
{
    if (length > CACHE_BYTES)
        return upper_case(method, length);
    uint64_t hash = hash_bytes(0, method, length);
    struct cached *entry = &caches->methods[hash % (sizeof caches->methods / sizeof caches->methods[0])];
    if (entry->key != NULL && entry->hash == hash && bytes_equal(entry->key, method, length))
        return Py_NewRef(entry->value);
    PyObject *text = upper_case(method, length);
    PyObject *key = text == NULL ? NULL : new_bytes(method, length);
    if (key == NULL) {
        Py_XDECREF(text);
        return NULL;
    }
    replace(entry, hash, key, text);
    Py_DECREF(key);
    return text;
}

static void clear_table(struct cached *table, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        Py_CLEAR(table[i].key);
        Py_CLEAR(table[i].value);
    }
}

void caches_clear(struct caches *caches)
{
    clear_table(caches->names, CACHE_SIZE);
    clear_table(caches->fields, CACHE_SIZE);
    clear_table(caches->paths, CACHE_SIZE);
    clear_table(caches->methods, sizeof caches->methods / sizeof caches->methods[0]);
}
