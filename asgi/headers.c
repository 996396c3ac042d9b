#include "asgi/headers.h"

#include <stdbool.h>
#include <string.h>

static const char subprotocol_name[] = "sec-websocket-protocol";
enum { SUBPROTOCOL_NAME = sizeof subprotocol_name - 1 };

enum { TOKEN = 1, FORBIDDEN = 2 };

/* What a byte may be in. RFC 9110: section 5.6.2 for tokens, 5.5 for what no value may have. */
static const unsigned char classes[256] = {
    [0x00 ... 0x08] = FORBIDDEN, [0x0a ... 0x1f] = FORBIDDEN, [0x7f] = FORBIDDEN,
    ['!'] = TOKEN, ['#'] = TOKEN, ['$'] = TOKEN, ['%'] = TOKEN, ['&'] = TOKEN, ['\''] = TOKEN, ['*'] = TOKEN,
    ['+'] = TOKEN, ['-'] = TOKEN, ['.'] = TOKEN, ['^'] = TOKEN, ['_'] = TOKEN, ['`'] = TOKEN, ['|'] = TOKEN,
    ['~'] = TOKEN, ['0' ... '9'] = TOKEN, ['A' ... 'Z'] = TOKEN, ['a' ... 'z'] = TOKEN,
};

static bool is_token(const char *bytes, size_t length)
{
    unsigned char all = TOKEN;
    for (size_t i = 0; i < length; i++)
        all &= classes[(unsigned char)bytes[i]];
    return length > 0 && all != 0;
}

static bool is_value(const char *bytes, size_t length)
{
    unsigned char any = 0;
    for (size_t i = 0; i < length; i++)
        any |= classes[(unsigned char)bytes[i]];
    return !(any & FORBIDDEN);
}

/* name and value are borrowed. */
static int check_field(PyObject *name, PyObject *value)
{
    if (!PyBytes_Check(name)) {
        PyErr_Format(PyExc_ValueError, "Header name '%S' expected to be `bytes`, but got `%R`", name,
                     (PyObject *)Py_TYPE(name));
        return -1;
    }
    if (!PyBytes_Check(value)) {
        PyErr_Format(PyExc_ValueError, "Header value '%S' expected to be `bytes`, but got `%R`", value,
                     (PyObject *)Py_TYPE(value));
        return -1;
    }
    if (!is_token(PyBytes_AS_STRING(name), (size_t)PyBytes_GET_SIZE(name))) {
        PyErr_Format(PyExc_ValueError, "header name %R is not a token (RFC 9110): letters, digits and !#$%%&'*+-.^_`|~ only",
                     name);
        return -1;
    }
    if (!is_value(PyBytes_AS_STRING(value), (size_t)PyBytes_GET_SIZE(value))) {
        PyErr_Format(PyExc_ValueError, "the value of header %R has a CR, LF, NUL or another control character in it: %R", name, value);
        return -1;
    }
    return 0;
}

static bool is_pair(PyObject *item)
{
    return PyTuple_CheckExact(item) && PyTuple_GET_SIZE(item) == 2;
}

/* A tuple of the two items of an iterable. */
static PyObject *as_pair(PyObject *item)
{
    PyObject *pair = PySequence_Tuple(item);
    if (pair != NULL && is_pair(pair))
        return pair;
    if (pair != NULL || PyErr_ExceptionMatches(PyExc_TypeError))
        PyErr_Format(PyExc_ValueError, "a header must be two items, (name, value), not %R", item);
    Py_XDECREF(pair);
    return NULL;
}

/* The same items as fields, a tuple, each of them a pair. In a list at first: a tuple that is not yet full must not be seen. */
static PyObject *make_pairs(PyObject *fields)
{
    PyObject *list = PyList_New(0);
    for (Py_ssize_t i = 0; list != NULL && i < PyTuple_GET_SIZE(fields); i++) {
        PyObject *pair = as_pair(PyTuple_GET_ITEM(fields, i));
        if (pair == NULL || PyList_Append(list, pair) < 0)
            Py_CLEAR(list);
        Py_XDECREF(pair);
    }
    PyObject *pairs = list == NULL ? NULL : PyList_AsTuple(list);
    Py_XDECREF(list);
    return pairs;
}

/* A tuple of pairs, tuples too, out of any iterable of two-item iterables: nothing that runs later can change it. */
static PyObject *as_pairs(PyObject *headers)
{
    PyObject *fields = PySequence_Tuple(headers);
    if (fields == NULL) {
        if (PyErr_ExceptionMatches(PyExc_TypeError))
            PyErr_Format(PyExc_ValueError, "headers must be an iterable of (name, value), not %R", headers);
        return NULL;
    }
    for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(fields); i++) {
        if (!is_pair(PyTuple_GET_ITEM(fields, i))) {
            PyObject *pairs = make_pairs(fields);
            Py_DECREF(fields);
            return pairs;
        }
    }
    return fields;
}

/* What the fields take. */
struct measure {
    size_t count;
    size_t length;
    bool subprotocol; /* there is such a field */
};

static int measure_fields(PyObject *pairs, struct measure *measure)
{
    for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(pairs); i++) {
        PyObject *pair = PyTuple_GET_ITEM(pairs, i);
        PyObject *name = PyTuple_GET_ITEM(pair, 0), *value = PyTuple_GET_ITEM(pair, 1);
        if (check_field(name, value) < 0)
            return -1;
        size_t name_length = (size_t)PyBytes_GET_SIZE(name);
        measure->count++;
        measure->length += name_length + (size_t)PyBytes_GET_SIZE(value);
        if (name_length == SUBPROTOCOL_NAME && strncasecmp(PyBytes_AS_STRING(name), subprotocol_name, name_length) == 0)
            measure->subprotocol = true;
    }
    return 0;
}

struct writer {
    struct command_field *fields;
    unsigned char *bytes;
};

static void write_field(struct writer *writer, const char *name, size_t name_length, const char *value, size_t value_length)
{
    *writer->fields++ = (struct command_field){ (uint32_t)name_length, (uint32_t)value_length };
    memcpy(writer->bytes, name, name_length);
    memcpy(writer->bytes + name_length, value, value_length);
    writer->bytes += name_length + value_length;
}

static struct command *build(enum command_kind kind, uint64_t exchange, PyObject *pairs, const struct measure *measure,
                             const char *subprotocol, size_t subprotocol_length)
{
    size_t head = measure->count * sizeof(struct command_field) + measure->length;
    if (head > UINT32_MAX) {
        PyErr_SetString(PyExc_ValueError, "the headers are longer than 4 GiB");
        return NULL;
    }
    struct command *command = command_create(kind, exchange, head);
    if (command == NULL) {
        PyErr_NoMemory();
        return NULL;
    }
    command->response.status = 0;
    command->response.more = false;
    command->response.field_count = (uint32_t)measure->count;
    command->response.head_length = (uint32_t)head;
    struct writer writer = {
        .fields = (struct command_field *)(void *)command->bytes,
        .bytes = command->bytes + measure->count * sizeof(struct command_field),
    };
    for (Py_ssize_t i = 0; pairs != NULL && i < PyTuple_GET_SIZE(pairs); i++) {
        PyObject *name = PyTuple_GET_ITEM(PyTuple_GET_ITEM(pairs, i), 0);
        PyObject *value = PyTuple_GET_ITEM(PyTuple_GET_ITEM(pairs, i), 1);
        write_field(&writer, PyBytes_AS_STRING(name), (size_t)PyBytes_GET_SIZE(name), PyBytes_AS_STRING(value),
                    (size_t)PyBytes_GET_SIZE(value));
    }
    if (subprotocol != NULL)
        write_field(&writer, subprotocol_name, SUBPROTOCOL_NAME, subprotocol, subprotocol_length);
    return command;
}

static const char *check_subprotocol(PyObject *subprotocol, size_t *length)
{
    Py_ssize_t size;
    const char *text = PyUnicode_Check(subprotocol) ? PyUnicode_AsUTF8AndSize(subprotocol, &size) : NULL;
    if (text == NULL || !is_token(text, (size_t)size)) {
        PyErr_Format(PyExc_ValueError, "subprotocol must be a str that is a token (RFC 9110), not %R", subprotocol);
        return NULL;
    }
    *length = (size_t)size;
    return text;
}

struct command *headers_command(enum command_kind kind, uint64_t exchange, PyObject *headers, PyObject *subprotocol)
{
    struct measure measure = {0};
    const char *text = NULL;
    size_t text_length = 0;
    PyObject *pairs = NULL;
    struct command *command = NULL;
    if (headers != NULL && (pairs = as_pairs(headers)) == NULL)
        return NULL;
    if (pairs != NULL && measure_fields(pairs, &measure) < 0)
        goto done;
    if (kind == COMMAND_ACCEPT && measure.subprotocol) {
        PyErr_SetString(PyExc_ValueError, "websocket.accept has sec-websocket-protocol among its headers: "
                                          "write it as the key 'subprotocol'");
        goto done;
    }
    if (subprotocol != NULL) {
        if ((text = check_subprotocol(subprotocol, &text_length)) == NULL)
            goto done;
        measure.count++;
        measure.length += SUBPROTOCOL_NAME + text_length;
    }
    command = build(kind, exchange, pairs, &measure, text, text_length);
done:
    Py_XDECREF(pairs);
    return command;
}

/* What the digits say; -1 where there are none, or other bytes, or too many for a length. */
static int64_t number_of(const char *value, size_t length)
{
    enum { MOST_DIGITS = 18 };
    int64_t number = 0;
    if (length == 0 || length > MOST_DIGITS)
        return -1;
    for (size_t i = 0; i < length; i++) {
        if (value[i] < '0' || value[i] > '9')
            return -1;
        number = number * 10 + (value[i] - '0');
    }
    return number;
}

/* The value of the first Content-Length from *index on, which moves behind it; NULL where there is none. */
static const char *next_length(const struct command *command, uint32_t *index, const char **at, size_t *length)
{
    static const char wanted[] = "content-length";
    const struct command_field *fields = (const struct command_field *)(const void *)command->bytes;
    if (*at == NULL)
        *at = (const char *)(fields + command->response.field_count);
    while (*index < command->response.field_count) {
        const struct command_field *field = &fields[(*index)++];
        const char *name = *at;
        *at = name + field->name_length + field->value_length;
        *length = field->value_length;
        if (field->name_length == sizeof wanted - 1 && strncasecmp(name, wanted, sizeof wanted - 1) == 0)
            return name + field->name_length;
    }
    return NULL;
}

int64_t headers_content_length(const struct command *command)
{
    uint32_t index = 0;
    const char *at = NULL;
    size_t length;
    const char *value = next_length(command, &index, &at, &length);
    return value != NULL ? number_of(value, length) : -1;
}

int headers_check_length(const struct command *command)
{
    uint32_t index = 0;
    const char *at = NULL, *value;
    int64_t first = -1;
    size_t length;
    while ((value = next_length(command, &index, &at, &length)) != NULL) {
        int64_t number = number_of(value, length);
        if (number >= 0 && (first < 0 || number == first)) {
            first = number;
            continue;
        }
        PyObject *text = PyBytes_FromStringAndSize(value, (Py_ssize_t)length);
        if (text != NULL && number < 0)
            PyErr_Format(PyExc_ValueError, "the value of header b'content-length' must be digits, not %R", text);
        else if (text != NULL)
            PyErr_Format(PyExc_ValueError, "there are two headers b'content-length' that differ, %lld and %R: leave out one", (long long)first,
                         text);
        Py_XDECREF(text);
        return -1;
    }
    return 0;
}

struct command *headers_join(struct command *first, struct command *other)
{
    if (first == NULL)
        return other;
    uint32_t count = first->response.field_count + other->response.field_count;
    size_t first_fields = first->response.field_count * sizeof(struct command_field);
    size_t other_fields = other->response.field_count * sizeof(struct command_field);
    size_t length = (size_t)first->response.head_length + other->response.head_length;
    struct command *joined = length <= UINT32_MAX ? command_create(first->kind, first->exchange, length) : NULL;
    if (joined == NULL) {
        PyErr_NoMemory();
    } else {
        joined->response = first->response;
        joined->response.field_count = count;
        joined->response.head_length = (uint32_t)length;
        unsigned char *at = joined->bytes;
        at = mempcpy(at, first->bytes, first_fields);
        at = mempcpy(at, other->bytes, other_fields);
        at = mempcpy(at, first->bytes + first_fields, first->response.head_length - first_fields);
        mempcpy(at, other->bytes + other_fields, other->response.head_length - other_fields);
    }
    command_destroy(first);
    command_destroy(other);
    return joined;
}

struct command *headers_add_length(struct command *head, uint64_t length)
{
    static const char name[] = "content-length";
    char value[24];
    uint32_t name_length = sizeof name - 1;
    uint32_t value_length = (uint32_t)snprintf(value, sizeof value, "%llu", (unsigned long long)length);
    uint32_t size = (uint32_t)sizeof(struct command_field) + name_length + value_length;
    struct command *field = command_create(head->kind, head->exchange, size);
    if (field == NULL) {
        PyErr_NoMemory();
        command_destroy(head);
        return NULL;
    }
    memset(&field->response, 0, sizeof field->response);
    field->response.field_count = 1;
    field->response.head_length = size;
    struct writer writer = { (struct command_field *)(void *)field->bytes, field->bytes + sizeof(struct command_field) };
    write_field(&writer, name, name_length, value, value_length);
    return headers_join(head, field);
}

PyObject *headers_not_for_trailers(const struct command *command)
{
    static const char *const forbidden[] = {
        "transfer-encoding", "content-length", "trailer", "te", "connection", "keep-alive", "proxy-connection", "upgrade", "host",
        "content-encoding", "content-type", "content-range", "cache-control", "expect", "max-forwards", "pragma", "range",
        "authorization", "proxy-authenticate", "proxy-authorization", "www-authenticate", "set-cookie", "cookie", "age", "date",
        "expires", "location", "retry-after", "vary", "warning",
    };
    const struct command_field *fields = (const struct command_field *)(const void *)command->bytes;
    const char *name = (const char *)(fields + command->response.field_count);
    for (uint32_t i = 0; i < command->response.field_count; i++) {
        for (size_t j = 0; j < sizeof forbidden / sizeof forbidden[0]; j++) {
            if (strlen(forbidden[j]) == fields[i].name_length && strncasecmp(name, forbidden[j], fields[i].name_length) == 0)
                return PyUnicode_FromStringAndSize(name, (Py_ssize_t)fields[i].name_length);
        }
        name += fields[i].name_length + fields[i].value_length;
    }
    return NULL;
}
