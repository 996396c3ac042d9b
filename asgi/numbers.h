/* numbers.h: dicts of numbers by name, for stats().
 *
 * Owner:   nobody.
 * Thread:  with the GIL.
 * Limits:  none.
 */
#ifndef PENEUS_ASGI_NUMBERS_H
#define PENEUS_ASGI_NUMBERS_H

#include <Python.h>
#include <stdint.h>

struct number {
    const char *name;
    uint64_t value;
};

/* {name: value, …}, or NULL with an exception. */
PyObject *numbers_dict(const struct number *numbers, size_t count);

#endif
