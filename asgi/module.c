/* peneus._core: the module. Its Python face is python/peneus/_core.pyi. */
#include <Python.h>
#include <stdatomic.h>

#include "asgi/awaitable.h"
#include "asgi/connection.h"
#include "asgi/delegate.h"
#include "asgi/hub_type.h"
#include "asgi/inbox.h"
#include "asgi/layer_type.h"
#include "asgi/pause.h"
#include "asgi/port.h"
#include "asgi/sending.h"
#include "asgi/server_type.h"
#include "asgi/state.h"
#include "asgi/tls_type.h"
#include "channellayer/bus/thread.h"
#include "server/running.h"

enum { BUSES_END_MS = 1200 }; /* that the buses of layers which are gone may take at the process's end */

static int make_type(PyObject *module, PyType_Spec *spec, PyTypeObject **type)
{
    *type = (PyTypeObject *)PyType_FromModuleAndSpec(module, spec, NULL);
    return *type == NULL ? -1 : 0;
}

static int make_types(PyObject *module, struct state *state)
{
    return make_type(module, &awaitable_spec, &state->awaitable_type) < 0 ||
                   make_type(module, &pyconnection_spec, &state->connection_type) < 0 ||
                   make_type(module, &delegate_spec, &state->delegate_type) < 0 ||
                   make_type(module, &inbox_spec, &state->inbox_type) < 0 ||
                   make_type(module, &hub_spec, &state->hub_type) < 0 ||
                   make_type(module, &layer_query_spec, &state->layer_query_type) < 0 ||
                   make_type(module, &layer_receive_spec, &state->layer_receive_type) < 0 ||
                   make_type(module, &layer_settle_spec, &state->layer_settle_type) < 0 ||
                   make_type(module, &layer_spec, &state->layer_type) < 0 ||
                   make_type(module, &message_spec, &state->message_type) < 0 ||
                   make_type(module, &pause_spec, &state->pause_type) < 0 ||
                   make_type(module, &port_spec, &state->port_type) < 0 ||
                   make_type(module, &sending_spec, &state->sending_type) < 0 ||
                   make_type(module, &pyserver_spec, &state->server_type) < 0 ||
                   make_type(module, &tls_spec, &state->tls_type) < 0
               ? -1
               : 0;
}

/* When the interpreter is gone, and before the libraries that servers and buses use are. */
static void halt_threads(void)
{
    running_halt();
    bus_thread_halt(BUSES_END_MS);
}

#if PY_VERSION_HEX < 0x030D0000
#define Py_IsFinalizing _Py_IsFinalizing
#endif

static void halt_servers(PyObject *capsule)
{
    (void)capsule;
    if (Py_IsFinalizing())
        running_halt();
}

/* While the interpreter ends, and modules lose what is in them: from here on no I/O thread wakes an event loop of a daemon thread,
 * which would ask for the GIL of an interpreter that is no more. */
static int halt_servers_with(PyObject *module)
{
    PyObject *capsule = PyCapsule_New(module, NULL, halt_servers);
    int result = PyModule_AddObjectRef(module, "_running", capsule);
    Py_XDECREF(capsule);
    return result;
}

static int execute(PyObject *module)
{
    static atomic_flag first = ATOMIC_FLAG_INIT;
    if (!atomic_flag_test_and_set(&first) && Py_AtExit(halt_threads) < 0) {
        PyErr_SetString(PyExc_RuntimeError, "too many libraries want to be told of the interpreter's end");
        return -1;
    }
    struct state *state = PyModule_GetState(module);
    if (make_types(module, state) < 0 || state_init(state) < 0 || halt_servers_with(module) < 0)
        return -1;
    if (PyModule_AddType(module, state->server_type) < 0 || PyModule_AddType(module, state->inbox_type) < 0 || PyModule_AddType(module, state->layer_type) < 0 ||
        PyModule_AddType(module, state->hub_type) < 0 || PyModule_AddType(module, state->tls_type) < 0 ||
        PyModule_AddType(module, state->connection_type) < 0 ||
        PyModule_AddObjectRef(module, "current_connection", state->current_connection) < 0 ||
        PyModule_AddObjectRef(module, "ClientGone", state->client_gone) < 0)
        return -1;
    return 0;
}

static int traverse(PyObject *module, visitproc visit, void *arg)
{
    struct state *state = PyModule_GetState(module);
    return state == NULL ? 0 : state_traverse(state, visit, arg);
}

static int clear(PyObject *module)
{
    struct state *state = PyModule_GetState(module);
    if (state != NULL)
        state_clear(state);
    return 0;
}

static void free_module(void *module)
{
    clear(module);
}

static PyModuleDef_Slot slots[] = {
    {Py_mod_exec, execute},
#ifdef Py_MOD_PER_INTERPRETER_GIL_SUPPORTED
    {Py_mod_multiple_interpreters, Py_MOD_PER_INTERPRETER_GIL_SUPPORTED},
#endif
    {0, NULL},
};

static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT,
    .m_name = "peneus._core",
    .m_doc = "The native core of Peneus. Internal to the package.",
    .m_size = sizeof(struct state),
    .m_slots = slots,
    .m_traverse = traverse,
    .m_clear = clear,
    .m_free = free_module,
};

PyMODINIT_FUNC PyInit__core(void);

PyMODINIT_FUNC PyInit__core(void)
{
    return PyModuleDef_Init(&definition);
}
