#include "server/listener.h"

#include <arpa/inet.h>
#include <assert.h>
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/alloc.h"
#include "server/connection.h"
#include "server/server_state.h"

union address {
    struct sockaddr any;
    struct sockaddr_in v4;
    struct sockaddr_in6 v6;
    struct sockaddr_un local;
    struct sockaddr_storage storage;
};

__attribute__((format(printf, 3, 4))) static int complain(char *error, size_t size, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(error, size, format, arguments);
    va_end(arguments);
    return SERVER_ADDRESS;
}

/* Text and port of an address; a Unix client mostly has no path. */
static void describe(const union address *address, char *host, size_t size, uint16_t *port)
{
    host[0] = '\0';
    *port = 0;
    if (address->any.sa_family == AF_INET) {
        inet_ntop(AF_INET, &address->v4.sin_addr, host, (socklen_t)size);
        *port = ntohs(address->v4.sin_port);
    } else if (address->any.sa_family == AF_INET6) {
        inet_ntop(AF_INET6, &address->v6.sin6_addr, host, (socklen_t)size);
        *port = ntohs(address->v6.sin6_port);
    } else if (address->any.sa_family == AF_UNIX) {
        size_t length = strnlen(address->local.sun_path, sizeof address->local.sun_path);
        length = length < size ? length : size - 1;
        memcpy(host, address->local.sun_path, length);
        host[length] = '\0';
    }
}

static void fill_endpoints(struct connection *connection, const struct listener *listener)
{
    struct endpoints *endpoints = &connection->endpoints;
    union address address = { 0 };
    uv_os_fd_t fd;
    socklen_t length = sizeof address;
    endpoints->family = listener->address.family;
    if (uv_fileno(&connection->transport.handle, &fd) != 0)
        return;
    if (getpeername(fd, &address.any, &length) == 0 && endpoints->family != AF_UNIX)
        describe(&address, endpoints->client_host, sizeof endpoints->client_host, &endpoints->client_port);
    if (endpoints->family == AF_UNIX) {
        snprintf(endpoints->server_host, sizeof endpoints->server_host, "%s", listener->address.host);
        return;
    }
    length = sizeof address;
    if (getsockname(fd, &address.any, &length) == 0)
        describe(&address, endpoints->server_host, sizeof endpoints->server_host, &endpoints->server_port);
}

static bool accept_one(struct listener *listener)
{
    struct server *server = listener->server;
    struct connection *connection = connection_create(server);
    if (listener->address.family == AF_UNIX)
        uv_pipe_init(&server->loop, &connection->transport.pipe, 0);
    else
        uv_tcp_init(&server->loop, &connection->transport.tcp);
    int error = uv_accept(&listener->stream, &connection->transport.stream);
    if (error == 0) {
        fill_endpoints(connection, listener);
        if (listener->address.family != AF_UNIX)
            uv_tcp_nodelay(&connection->transport.tcp, 1);
    }
    connection_begin(connection);
    if (error != 0) {
        count(&server->counters.accept_errors_total, 1);
        connection_close(connection, NULL);
    }
    return error == 0;
}

void listener_accept(struct listener *listener)
{
    struct server *server = listener->server;
    unsigned limit = server->settings.max_connections;
    if (!listener->waiting || uv_is_closing(&listener->handle))
        return;
    if (limit != 0 && atomic_load(&server->counters.connections) >= limit)
        return;
    listener->waiting = false;
    accept_one(listener);
}

static void on_connection(uv_stream_t *stream, int status)
{
    struct listener *listener = stream->data;
    if (status != 0) {
        count(&listener->server->counters.accept_errors_total, 1);
        return;
    }
    listener->waiting = true;
    listener_accept(listener);
}

/* Makes a listener of a bound socket, which it takes over. */
static int take_socket(struct server *server, int fd, char *unlink_path, char *error, size_t size)
{
    union address address = { 0 };
    socklen_t length = sizeof address;
    struct listener *listener = mem_zalloc(sizeof *listener);
    listener->server = server;
    listener->unlink_path = unlink_path;
    list_append(&server->listeners, &listener->of_server);
    getsockname(fd, &address.any, &length);
    listener->address.family = address.any.sa_family;
    describe(&address, listener->address.host, sizeof listener->address.host, &listener->address.port);
    int result;
    if (address.any.sa_family == AF_UNIX) {
        uv_pipe_init(&server->loop, &listener->pipe, 0);
        result = uv_pipe_open(&listener->pipe, fd);
    } else {
        uv_tcp_init(&server->loop, &listener->tcp);
        result = uv_tcp_open(&listener->tcp, fd);
    }
    listener->handle.data = listener;
    if (result != 0)
        close(fd);
    else
        result = uv_listen(&listener->stream, server->settings.backlog, on_connection);
    if (result == 0)
        return SERVER_OK;
    complain(error, size, "cannot listen on %s: %s", listener->address.host, uv_strerror(result));
    listener_close(listener);
    listener->address.family = AF_UNSPEC;
    return SERVER_ADDRESS;
}

static int bind_tcp(const struct addrinfo *info, uint16_t port)
{
    int on = 1;
    union address address = { 0 };
    memcpy(&address, info->ai_addr, info->ai_addrlen);
    int fd = socket(info->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return -1;
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (info->ai_family == AF_INET6) {
        setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof on);
        address.v6.sin6_port = htons(port);
    } else {
        address.v4.sin_port = htons(port);
    }
    /* listen() tells of a port in use where bind(), with SO_REUSEADDR, may not. */
    if (bind(fd, &address.any, info->ai_addrlen) == 0 && listen(fd, SOMAXCONN) == 0)
        return fd;
    int cause = errno;
    close(fd);
    errno = cause;
    return -1;
}

static int open_tcp(struct server *server, const struct listen_spec *spec, char *error, size_t size)
{
    struct addrinfo hints = { .ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE };
    struct addrinfo *all;
    const char *shown = spec->host[0] != '\0' ? spec->host : "*";
    int result = getaddrinfo(spec->host[0] != '\0' ? spec->host : NULL, "0", &hints, &all);
    if (result != 0)
        return complain(error, size, "cannot listen on %s port %u: %s", shown, (unsigned)spec->port, gai_strerror(result));
    unsigned opened = 0;
    int cause = 0;
    uint16_t port = spec->port;
    result = SERVER_OK;
    for (struct addrinfo *info = all; info != NULL && result == SERVER_OK; info = info->ai_next) {
        int fd = bind_tcp(info, port);
        if (fd < 0) {
            cause = errno;
            if (cause == EADDRINUSE || cause == EACCES)
                break; /* not half of what was asked for */
            continue;
        }
        result = take_socket(server, fd, NULL, error, size);
        if (result == SERVER_OK && ++opened == 1)
            port = list_entry(server->listeners.prev, struct listener, of_server)->address.port;
    }
    freeaddrinfo(all);
    if (result == SERVER_OK && (opened == 0 || cause == EADDRINUSE || cause == EACCES))
        return complain(error, size, "cannot listen on %s port %u: %s", shown, (unsigned)spec->port, strerror(cause));
    return result;
}

/* Takes a socket that nobody listens on out of the way. 0, or an errno. */
static int remove_stale(const union address *address)
{
    struct stat status;
    if (lstat(address->local.sun_path, &status) != 0)
        return errno == ENOENT ? 0 : errno;
    if (!S_ISSOCK(status.st_mode))
        return EEXIST;
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return errno;
    int cause = connect(fd, &address->any, sizeof address->local) == 0 ? EADDRINUSE : errno;
    close(fd);
    if (cause != ECONNREFUSED)
        return cause;
    return unlink(address->local.sun_path) == 0 ? 0 : errno;
}

static int open_unix(struct server *server, const struct listen_spec *spec, char *error, size_t size)
{
    union address address = { .local = { .sun_family = AF_UNIX } };
    if (strlen(spec->path) >= sizeof address.local.sun_path)
        return complain(error, size, "cannot listen on %s: a Unix socket's path has at most %zu bytes", spec->path,
                        sizeof address.local.sun_path - 1);
    memcpy(address.local.sun_path, spec->path, strlen(spec->path) + 1);
    int cause = remove_stale(&address);
    if (cause != 0)
        return complain(error, size, "cannot listen on %s: %s", spec->path,
                        cause == EEXIST ? "there is a file that is not a socket" : strerror(cause));
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0 || bind(fd, &address.any, sizeof address.local) != 0 ||
        (spec->mode >= 0 && chmod(spec->path, (mode_t)spec->mode) != 0)) {
        cause = errno;
        if (fd >= 0)
            close(fd);
        return complain(error, size, "cannot listen on %s: %s", spec->path, strerror(cause));
    }
    char *path = mem_alloc(strlen(spec->path) + 1);
    memcpy(path, spec->path, strlen(spec->path) + 1);
    return take_socket(server, fd, path, error, size);
}

static int open_fd(struct server *server, const struct listen_spec *spec, char *error, size_t size)
{
    int type = 0;
    socklen_t length = sizeof type;
    if (getsockopt(spec->fd, SOL_SOCKET, SO_TYPE, &type, &length) != 0)
        return complain(error, size, "cannot listen on file descriptor %d: %s", spec->fd, strerror(errno));
    if (type != SOCK_STREAM)
        return complain(error, size, "cannot listen on file descriptor %d: not a stream socket", spec->fd);
    return take_socket(server, spec->fd, NULL, error, size);
}

int listener_open(struct server *server, const struct listen_spec *spec, char *error, size_t size)
{
    switch (spec->kind) {
    case LISTEN_TCP:
        return open_tcp(server, spec, error, size);
    case LISTEN_UNIX:
        return open_unix(server, spec, error, size);
    case LISTEN_FD:
        return open_fd(server, spec, error, size);
    }
    return complain(error, size, "unknown kind of listener");
}

void listener_close(struct listener *listener)
{
    if (uv_is_closing(&listener->handle))
        return;
    uv_close(&listener->handle, NULL);
    if (listener->unlink_path != NULL)
        unlink(listener->unlink_path);
}

void listeners_destroy(struct server *server)
{
    while (!list_empty(&server->listeners)) {
        struct listener *listener = list_entry(server->listeners.next, struct listener, of_server);
        list_remove(&listener->of_server);
        mem_free(listener->unlink_path);
        mem_free(listener);
    }
}
