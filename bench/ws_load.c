/* A WebSocket client that is never the slowest part: one thread, epoll, frames made once.
 *
 * Usage: ws_load HOST PORT PATH echo   CONNECTIONS DEPTH SIZE SECONDS
 *        ws_load HOST PORT PATH fanout CONNECTIONS DEPTH SIZE SECONDS
 *        ws_load HOST PORT PATH steady CONNECTIONS RATE  SIZE SECONDS
 *        ws_load HOST PORT PATH listen CONNECTIONS COUNT SIZE SECONDS
 *        ws_load HOST PORT PATH idle   CONNECTIONS 0     0    SECONDS
 *
 * echo:   each connection keeps DEPTH text messages of SIZE bytes on the way and sends another for each that comes back.
 * fanout: connection 0 sends the time, 20 digits of ns; every other one is a subscriber, and gets that with something behind it.
 *         DEPTH publications are on the way at most: the next is sent when all subscribers have got one more. Nothing is dropped, so
 *         deliveries are comparable. Prints "ready" first; and the 50th, 99th and 99.9th percentile of the time from sending to each
 *         receipt, in us.
 * steady: connection 0 sends the time RATE times a second, whatever arrives; every other one must get each of them, filled up to
 *         SIZE bytes with "x", once and in order. What is on its way at the end has DRAIN seconds more. Prints deliveries a
 *         second, the percentiles, how many are missing and how many were wrong (not whole, or not in order).
 * listen: the same for COUNT messages that others publish, SECONDS at most. Prints "ready" first, once all are open; then, each
 *         time that this number rises, how many of the first messages all connections have.
 * idle:   prints "ready" once all are open, and waits.
 *
 * echo and fanout print messages received a second, over the seconds after all connections were open and a tenth of the time has
 * warmed up.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { INPUT = 64 * 1024, EVENTS = 256, DRAIN = 5 };

struct client {
    int fd;
    unsigned taken; /* of steady and listen: the messages that were right, and the time in the last one */
    uint64_t last;
    unsigned char *kept; /* an incomplete frame */
    size_t kept_length;
    size_t kept_capacity;
};

/* Latencies, in buckets that are 1/64 wide of their value. */
enum { SUB_BUCKETS = 64, BUCKETS = 40 * SUB_BUCKETS, STAMP = 20 };

static uint64_t histogram[BUCKETS];
static bool measuring;

static size_t expected_size; /* of steady and listen */
static uint64_t right, wrong;
static unsigned *receivers; /* of listen: for each message, the connections that have as many */
static unsigned receivers_length;

static unsigned char *frame;
static size_t frame_length;
static unsigned char input[INPUT * 2];

static _Noreturn void die(const char *what)
{
    fprintf(stderr, "ws_load: %s: %s\n", what, strerror(errno));
    exit(1);
}

static double now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

static uint64_t now_ns(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (uint64_t)time.tv_sec * 1000000000u + (uint64_t)time.tv_nsec;
}

static unsigned bucket_of(uint64_t us)
{
    if (us < SUB_BUCKETS)
        return (unsigned)us;
    unsigned shift = 63 - (unsigned)__builtin_clzll(us) - 6;
    unsigned bucket = (shift + 1) * SUB_BUCKETS + (unsigned)(us >> shift) - SUB_BUCKETS;
    return bucket < BUCKETS ? bucket : BUCKETS - 1;
}

static uint64_t value_of(unsigned bucket)
{
    if (bucket < SUB_BUCKETS)
        return bucket;
    unsigned shift = bucket / SUB_BUCKETS - 1;
    return (uint64_t)(bucket % SUB_BUCKETS + SUB_BUCKETS) << shift;
}

/* Times differ from one publication to the next, so that rising ones are in order, and none is there twice. */
static void check(struct client *client, const unsigned char *bytes, size_t size, uint64_t sent)
{
    bool whole = size == expected_size && sent > client->last;
    for (size_t i = STAMP; whole && i < size; i++)
        whole = bytes[i] == 'x';
    if (whole && client->taken < receivers_length)
        receivers[client->taken]++;
    client->taken += whole;
    client->last = sent;
    right += whole;
    wrong += !whole;
}

static void note(struct client *client, const unsigned char *bytes, size_t size, uint64_t time)
{
    uint64_t sent = 0;
    if (size < STAMP)
        return;
    for (size_t i = 0; i < STAMP; i++)
        sent = sent * 10 + (uint64_t)(bytes[i] - '0');
    histogram[bucket_of((time - sent) / 1000)]++;
    if (expected_size > 0)
        check(client, bytes, size, sent);
}

static uint64_t percentile(double part)
{
    uint64_t total = 0, seen = 0;
    for (unsigned i = 0; i < BUCKETS; i++)
        total += histogram[i];
    for (unsigned i = 0; i < BUCKETS; i++) {
        seen += histogram[i];
        if (total > 0 && (double)seen >= part * (double)total)
            return value_of(i);
    }
    return 0;
}

static void make_frame(const char *text, size_t size)
{
    static const unsigned char key[4] = { 0x12, 0x34, 0x56, 0x78 };
    frame = malloc(size + 14);
    size_t at = 0;
    frame[at++] = 0x81;
    if (size < 126) {
        frame[at++] = (unsigned char)(0x80 | size);
    } else {
        frame[at++] = 0x80 | 126;
        frame[at++] = (unsigned char)(size >> 8);
        frame[at++] = (unsigned char)size;
    }
    memcpy(frame + at, key, 4);
    at += 4;
    for (size_t i = 0; i < size; i++)
        frame[at + i] = (unsigned char)((text != NULL ? text[i] : 'x') ^ key[i % 4]);
    frame_length = at + size;
}

static void send_all(int fd, const void *bytes, size_t length)
{
    while (length > 0) {
        ssize_t sent = send(fd, bytes, length, MSG_NOSIGNAL);
        if (sent < 0)
            die("send");
        bytes = (const char *)bytes + sent;
        length -= (size_t)sent;
    }
}

static int open_client(const char *host, int port, const char *path)
{
    char text[512];
    int on = 1;
    struct sockaddr_in address = { .sin_family = AF_INET, .sin_port = htons((uint16_t)port) };
    inet_pton(AF_INET, host, &address.sin_addr);
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    if (fd < 0 || connect(fd, (struct sockaddr *)&address, sizeof address) != 0)
        die("connect");
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    int length = snprintf(text, sizeof text,
                          "GET %s HTTP/1.1\r\nHost: %s:%d\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                          "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n",
                          path, host, port);
    send_all(fd, text, (size_t)length);
    size_t got = 0;
    while (got < 4 || memcmp(text + got - 4, "\r\n\r\n", 4) != 0) {
        if (got == sizeof text || recv(fd, text + got, 1, 0) != 1)
            die("handshake");
        got++;
    }
    if (memcmp(text, "HTTP/1.1 101", 12) != 0) {
        fprintf(stderr, "ws_load: %.*s\n", (int)got, text);
        exit(1);
    }
    return fd;
}

/* Counts whole data frames in bytes; *used is where they end. */
static unsigned count_frames(struct client *client, const unsigned char *bytes, size_t length, size_t *used)
{
    unsigned frames = 0;
    uint64_t time = measuring ? now_ns() : 0;
    *used = 0;
    while (length - *used >= 2) {
        const unsigned char *at = bytes + *used;
        size_t head = 2;
        uint64_t size = at[1] & 0x7f;
        if (size == 126) {
            if (length - *used < 4)
                break;
            size = (uint64_t)at[2] << 8 | at[3];
            head = 4;
        } else if (size == 127) {
            if (length - *used < 10)
                break;
            size = 0;
            for (int i = 0; i < 8; i++)
                size = size << 8 | at[2 + i];
            head = 10;
        }
        if (length - *used < head + size)
            break;
        bool data = (at[0] & 0x0f) <= 2;
        frames += data;
        if (measuring && data)
            note(client, at + head, size, time);
        *used += head + size;
    }
    return frames;
}

static unsigned receive(struct client *client)
{
    size_t used;
    memcpy(input, client->kept, client->kept_length);
    ssize_t got = recv(client->fd, input + client->kept_length, INPUT, MSG_DONTWAIT);
    if (got < 0 && (errno == EAGAIN || errno == EINTR))
        return 0;
    if (got <= 0)
        die("the server has closed a connection");
    size_t length = client->kept_length + (size_t)got;
    unsigned frames = count_frames(client, input, length, &used);
    client->kept_length = length - used;
    if (client->kept_length > client->kept_capacity) {
        client->kept_capacity = INPUT;
        client->kept = realloc(client->kept, INPUT);
    }
    if (client->kept_length > INPUT)
        die("a frame too large");
    memcpy(client->kept, input + used, client->kept_length);
    return frames;
}

static void send_frames(int fd, unsigned count)
{
    static unsigned char block[256 * 1024];
    size_t length = 0;
    for (unsigned i = 0; i < count; i++) {
        if (length + frame_length > sizeof block) {
            send_all(fd, block, length);
            length = 0;
        }
        memcpy(block + length, frame, frame_length);
        length += frame_length;
    }
    send_all(fd, block, length);
}

static void publish(int fd, unsigned count)
{
    char stamp[STAMP + 1];
    for (unsigned i = 0; i < count; i++) {
        snprintf(stamp, sizeof stamp, "%0*llu", STAMP, (unsigned long long)now_ns());
        free(frame);
        make_frame(stamp, STAMP);
        send_all(fd, frame, frame_length);
    }
}

static void print_percentiles(void)
{
    printf(" %llu %llu %llu", (unsigned long long)percentile(0.5), (unsigned long long)percentile(0.99),
           (unsigned long long)percentile(0.999));
}

/* Receives what comes within timeout_ms how many messages that were. answer: sends as many. */
static unsigned receive_some(int poll, struct client *clients, int timeout_ms, bool answer)
{
    struct epoll_event events[EVENTS];
    unsigned received = 0;
    int ready = epoll_wait(poll, events, EVENTS, timeout_ms);
    for (int i = 0; i < ready; i++) {
        struct client *client = &clients[events[i].data.u32];
        unsigned frames = receive(client);
        received += frames;
        if (answer && frames > 0)
            send_frames(client->fd, frames);
    }
    return received;
}

/* echo and fanout: as many as get through. */
static void run_paced(int poll, struct client *clients, unsigned connections, bool fanout, unsigned depth, double seconds)
{
    if (fanout) {
        publish(clients[0].fd, depth);
    } else {
        for (unsigned i = 0; i < connections; i++)
            send_frames(clients[i].fd, depth);
    }
    uint64_t received = 0, measured = 0, published = depth;
    double begun = now(), warm = begun + seconds / 10, end = begun + seconds, from = 0;
    for (double time = begun; time < end; time = now()) {
        if (from == 0 && time >= warm) {
            from = time;
            measuring = fanout;
            measured = received;
        }
        received += receive_some(poll, clients, 100, !fanout);
        while (fanout && received >= (published - depth + 1) * (uint64_t)(connections - 1)) {
            publish(clients[0].fd, 1);
            published++;
        }
    }
    printf("%.0f", (double)(received - measured) / (now() - from));
    if (fanout)
        print_percentiles();
    printf("\n");
}

/* Prints how many of the first messages all connections have, if that is more than complete; the number. */
static unsigned print_complete(unsigned complete, unsigned connections)
{
    unsigned before = complete;
    while (complete < receivers_length && receivers[complete] == connections)
        complete++;
    if (complete > before) {
        printf("%u\n", complete);
        fflush(stdout);
    }
    return complete;
}

/* steady, rate > 0, and listen. */
static void run_checked(int poll, struct client *clients, unsigned subscribers, unsigned rate, unsigned count, double seconds)
{
    unsigned published = 0, complete = 0;
    double begun = now(), end = begun + seconds + (rate > 0 ? DRAIN : 0), last = begun;
    uint64_t wanted = (uint64_t)subscribers * count;
    measuring = true;
    while (right + wrong < wanted && now() < end) {
        double due = rate > 0 && published < count ? begun + (double)published / rate : end;
        double wait = due - now();
        if (wait <= 0 && due < end) {
            publish(clients[0].fd, 1);
            published++;
            wait = 0;
        }
        if (receive_some(poll, clients, wait > 0.1 ? 100 : wait > 0 ? 1 + (int)(wait * 1000) : 0, false) > 0)
            last = now();
        complete = print_complete(complete, subscribers);
    }
    printf("%.0f", (double)right / (last - begun));
    print_percentiles();
    printf(" %llu %llu\n", (unsigned long long)(wanted - right), (unsigned long long)wrong);
}

static void allow_many_files(void)
{
    struct rlimit files;
    getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);
}

int main(int count, char **arguments)
{
    if (count != 9) {
        fprintf(stderr, "usage: ws_load HOST PORT PATH echo|fanout|steady|listen|idle CONNECTIONS DEPTH|RATE|COUNT SIZE SECONDS\n");
        return 2;
    }
    const char *kind = arguments[4];
    bool steady = strcmp(kind, "steady") == 0, listens = strcmp(kind, "listen") == 0;
    bool fanout = strcmp(kind, "fanout") == 0;
    unsigned connections = (unsigned)atoi(arguments[5]), amount = (unsigned)atoi(arguments[6]);
    size_t size = (size_t)atoi(arguments[7]);
    double seconds = atof(arguments[8]);
    allow_many_files();
    struct client *clients = calloc(connections, sizeof *clients);
    int poll = epoll_create1(0);
    for (unsigned i = 0; i < connections; i++) {
        clients[i].fd = open_client(arguments[1], atoi(arguments[2]), arguments[3]);
        struct epoll_event event = { .events = EPOLLIN, .data.u32 = i };
        epoll_ctl(poll, EPOLL_CTL_ADD, clients[i].fd, &event);
    }
    if (fanout || steady || listens)
        sleep(1); /* the consumers join their group after they accept */
    if (listens || fanout || strcmp(kind, "idle") == 0) {
        printf("ready\n");
        fflush(stdout);
    }
    if (steady || listens) {
        expected_size = size;
        if (listens) {
            receivers = calloc(amount, sizeof *receivers);
            receivers_length = amount;
        }
        run_checked(poll, clients, connections - steady, steady ? amount : 0, steady ? (unsigned)(amount * seconds) : amount, seconds);
    } else if (strcmp(kind, "idle") == 0) {
        usleep((useconds_t)(seconds * 1e6));
    } else {
        make_frame(NULL, size);
        run_paced(poll, clients, connections, fanout, amount, seconds);
    }
    return 0;
}
