#define PY_SSIZE_T_CLEAN /* for "#" in PyArg_ */
#include "asgi/tls_type.h"

#include "base/alloc.h"
#include "server/tls_context.h"
#include "server/tls_store.h"

enum { ERROR_SIZE = 1024 };

struct tls_object {
    PyObject_HEAD
    PyObject *arguments; /* __init__'s: reload() reads them again */
    PyObject *keywords;
    struct tls_store *store;
};

/* Names for enum tls_problem, by its negative. */
static const char *const problems[] = {"", "certificate", "key", "password", "chain", "ca", "ciphers", "version", "dh"};

static int read_identities(PyObject *list, struct tls_identity_spec **identities, size_t *count)
{
    *count = (size_t)PyTuple_GET_SIZE(list);
    *identities = PyMem_Calloc(*count + 1, sizeof **identities);
    if (*identities == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    if (*count == 0) {
        PyErr_SetString(PyExc_TypeError, "TLS() needs a certificate");
        return -1;
    }
    for (size_t i = 0; i < *count; i++) {
        struct tls_identity_spec *identity = &(*identities)[i];
        PyObject *item = PyTuple_GET_ITEM(list, i);
        if (!PyTuple_Check(item)) {
            PyErr_SetString(PyExc_TypeError, "a certificate is a tuple of certificate, key, chain and password");
            return -1;
        }
        if (!PyArg_ParseTuple(item, "szzz", &identity->certificate, &identity->key, &identity->chain, &identity->password))
            return -1;
    }
    return 0;
}

/* The context that the arguments describe; NULL with an exception. The arguments keep what spec points to. */
static struct tls_context *read_context(PyObject *arguments, PyObject *keywords)
{
    static char *names[] = {"certificates", "ca_file",       "ca_directory", "verify",      "ciphers", "minimum_version",
                            "dh_parameters", "alpn", "ticket_keys", NULL};
    struct tls_spec spec = {0};
    struct tls_identity_spec *identities = NULL;
    struct tls_context *context = NULL;
    PyObject *list;
    Py_ssize_t alpn_length = 0, ticket_length = 0;
    int verify = TLS_VERIFY_NONE;
    char error[ERROR_SIZE] = "";
    if (!PyArg_ParseTupleAndKeywords(arguments, keywords, "O!|$zzizizy#z#:TLS", names, &PyTuple_Type, &list, &spec.ca_file,
                                     &spec.ca_directory, &verify, &spec.ciphers, &spec.minimum_version, &spec.dh_parameters,
                                     &spec.alpn, &alpn_length, &spec.ticket_keys, &ticket_length))
        return NULL;
    if (verify < TLS_VERIFY_NONE || verify > TLS_VERIFY_REQUIRED || (ticket_length != 0 && ticket_length != TLS_TICKET_KEYS))
        return PyErr_Format(PyExc_ValueError, "verify is 0, 1 or 2, and ticket_keys has %d bytes", TLS_TICKET_KEYS), NULL;
    spec.verify = verify;
    spec.alpn_length = (size_t)alpn_length;
    if (read_identities(list, &identities, &spec.identity_count) == 0) {
        enum tls_problem problem;
        spec.identities = identities;
        Py_BEGIN_ALLOW_THREADS
        problem = tls_context_create(&context, &spec, error, sizeof error);
        Py_END_ALLOW_THREADS
        if (problem == TLS_NO_MEMORY) {
            PyErr_NoMemory();
        } else if (problem != TLS_OK) {
            PyObject *details = Py_BuildValue("(ss)", problems[-problem], error);
            if (details != NULL)
                PyErr_SetObject(PyExc_ValueError, details);
            Py_XDECREF(details);
        }
    }
    PyMem_Free(identities);
    return context;
}

static PyObject *tls_new(PyTypeObject *type, PyObject *arguments, PyObject *keywords)
{
    struct tls_context *context = read_context(arguments, keywords);
    if (context == NULL)
        return NULL;
    struct tls_object *self = (struct tls_object *)type->tp_alloc(type, 0);
    if (self == NULL) {
        tls_context_release(context);
        return NULL;
    }
    self->store = tls_store_create(context);
    self->arguments = Py_NewRef(arguments);
    self->keywords = keywords != NULL ? PyDict_Copy(keywords) : PyDict_New();
    if (self->keywords == NULL)
        Py_CLEAR(self);
    else if (PyDict_DelItemString(self->keywords, "ticket_keys") < 0)
        PyErr_Clear(); /* there were none. A secret that has been used is kept nowhere */
    return (PyObject *)self;
}

static PyObject *tls_reload(PyObject *object, PyObject *ignored)
{
    struct tls_object *self = (struct tls_object *)object;
    (void)ignored;
    struct tls_context *context = read_context(self->arguments, self->keywords);
    if (context == NULL)
        return NULL;
    tls_store_replace(self->store, context);
    Py_RETURN_NONE;
}

static int tls_traverse(PyObject *object, visitproc visit, void *arg)
{
    struct tls_object *self = (struct tls_object *)object;
    Py_VISIT(Py_TYPE(object));
    Py_VISIT(self->arguments);
    Py_VISIT(self->keywords);
    return 0;
}

static void tls_dealloc(PyObject *object)
{
    struct tls_object *self = (struct tls_object *)object;
    PyTypeObject *type = Py_TYPE(object);
    PyObject_GC_UnTrack(object);
    tls_store_release(self->store);
    Py_CLEAR(self->arguments);
    Py_CLEAR(self->keywords);
    type->tp_free(object);
    Py_DECREF(type);
}

int tls_store_of(struct state *state, PyObject *object, struct tls_store **store)
{
    *store = NULL;
    if (object == Py_None)
        return 0;
    if (!PyObject_TypeCheck(object, state->tls_type)) {
        PyErr_Format(PyExc_TypeError, "tls must be a TLS or None, not %R", object);
        return -1;
    }
    *store = ((struct tls_object *)object)->store;
    return 0;
}

static PyMethodDef methods[] = {
    {"reload", tls_reload, METH_NOARGS, "Reads the files again, for who comes from now on; ValueError changes nothing."},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot slots[] = {
    {Py_tp_doc, "What listeners encrypt with."},
    {Py_tp_new, tls_new},
    {Py_tp_traverse, tls_traverse},
    {Py_tp_dealloc, tls_dealloc},
    {Py_tp_methods, methods},
    {0, NULL},
};

PyType_Spec tls_spec = {
    .name = "peneus._core.TLS",
    .basicsize = sizeof(struct tls_object),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = slots,
};
