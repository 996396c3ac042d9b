#include "server/listener.h"

#include <arpa/inet.h>
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/own_sockets.h"
#include "server/admission.h"
#include "server/connection.h"
#include "server/proxy_connection.h"
#include "server/server_state.h"
#include "server/tls_store.h"

/* Connections taken at once before others have their turn, and the wait when there is no descriptor left; bytes that wait in the
 * kernel to be sent to one client. */
enum { ACCEPT_BATCH = 64, ACCEPT_PAUSE_MS = 50, MOST_UNSENT = 128 * 1024 };

union socket_address {
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
static void describe(const union socket_address *address, char *host, size_t size, uint16_t *port)
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
    union socket_address address = { 0 };
    uv_os_fd_t fd;
    socklen_t length = sizeof address;
    endpoints->family = listener->address.family;
    endpoints->trusted = endpoints->family == AF_UNIX && trust_has_local(&listener->server->trust);
    if (uv_fileno(&connection->transport.handle, &fd) != 0)
        return;
    if (getpeername(fd, &address.any, &length) == 0 && endpoints->family != AF_UNIX)
        describe(&address, endpoints->client_host, sizeof endpoints->client_host, &endpoints->client_port);
    if (endpoints->family == AF_UNIX) {
        snprintf(endpoints->server_host, sizeof endpoints->server_host, "%s", listener->address.host);
        return;
    }
    struct address client;
    endpoints->trusted = address_parse(&client, endpoints->client_host, strlen(endpoints->client_host)) == 0 &&
                         trust_has(&listener->server->trust, &client);
    length = sizeof address;
    if (getsockname(fd, &address.any, &length) == 0)
        describe(&address, endpoints->server_host, sizeof endpoints->server_host, &endpoints->server_port);
}

/* For a client that reads slowly the kernel would take up to tcp_wmem's 4 MiB, all of it older than what the outbox drops. What is
 * on its way to the client does not count. */
static void limit_unsent(int fd)
{
    int most = MOST_UNSENT;
    setsockopt(fd, IPPROTO_TCP, TCP_NOTSENT_LOWAT, &most, sizeof most); /* where it fails, the kernel takes more */
}

/* A client that has vanished, with its machine or behind data that nobody reads, is found out within some minutes. */
static void keep_alive(int fd)
{
    static const struct {
        int level, option, value;
    } settings[] = {
        { IPPROTO_TCP, TCP_KEEPIDLE, 60 },
        { IPPROTO_TCP, TCP_KEEPINTVL, 15 },
        { IPPROTO_TCP, TCP_KEEPCNT, 8 },
        { SOL_SOCKET, SO_KEEPALIVE, 1 },
    };
    for (size_t i = 0; i < sizeof settings / sizeof settings[0]; i++)
        setsockopt(fd, settings[i].level, settings[i].option, &settings[i].value, sizeof settings[i].value);
}

static int adopt(struct connection *connection, int family, int fd)
{
    struct server *server = connection->server;
    if (family == AF_UNIX) {
        uv_pipe_init(&server->loop, &connection->transport.pipe, 0);
        return uv_pipe_open(&connection->transport.pipe, fd);
    }
    uv_tcp_init(&server->loop, &connection->transport.tcp);
    int error = uv_tcp_open(&connection->transport.tcp, fd);
    if (error == 0)
        uv_tcp_nodelay(&connection->transport.tcp, 1);
    limit_unsent(fd);
    keep_alive(fd);
    return error;
}

/* Whether it was one too many, and has been told so. */
static bool is_refused(struct connection *connection, const struct listener *listener)
{
    struct server_counters *counters = &connection->server->counters;
    if (!admission_has_room(connection->server)) {
        count(&counters->connections_refused_total, 1);
    } else if (connection->state != CONNECTION_PROXY && !admission_count(connection)) {
        count(&counters->addresses_refused_total, 1);
    } else {
        return false;
    }
    admission_refuse(connection, listener->tls == NULL);
    return true;
}

static void welcome(struct listener *listener, int fd)
{
    struct connection *connection = connection_create(listener->server);
    int error = adopt(connection, listener->address.family, fd);
    if (error == 0)
        fill_endpoints(connection, listener);
    connection_begin(connection);
    if (error != 0) {
        own_sockets_close(fd);
        count(&listener->server->counters.accept_errors_total, 1);
        connection_close(connection, NULL);
    } else if (connection->state == CONNECTION_CLOSED || is_refused(connection, listener)) {
        return; /* CLOSED: reading could not be started */
    } else if (connection->state == CONNECTION_PROXY) {
        proxy_connection_begin(connection, listener->tls);
    } else {
        connection_start_tls(connection, listener->tls);
    }
}

static bool is_full(const struct server *server)
{
    unsigned limit = server->settings.max_connections;
    return limit != 0 && atomic_load_explicit(&server->counters.connections, memory_order_relaxed) >= limit;
}

static void on_connection(uv_poll_t *poll, int status, int events);

static void set_waiting(struct listener *listener, bool waiting)
{
    if (waiting == listener->waiting || uv_is_closing((uv_handle_t *)&listener->poll))
        return;
    listener->waiting = waiting;
    if (waiting)
        uv_poll_stop(&listener->poll);
    else
        uv_poll_start(&listener->poll, UV_READABLE, on_connection);
}

void listener_accept(struct listener *listener)
{
    if (!uv_is_active((uv_handle_t *)&listener->pause) && !is_full(listener->server))
        set_waiting(listener, false);
}

static void on_pause_over(uv_timer_t *pause);

static void wait_a_little(struct listener *listener)
{
    set_waiting(listener, true);
    uv_timer_start(&listener->pause, on_pause_over, ACCEPT_PAUSE_MS, 0);
}

/* accept() has failed for want of something: connections wait in the backlog, and nobody spins. The crew need not wait for this
 * process meanwhile. */
static void pause_accepting(struct listener *listener, int cause)
{
    struct server *server = listener->server;
    count(&server->counters.accept_errors_total, 1);
    if (cause == EMFILE || cause == ENFILE || cause == ENOBUFS || cause == ENOMEM) {
        count(&server->counters.descriptors_exhausted_total, 1);
        server->exhausted = true;
        crew_tell(&server->crew, CREW_AWAY);
    }
    wait_a_little(listener);
}

static void recover(struct server *server)
{
    if (!server->exhausted)
        return;
    server->exhausted = false;
    server_count_connection(server, 0);
}

/* Whether another process of the same socket is to go first; then this one looks again a little later. */
static bool let_others_go_first(struct listener *listener)
{
    unsigned wait = crew_wait_ms(&listener->server->crew, clock_ns());
    if (wait == 0)
        return false;
    set_waiting(listener, true);
    uv_timer_start(&listener->pause, on_pause_over, wait, 0);
    return true;
}

static bool has_handshake(const struct listener *listener)
{
    return listener->tls != NULL || listener->server->settings.proxy_protocol;
}

/* As accept4(). */
static int take_next(const struct listener *listener)
{
    own_sockets_lock();
    int fd = accept4(listener->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    int error = errno;
    own_sockets_add(fd);
    own_sockets_unlock();
    errno = error;
    return fd;
}

/* has_waited: others have had their time, and whoever is there now is taken. */
static void take_waiting(struct listener *listener, bool has_waited)
{
    for (int i = 0; i < ACCEPT_BATCH && !is_full(listener->server); i++) {
        if ((i > 0 || !has_waited) && let_others_go_first(listener))
            return;
        if (has_handshake(listener) && !admission_handshake_fits(listener->server)) {
            wait_a_little(listener);
            return;
        }
        int fd = take_next(listener);
        if (fd >= 0) {
            recover(listener->server);
            welcome(listener, fd);
        } else if (errno == EAGAIN || errno == EWOULDBLOCK) {
            break;
        } else if (errno != EINTR && errno != ECONNABORTED) {
            pause_accepting(listener, errno);
            return;
        }
    }
    set_waiting(listener, is_full(listener->server));
}

static void on_connection(uv_poll_t *poll, int status, int events)
{
    (void)status;
    (void)events;
    take_waiting(poll->data, false);
}

/* Others of the crew may have taken those for whom there was no descriptor: whether there is one again is seen by asking for it. */
static bool is_still_exhausted(const struct listener *listener)
{
    if (!listener->server->exhausted)
        return false;
    int fd = fcntl(listener->fd, F_DUPFD_CLOEXEC, 0);
    if (fd < 0)
        return true;
    close(fd);
    recover(listener->server);
    return false;
}

static void on_pause_over(uv_timer_t *pause)
{
    struct listener *listener = pause->data;
    if (is_still_exhausted(listener)) {
        wait_a_little(listener);
        return;
    }
    listener_accept(listener);
    if (!listener->waiting)
        take_waiting(listener, true);
}

/* The file at the path is the socket that we made there. */
static bool is_ours(const struct listener *listener)
{
    struct stat status;
    return lstat(listener->unlink_path, &status) == 0 && status.st_dev == listener->device &&
           status.st_ino == listener->inode;
}

static void remember_file(struct listener *listener, char *path)
{
    struct stat status;
    listener->unlink_path = path;
    if (path != NULL && lstat(path, &status) == 0) {
        listener->device = status.st_dev;
        listener->inode = status.st_ino;
    }
}

/* Makes a listener of a bound socket, which it takes over. */
static int take_socket(struct server *server, int fd, char *unlink_path, struct tls_store *tls, char *error, size_t size)
{
    union socket_address address = { 0 };
    socklen_t length = sizeof address;
    struct listener *listener = mem_zalloc(sizeof *listener);
    listener->server = server;
    listener->fd = fd;
    remember_file(listener, unlink_path);
    getsockname(fd, &address.any, &length);
    listener->address.family = address.any.sa_family;
    describe(&address, listener->address.host, sizeof listener->address.host, &listener->address.port);
    int result = listen(fd, server->settings.backlog > 0 ? server->settings.backlog : SOMAXCONN) != 0 ? uv_translate_sys_error(errno) : 0;
    if (result == 0)
        result = uv_poll_init(&server->loop, &listener->poll, fd); /* makes it non-blocking */
    if (result != 0) {
        complain(error, size, "cannot listen on %s: %s", listener->address.host, uv_strerror(result));
        if (unlink_path != NULL && is_ours(listener))
            unlink(unlink_path);
        close(fd);
        mem_free(unlink_path);
        mem_free(listener);
        return SERVER_ADDRESS;
    }
    own_sockets_lock();
    own_sockets_add(fd);
    own_sockets_unlock();
    listener->tls = tls_store_retain(tls);
    uv_timer_init(&server->loop, &listener->pause);
    listener->poll.data = listener->pause.data = listener;
    list_append(&server->listeners, &listener->of_server);
    uv_poll_start(&listener->poll, UV_READABLE, on_connection);
    return SERVER_OK;
}

static int bind_tcp(const struct addrinfo *info, uint16_t port)
{
    int on = 1;
    union socket_address address = { 0 };
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
        result = take_socket(server, fd, NULL, spec->tls, error, size);
        if (result == SERVER_OK && ++opened == 1)
            port = list_entry(server->listeners.prev, struct listener, of_server)->address.port;
    }
    freeaddrinfo(all);
    if (result == SERVER_OK && (opened == 0 || cause == EADDRINUSE || cause == EACCES))
        return complain(error, size, "cannot listen on %s port %u: %s", shown, (unsigned)spec->port, strerror(cause));
    return result;
}

/* Takes a socket that nobody listens on out of the way. 0, or an errno. */
static int remove_stale(const union socket_address *address)
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
    union socket_address address = { .local = { .sun_family = AF_UNIX } };
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
    return take_socket(server, fd, path, spec->tls, error, size);
}

static int open_fd(struct server *server, const struct listen_spec *spec, char *error, size_t size)
{
    int type = 0;
    socklen_t length = sizeof type;
    if (getsockopt(spec->fd, SOL_SOCKET, SO_TYPE, &type, &length) != 0)
        return complain(error, size, "cannot listen on file descriptor %d: %s", spec->fd, strerror(errno));
    if (type != SOCK_STREAM)
        return complain(error, size, "cannot listen on file descriptor %d: not a stream socket", spec->fd);
    return take_socket(server, spec->fd, NULL, spec->tls, error, size);
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
    if (uv_is_closing((uv_handle_t *)&listener->poll))
        return;
    uv_close((uv_handle_t *)&listener->poll, NULL);
    uv_close((uv_handle_t *)&listener->pause, NULL);
    own_sockets_close(listener->fd);
    if (listener->unlink_path != NULL && is_ours(listener))
        unlink(listener->unlink_path);
}

void listeners_destroy(struct server *server)
{
    while (!list_empty(&server->listeners)) {
        struct listener *listener = list_entry(server->listeners.next, struct listener, of_server);
        list_remove(&listener->of_server);
        tls_store_release(listener->tls);
        mem_free(listener->unlink_path);
        mem_free(listener);
    }
}
