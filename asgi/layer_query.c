/* Layer.group_channels(): which channels are in a group, here and in the other processes. */
#include "asgi/layer_wait.h"
#include "channellayer/bytes.h"

struct layer_query {
    struct layer_wait wait;
    PyObject *group; /* str */
};

static void add_name(void *context, struct name channel)
{
    struct bytes *names = context;
    bytes_add_byte(names, (unsigned char)channel.length); /* at most 99 */
    bytes_add(names, channel.bytes, channel.length);
}

/* Adds what is a length byte and a name each to set. Names that are cut off end it: they came from elsewhere. */
static int add_names(PyObject *set, const unsigned char *at, size_t length)
{
    const unsigned char *end = at + length;
    while (at < end && (size_t)(end - at) > *at) {
        PyObject *name = PyUnicode_DecodeUTF8((const char *)at + 1, *at, "replace");
        int result = name == NULL ? -1 : PySet_Add(set, name);
        Py_XDECREF(name);
        if (result < 0)
            return -1;
        at += 1 + *at;
    }
    return 0;
}

/* A list of the names here and in answer, which may be NULL, each once. */
static PyObject *names_of(struct layer *layer, PyObject *group_text, const struct message *answer)
{
    struct bytes here = {0};
    struct name group;
    if (layer_name(group_text, &group) < 0)
        return NULL;
    layer_each_member(layer, group, add_name, &here);
    PyObject *list = NULL;
    PyObject *set = here.failed ? PyErr_NoMemory() : PySet_New(NULL);
    if (set != NULL && add_names(set, here.data, here.length) == 0 &&
        (answer == NULL || add_names(set, answer->bytes, answer->length) == 0))
        list = PySequence_List(set);
    Py_XDECREF(set);
    bytes_deinit(&here);
    return list;
}

PyObject *layer_members_list(struct layer *layer, PyObject *group)
{
    return names_of(layer, group, NULL);
}

static int give(struct layer_query *query, int status, PyObject **result)
{
    const struct message *answer = query->wait.told_answer;
    if (status == LAYER_NO_MEMORY)
        PyErr_NoMemory();
    else if (status == LAYER_REFUSED && answer != NULL)
        *result = PyUnicode_DecodeUTF8((const char *)answer->bytes, (Py_ssize_t)answer->length, "replace");
    else
        *result = status == LAYER_OK ? names_of(layer_wait_native(&query->wait), query->group, answer) : Py_NewRef(Py_None);
    return PyErr_Occurred() ? -1 : 1;
}

static int attempt(struct awaitable *awaitable, PyObject **result)
{
    struct layer_query *query = (struct layer_query *)awaitable;
    struct layer_wait *wait = &query->wait;
    struct name group;
    if (wait->told)
        return give(query, wait->told_status, result);
    if (layer_name(query->group, &group) < 0 || layer_wait_arm(wait) < 0)
        return -1;
    int status = layer_query(layer_wait_native(wait), group, wait->port->sink, wait->token);
    if (status == LAYER_EMPTY) {
        layer_wait_begin(wait);
        return 0;
    }
    layer_wait_disarm(wait);
    return give(query, status, result);
}

static void left(struct awaitable *awaitable, int woken, int again)
{
    (void)again;
    if (!woken)
        layer_wait_disarm((struct layer_wait *)awaitable); /* the answer finds nobody */
}

static const struct awaitable_operations operations = { attempt, layer_wait_loop, left, .repeatable = 0 };

PyObject *layer_query_new(struct layer_object *layer, PyObject *group)
{
    struct layer_wait *wait = layer_wait_new(state_of(Py_TYPE(layer))->layer_query_type, &operations, layer);
    if (wait == NULL)
        return NULL;
    ((struct layer_query *)wait)->group = Py_NewRef(group);
    PyObject_GC_Track(wait);
    return (PyObject *)wait;
}

static int clear(PyObject *self)
{
    layer_wait_clear(self);
    Py_CLEAR(((struct layer_query *)self)->group);
    return 0;
}

static void dealloc(PyObject *self)
{
    PyTypeObject *type = Py_TYPE(self);
    PyObject_GC_UnTrack(self);
    clear(self);
    type->tp_free(self);
    Py_DECREF(type);
}

static PyType_Slot slots[] = {
    AWAITABLE_SLOTS,
    {Py_tp_traverse, layer_wait_traverse},
    {Py_tp_clear, clear},
    {Py_tp_dealloc, dealloc},
    {0, NULL},
};

PyType_Spec layer_query_spec = {
    .name = "peneus._core.LayerQuery",
    .basicsize = sizeof(struct layer_query),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_DISALLOW_INSTANTIATION | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = slots,
};
