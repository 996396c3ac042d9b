#include "asgi/layer_wait.h"

struct layer_wait *layer_wait_new(PyTypeObject *type, const struct awaitable_operations *operations, struct layer_object *layer)
{
    struct layer_wait *wait = (struct layer_wait *)_PyObject_GC_New(type);
    if (wait == NULL)
        return NULL;
    awaitable_init(&wait->awaitable, operations, (PyObject *)layer);
    wait->loop = NULL;
    wait->port = NULL;
    wait->token = 0;
    wait->told_channel = 0;
    wait->told_status = 0;
    wait->told_answer = NULL;
    wait->told = 0;
    wait->begun = 0;
    wait->never = NULL;
    return wait;
}

static int find_port(struct layer_wait *wait, struct state *state)
{
    if (wait->port != NULL)
        return 0;
    PyObject *loop = PyObject_CallNoArgs(state->get_running_loop);
    if (loop == NULL)
        return -1;
    Py_XSETREF(wait->loop, loop);
    wait->port = port_of(state, loop);
    return wait->port == NULL ? -1 : 0;
}

int layer_wait_arm(struct layer_wait *wait)
{
    if (find_port(wait, state_of(Py_TYPE(wait))) < 0)
        return -1;
    wait->token = slots_add(&wait->port->waiters, wait);
    if (wait->token == 0) {
        PyErr_NoMemory();
        return -1;
    }
    return 0;
}

void layer_wait_begin(struct layer_wait *wait)
{
    list_append(&wait->port->waiting, &wait->awaitable.link);
    wait->begun = 1;
}

void layer_wait_disarm(struct layer_wait *wait)
{
    slots_remove(&wait->port->waiters, wait->token);
    wait->token = 0;
}

PyObject *layer_wait_loop(struct awaitable *awaitable)
{
    return ((struct layer_wait *)awaitable)->loop;
}

/* Nothing will come from the layer. One that waits for nothing else is nobody's from now on: where only its own wait keeps the task
 * that awaits it, both are garbage. */
static void dismiss(struct layer_wait *wait)
{
    layer_wait_disarm(wait);
    if (!wait->begun)
        return;
    Py_INCREF(wait);
    if (wait->never != NULL)
        wait->never(wait);
    awaitable_forget(&wait->awaitable);
    Py_DECREF(wait);
}

int port_told(struct awaitable *awaitable, const struct sink_item *item)
{
    struct layer_wait *wait = (struct layer_wait *)awaitable;
    int result = 0;
    if (wait == NULL) {
        layer_pass(item->layer, item->channel);
        message_release(item->answer);
    } else if (item->status == LAYER_UNKNOWN) {
        dismiss(wait);
    } else {
        Py_INCREF(awaitable);
        wait->told_channel = item->channel;
        wait->told_status = item->status;
        wait->told_answer = item->answer;
        wait->told = 1;
        layer_wait_disarm(wait);
        result = awaitable_wake(awaitable, 1);
        Py_DECREF(awaitable);
    }
    layer_release(item->layer);
    return result;
}

int layer_wait_traverse(PyObject *self, visitproc visit, void *arg)
{
    Py_VISIT(((struct layer_wait *)self)->loop);
    Py_VISIT(((struct layer_wait *)self)->port);
    return awaitable_traverse(self, visit, arg);
}

int layer_wait_clear(PyObject *self)
{
    struct layer_wait *wait = (struct layer_wait *)self;
    awaitable_clear(self);
    Py_CLEAR(wait->loop);
    Py_CLEAR(wait->port);
    message_release(wait->told_answer);
    wait->told_answer = NULL;
    return 0;
}
