#include "asgi/tls_scope.h"

#include <string.h>

static PyObject *make_chain(const char *text)
{
    PyObject *chain = PyList_New(0);
    while (chain != NULL && text != NULL && *text != '\0') {
        PyObject *certificate = PyUnicode_FromString(text);
        if (certificate == NULL || PyList_Append(chain, certificate) < 0)
            Py_CLEAR(chain);
        Py_XDECREF(certificate);
        text += strlen(text) + 1;
    }
    return chain;
}

static PyObject *make_name(const char *text)
{
    if (text == NULL)
        return Py_NewRef(Py_None);
    return PyUnicode_DecodeUTF8(text, (Py_ssize_t)strlen(text), "backslashreplace"); /* a client may write anything */
}

PyObject *tls_scope(const struct strings *s, const struct tls_info *info)
{
    PyObject *const entries[][2] = {
        {s->server_cert, PyUnicode_FromString(info->server_certificate)},
        {s->client_cert_chain, make_chain(info->client_chain)},
        {s->client_cert_name, make_name(info->client_name)},
        {s->client_cert_error, Py_NewRef(Py_None)}, /* who shows a bad certificate is refused in the handshake */
        {s->tls_version, PyLong_FromLong(info->version)},
        {s->cipher_suite, PyLong_FromLong(info->cipher)},
    };
    PyObject *scope = PyDict_New();
    for (size_t i = 0; i < sizeof entries / sizeof entries[0]; i++) {
        if (scope != NULL && (entries[i][1] == NULL || PyDict_SetItem(scope, entries[i][0], entries[i][1]) < 0))
            Py_CLEAR(scope);
        Py_XDECREF(entries[i][1]);
    }
    return scope;
}
