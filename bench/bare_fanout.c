/* The limit of a fan-out: one thread that writes the same frame to every socket in a loop. No WebSocket but what ws_load's fanout needs.
 *
 * Usage: bare_fanout PORT SIZE
 *
 * Every text message from a client is sent on to all the others, filled up with "x" to SIZE bytes.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

enum { MOST = 65536, EVENTS = 256, STAMP = 20 };

static int clients[MOST]; /* by number; fd */
static int number_of[MOST]; /* by fd */
static char greeted[MOST];
static int count;

static _Noreturn void die(const char *what)
{
    fprintf(stderr, "bare_fanout: %s: %s\n", what, strerror(errno));
    exit(1);
}

static void leave(int fd)
{
    int last = clients[--count];
    clients[number_of[fd]] = last;
    number_of[last] = number_of[fd];
    greeted[fd] = 0;
    close(fd);
}

static void write_all(int fd, const unsigned char *bytes, size_t length)
{
    while (length > 0) {
        ssize_t written = send(fd, bytes, length, MSG_NOSIGNAL);
        if (written <= 0)
            return; /* reading says so */
        bytes += written;
        length -= (size_t)written;
    }
}

static void broadcast(int from, const unsigned char *stamp, size_t size)
{
    static unsigned char frame[4 + 65535];
    size_t head = size < 126 ? 2 : 4;
    frame[0] = 0x81;
    frame[1] = size < 126 ? (unsigned char)size : 126;
    if (head == 4) {
        frame[2] = (unsigned char)(size >> 8);
        frame[3] = (unsigned char)size;
    }
    memset(frame + head, 'x', size);
    memcpy(frame + head, stamp, STAMP);
    for (int i = 0; i < count; i++)
        if (clients[i] != from && greeted[clients[i]])
            write_all(clients[i], frame, head + size);
}

/* Frames of STAMP masked bytes, which come whole: the client sends no others. */
static void take(int fd, unsigned char *bytes, size_t length, size_t size)
{
    for (; length >= 6 + STAMP; bytes += 6 + STAMP, length -= 6 + STAMP) {
        for (size_t i = 0; i < STAMP; i++)
            bytes[6 + i] ^= bytes[2 + i % 4];
        broadcast(fd, bytes + 6, size);
    }
}

static void on_readable(int fd, size_t size)
{
    static const char answer[] = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n";
    unsigned char bytes[65536];
    ssize_t got = recv(fd, bytes, sizeof bytes, 0);
    if (got <= 0) {
        leave(fd);
    } else if (!greeted[fd]) {
        greeted[fd] = 1;
        write_all(fd, (const unsigned char *)answer, sizeof answer - 1);
    } else {
        take(fd, bytes, (size_t)got, size);
    }
}

static void accept_one(int listener, int poll)
{
    int on = 1;
    int fd = accept(listener, NULL, NULL);
    if (fd < 0 || fd >= MOST)
        die("accept");
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    number_of[fd] = count;
    clients[count++] = fd;
    struct epoll_event event = { .events = EPOLLIN, .data.fd = fd };
    epoll_ctl(poll, EPOLL_CTL_ADD, fd, &event);
}

int main(int argument_count, char **arguments)
{
    if (argument_count != 3 || atoi(arguments[2]) < STAMP || atoi(arguments[2]) > 65535) {
        fprintf(stderr, "usage: bare_fanout PORT SIZE (from %d bytes on)\n", STAMP);
        return 2;
    }
    struct rlimit files;
    getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);
    int on = 1;
    struct sockaddr_in address = { .sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(arguments[1])) };
    inet_pton(AF_INET, "127.0.0.1", &address.sin_addr);
    int listener = socket(AF_INET, SOCK_STREAM, 0);
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (bind(listener, (struct sockaddr *)&address, sizeof address) != 0 || listen(listener, 4096) != 0)
        die("listen");
    int poll = epoll_create1(0);
    struct epoll_event event = { .events = EPOLLIN, .data.fd = listener };
    epoll_ctl(poll, EPOLL_CTL_ADD, listener, &event);
    for (;;) {
        struct epoll_event events[EVENTS];
        int ready = epoll_wait(poll, events, EVENTS, -1);
        for (int i = 0; i < ready; i++) {
            if (events[i].data.fd == listener)
                accept_one(listener, poll);
            else
                on_readable(events[i].data.fd, (size_t)atoi(arguments[2]));
        }
    }
}
