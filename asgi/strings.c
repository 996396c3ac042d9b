#include "asgi/strings.h"

int strings_init(struct strings *strings)
{
#define STRING_MAKE_PLAIN(name)                                                                                        \
    if ((strings->name = PyUnicode_InternFromString(#name)) == NULL)                                                   \
        return -1;
#define STRING_MAKE_OTHER(name, text)                                                                                  \
    if ((strings->name = PyUnicode_InternFromString(text)) == NULL)                                                    \
        return -1;
    STRINGS_PLAIN(STRING_MAKE_PLAIN)
    STRINGS_OTHER(STRING_MAKE_OTHER)
#undef STRING_MAKE_PLAIN
#undef STRING_MAKE_OTHER
    return 0;
}

void strings_clear(struct strings *strings)
{
    /* Every field is a PyObject pointer. */
    PyObject **all = (PyObject **)strings;
    for (size_t i = 0; i < sizeof *strings / sizeof *all; i++)
        Py_CLEAR(all[i]);
}
