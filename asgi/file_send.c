#include "asgi/file_send.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "asgi/headers.h"
#include "asgi/http.h"
#include "asgi/message.h"

/* What is to be sent of a file that has been opened. */
struct part {
    int fd; /* the part's own */
    uint64_t offset, length;
};

static void close_part(struct part *part)
{
    if (part->fd >= 0)
        close(part->fd);
    part->fd = -1;
}

/* The size of the regular file that fd is; -1 with an exception that names what. */
static int64_t measure(int fd, PyObject *what)
{
    struct stat status;
    if (fstat(fd, &status) != 0) {
        PyErr_SetFromErrnoWithFilenameObject(PyExc_OSError, what);
        return -1;
    }
    if (S_ISREG(status.st_mode))
        return status.st_size;
    if (S_ISDIR(status.st_mode)) {
        errno = EISDIR;
        PyErr_SetFromErrnoWithFilenameObject(PyExc_OSError, what);
    } else {
        PyErr_Format(PyExc_ValueError, "%R is not a regular file: read it, and send http.response.body", what);
    }
    return -1;
}

/* The head says how long the body is, where the application has not, and part is the whole body. */
static int complete_head(struct pyconnection *connection, uint64_t length)
{
    struct command *head = connection->head;
    if (head == NULL || connection->trailers_go_out || head->response.status == 304 || headers_content_length(head) >= 0)
        return 0;
    connection->head = headers_add_length(head, length);
    return connection->head == NULL ? -1 : 0;
}

/* Sends part, which it takes, called name; the state has been checked. */
static int send_part(struct pyconnection *connection, struct part *part, PyObject *name, bool more)
{
    if (!more && complete_head(connection, part->length) < 0) {
        close_part(part);
        return -1;
    }
    uint16_t status = connection->status;
    bool dropped = connection->head_only || status == 204 || status == 205 || status == 304;
    if (part->length == 0 || dropped) {
        close_part(part);
        Py_buffer nothing = { .buf = (void *)"" };
        return http_send_bytes(connection, &nothing, more);
    }
    struct command *command = command_create(COMMAND_FILE, connection->exchange, 0);
    if (command == NULL) {
        close_part(part);
        PyErr_NoMemory();
        return -1;
    }
    command->file.fd = part->fd;
    part->fd = -1;
    command->file.more = more;
    command->file.offset = part->offset;
    command->file.length = part->length;
    Py_XSETREF(connection->file, Py_NewRef(name));
    http_count_body(connection, part->length, more);
    http_send_head(connection);
    pyconnection_command(connection, command, true);
    return http_body_sent(connection, more);
}

/* O_NONBLOCK: whoever opens a FIFO waits for its other end. */
static int open_path(PyObject *path)
{
    PyObject *bytes;
    int fd;
    if (!PyUnicode_FSConverter(path, &bytes))
        return -1;
    Py_BEGIN_ALLOW_THREADS
    do
        fd = open(PyBytes_AS_STRING(bytes), O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    while (fd < 0 && errno == EINTR);
    Py_END_ALLOW_THREADS
    if (fd < 0)
        PyErr_SetFromErrnoWithFilenameObject(PyExc_OSError, path);
    Py_DECREF(bytes);
    return fd;
}

/* The specification wants an absolute path, but Starlette sends what its user wrote: as open() does, so do we. */
static int check_path(PyObject *message, PyObject *path)
{
    if (path == NULL || !PyUnicode_Check(path)) {
        PyErr_Format(PyExc_ValueError, "http.response.pathsend needs the key 'path' with a str; it was %R", message);
        return -1;
    }
    return 0;
}

/* path is a str, and nothing more. Others run while it is opened. */
static int send_path(struct pyconnection *connection, PyObject *path)
{
    enum pyconnection_state state = connection->state;
    struct part part = { .fd = open_path(path) };
    int64_t size = part.fd < 0 ? -1 : measure(part.fd, path);
    if (size >= 0 && connection->promised > size) {
        PyErr_Format(PyExc_ValueError, "%R has %lld bytes, but the response's Content-Length says %lld", path, (long long)size,
                     (long long)connection->promised);
        size = -1;
    }
    if (size < 0 || pyconnection_check_state(connection, state) < 0) {
        close_part(&part);
        return -1;
    }
    /* What has been written to the file since the application looked is not of this response. */
    part.length = (uint64_t)(connection->promised >= 0 ? connection->promised : size);
    return send_part(connection, &part, path, false);
}

int file_send_path(struct pyconnection *connection, PyObject *message)
{
    enum pyconnection_state state = connection->state;
    PyObject *path;
    if (message_get(message, connection->server->state->strings.path, &path) < 0)
        return -1;
    PyObject *name = check_path(message, path) < 0 ? NULL : PyUnicode_FromObject(path);
    Py_XDECREF(path);
    int result = name == NULL ? -1 : pyconnection_check_state(connection, state);
    if (result == 0)
        result = send_path(connection, name);
    Py_XDECREF(name);
    return result;
}

/* message[key], a number of bytes; -1 where there is none. -1 with an exception. */
static int64_t get_bytes(PyObject *message, PyObject *key)
{
    PyObject *object;
    if (message_get(message, key, &object) < 0 || object == NULL)
        return -1;
    long long value = PyLong_Check(object) ? PyLong_AsLongLong(object) : -1;
    if (value < 0 || PyErr_Occurred()) {
        PyErr_Clear();
        PyErr_Format(PyExc_ValueError, "%R of http.response.zerocopysend must be a number of bytes, not %R", key, object);
        value = -1;
    }
    Py_DECREF(object);
    return value;
}

/* Where file stands: as it says itself, as it may have read ahead. -1 with an exception. */
static int64_t position(const struct strings *s, PyObject *file, int fd)
{
    if (PyLong_Check(file)) {
        off_t at = lseek(fd, 0, SEEK_CUR);
        if (at < 0)
            PyErr_SetFromErrnoWithFilenameObject(PyExc_OSError, file);
        return at;
    }
    PyObject *told = PyObject_CallMethodNoArgs(file, s->tell);
    long long at = told == NULL ? -1 : PyLong_AsLongLong(told);
    Py_XDECREF(told);
    if (at < 0 && !PyErr_Occurred())
        PyErr_Format(PyExc_ValueError, "tell() of %R says %lld", file, at);
    return at;
}

/* The next one without an offset begins where this one ends. */
static int move(const struct strings *s, PyObject *file, int fd, uint64_t to)
{
    if (PyLong_Check(file)) {
        if (lseek(fd, (off_t)to, SEEK_SET) >= 0)
            return 0;
        PyErr_SetFromErrnoWithFilenameObject(PyExc_OSError, file);
        return -1;
    }
    PyObject *place = PyLong_FromUnsignedLongLong(to);
    PyObject *moved = place == NULL ? NULL : PyObject_CallMethodOneArg(file, s->seek, place);
    Py_XDECREF(place);
    Py_XDECREF(moved);
    return moved == NULL ? -1 : 0;
}

/* A descriptor of our own for file, and what message wants of it. May run the application's code. */
static int open_part(const struct strings *s, PyObject *message, PyObject *file, struct part *part)
{
    int64_t offset = get_bytes(message, s->offset);
    int64_t count = PyErr_Occurred() ? -1 : get_bytes(message, s->count);
    int theirs = PyErr_Occurred() ? -1 : PyObject_AsFileDescriptor(file);
    if (PyErr_Occurred())
        return -1;
    part->fd = fcntl(theirs, F_DUPFD_CLOEXEC, 0);
    if (part->fd < 0) {
        PyErr_SetFromErrnoWithFilenameObject(PyExc_OSError, file);
        return -1;
    }
    int64_t size = measure(part->fd, file);
    if (size < 0)
        return -1;
    if ((fcntl(part->fd, F_GETFL) & O_ACCMODE) == O_WRONLY) {
        PyErr_Format(PyExc_ValueError, "%R is not open for reading", file);
        return -1;
    }
    int64_t from = offset >= 0 ? offset : position(s, file, part->fd);
    if (from < 0)
        return -1;
    int64_t there = from < size ? size - from : 0;
    part->offset = (uint64_t)from;
    part->length = (uint64_t)(count >= 0 && count < there ? count : there);
    return offset >= 0 ? 0 : move(s, file, part->fd, part->offset + part->length);
}

/* repr() of file, a str and nothing more. */
static PyObject *name_of(PyObject *file)
{
    PyObject *text = PyObject_Repr(file);
    PyObject *name = text == NULL ? NULL : PyUnicode_FromObject(text);
    Py_XDECREF(text);
    return name;
}

int file_send_descriptor(struct pyconnection *connection, PyObject *message)
{
    const struct strings *s = &connection->server->state->strings;
    PyObject *file;
    bool more;
    struct part part = { .fd = -1 };
    enum pyconnection_state state = connection->state;
    if (message_flag(message, s->more_body, &more) < 0 || message_get(message, s->file, &file) < 0)
        return -1;
    if (file == NULL) {
        PyErr_Format(PyExc_ValueError, "http.response.zerocopysend needs the key 'file'; it was %R", message);
        return -1;
    }
    int result = -1;
    PyObject *name = name_of(file);
    if (name != NULL && open_part(s, message, file, &part) == 0 && pyconnection_check_state(connection, state) == 0)
        result = send_part(connection, &part, name, more);
    close_part(&part);
    Py_XDECREF(name);
    Py_DECREF(file);
    return result;
}
