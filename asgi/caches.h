/* caches.h: Python objects for bytes that come again with every request: header fields, their names, methods, paths.
 *
 * Owner:   the module's state.
 * Thread:  with the GIL.
 * Limits:  CACHE_SIZE entries in each, of at most CACHE_BYTES bytes; a new entry replaces the one in its place. Values of
 *          Cookie and Authorization, which are secrets and differ, are not kept.
 */
#ifndef PENEUS_ASGI_CACHES_H
#define PENEUS_ASGI_CACHES_H

#include <Python.h>
#include <stdint.h>

enum { CACHE_SIZE = 512, CACHE_BYTES = 256 };

struct cached {
    uint64_t hash;
    PyObject *key;   /* bytes; NULL: empty */
    PyObject *value;
};

struct caches {
    struct cached names[CACHE_SIZE];  /* bytes; value is NULL */
    struct cached fields[CACHE_SIZE]; /* name -> (name, value) */
    struct cached paths[CACHE_SIZE];  /* raw path -> path */
    struct cached methods[16];        /* -> str */
};

/* A new reference to the tuple (name, value), both bytes. */
PyObject *caches_field(struct caches *caches, const unsigned char *name, size_t name_length, const unsigned char *value,
                       size_t value_length);

/* raw: the path as sent, without the query. New references: *raw_path (bytes), *path (str, percent-decoded, UTF-8 with
 * replacement). 0, or -1 with an exception. */
int caches_path(struct caches *caches, const unsigned char *raw, size_t length, PyObject **raw_path, PyObject **path);

/* A new reference to the method as str, in upper case. */
PyObject *caches_method(struct caches *caches, const unsigned char *method, size_t length);

void caches_clear(struct caches *caches);

#endif
