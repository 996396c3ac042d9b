/* A server that speaks TLS, over loopback. */
#include "tests/unit/server_fixture.h"

#include <signal.h>

#include "base/alloc.h"
#include "server/tls_store.h"
#include "tests/unit/tls_fixture.h"

#define ASK "GET /hello HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
#define BAD "GET /hello HTTP/1.1\r\nConnection: close\r\n\r\n" /* the server answers it itself */
#define KEEP_ALIVE "GET /hello HTTP/1.1\r\nHost: x\r\n\r\n"
#define PROXY "PROXY TCP4 192.0.2.1 192.0.2.2 1234 443\r\n"
#define FIRST_OF_HELLO "\x16\x03\x01\x02" /* the first bytes of a client's handshake */

static struct files files;
static SSL_CTX *client_side;

struct client {
    int fd;
    SSL *ssl;
};

/* The listener and its connections have the only references to the certificates. */
static struct fixture *tls_listen(const struct server_settings *settings, struct listen_spec spec)
{
    struct fixture *f = fixture_create(settings);
    struct tls_store *store = tls_store_create(context_make(&files, (struct tls_spec){ 0 }));
    char error[256] = "";
    spec.tls = store;
    assert_int_equal(server_listen(f->server, &spec, error, sizeof error), SERVER_OK);
    tls_store_release(store);
    fixture_run(f);
    return f;
}

static struct fixture *tls_start(const struct server_settings *settings)
{
    return tls_listen(settings, (struct listen_spec){ .kind = LISTEN_TCP, .host = "127.0.0.1" });
}

/* Whose sockets take little at a time. */
static struct fixture *tls_start_narrow(const struct server_settings *settings)
{
    struct sockaddr_in address = { .sin_family = AF_INET, .sin_addr = { htonl(INADDR_LOOPBACK) } };
    int little = 8192;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &little, sizeof little), 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof address), 0);
    return tls_listen(settings, (struct listen_spec){ .kind = LISTEN_FD, .fd = fd });
}

static struct client secure(int fd)
{
    struct client client = { .fd = fd, .ssl = SSL_new(client_side) };
    SSL_set_fd(client.ssl, client.fd);
    assert_int_equal(SSL_connect(client.ssl), 1);
    return client;
}

static struct client greet(struct fixture *f)
{
    return secure(dial(f));
}

static void leave(struct client *client)
{
    SSL_free(client->ssl);
    close(client->fd);
}

static void tell(struct client *client, const char *text)
{
    assert_int_equal(SSL_write(client->ssl, text, (int)strlen(text)), (int)strlen(text));
}

/* Reads to the end: how much. *clean: the server has said goodbye, and not only closed. */
static size_t listen_all(struct client *client, char *text, size_t size, bool *clean)
{
    char bytes[16384];
    size_t length = 0, got;
    while (SSL_read_ex(client->ssl, bytes, sizeof bytes, &got) == 1) {
        for (size_t i = 0; i < got; i++)
            if (length + i + 1 < size)
                text[length + i] = bytes[i];
        length += got;
    }
    *clean = (SSL_get_shutdown(client->ssl) & SSL_RECEIVED_SHUTDOWN) != 0;
    ERR_clear_error();
    if (size > 0)
        text[length < size ? length : size - 1] = '\0';
    return length;
}

static void listen_until(struct client *client, char *text, size_t size, const char *needle)
{
    size_t length = 0;
    while (length + 1 < size) {
        assert_int_equal(SSL_read(client->ssl, text + length, 1), 1);
        text[++length] = '\0';
        if (length >= strlen(needle) && strcmp(text + length - strlen(needle), needle) == 0)
            return;
    }
    fail();
}

static void requests_are_answered(void **state)
{
    struct server_settings settings = test_settings();
    struct fixture *f = tls_start(&settings);
    struct client client = greet(f);
    char text[4096];
    bool clean;
    tell(&client, "GET /hello1 HTTP/1.1\r\nHost: x\r\n\r\n");
    listen_until(&client, text, sizeof text, "/hello1");
    tell(&client, "GET /hello2 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    listen_all(&client, text, sizeof text, &clean);
    assert_non_null(strstr(text, "/hello2"));
    assert_true(clean);
    assert_int_equal(stats_of(f).tls_handshakes_total, 1);
    assert_int_equal(stats_of(f).tls_errors_total, 0);
    leave(&client);
    fixture_stop(f);
}

/* The client trickles its bytes, whatever they are. */
static void slow_bytes_are_put_together(void **state)
{
    struct server_settings settings = test_settings();
    struct fixture *f = tls_start(&settings);
    int fd = dial(f);
    SSL *ssl = SSL_new(client_side);
    BIO *in = BIO_new(BIO_s_mem()), *out = BIO_new(BIO_s_mem());
    SSL_set_bio(ssl, in, out);
    SSL_set_connect_state(ssl);
    bool asked = false;
    char text[4096] = "";
    size_t length = 0;
    while (strstr(text, "/hello") == NULL) {
        unsigned char byte;
        size_t got;
        int result = SSL_do_handshake(ssl);
        if (result == 1 && !asked) {
            asked = true;
            SSL_write(ssl, ASK, sizeof ASK - 1);
        }
        while (BIO_read(out, &byte, 1) == 1)
            say_bytes(fd, &byte, 1);
        got = hear_some(fd, &byte, 1);
        assert_int_equal(got, 1);
        BIO_write(in, &byte, 1);
        if (result == 1 && SSL_read_ex(ssl, text + length, sizeof text - 1 - length, &got) == 1)
            length += got;
    }
    SSL_free(ssl);
    close(fd);
    fixture_stop(f);
}

static void handshakes_have_a_deadline(void **state)
{
    struct server_settings settings = test_settings();
    settings.tls_handshake_timeout_ms = 150;
    struct fixture *f = tls_start(&settings);
    char text[64];
    int silent = dial(f), slow = dial(f);
    say_bytes(slow, "\x16\x03\x01\x02\x00\x01", 6);
    assert_int_equal(hear_all(silent, text, sizeof text), 0);
    assert_int_equal(hear_all(slow, text, sizeof text), 0);
    AWAIT_STAT(f, connections, 0);
    assert_int_equal(stats_of(f).timeouts_total, 2);
    struct client client = greet(f); /* who is in time is left alone */
    usleep(300 * 1000);
    tell(&client, "GET /hello1 HTTP/1.1\r\nHost: x\r\n\r\n");
    char answer[1024];
    listen_until(&client, answer, sizeof answer, "/hello1");
    leave(&client);
    close(silent);
    close(slow);
    fixture_stop(f);
}

static void plain_http_is_told_so(void **state)
{
    struct server_settings settings = test_settings();
    struct fixture *f = tls_start(&settings);
    char text[1024];
    int fd = dial(f);
    say(fd, "GET /hello HTTP/1.1\r\nHost: x\r\n\r\n");
    hear_all(fd, text, sizeof text);
    assert_non_null(strstr(text, "HTTP/1.1 400 "));
    assert_int_equal(stats_of(f).requests_total, 0);
    assert_int_equal(stats_of(f).tls_errors_total, 1);
    close(fd);
    fixture_stop(f);
}

static void garbage_is_refused_with_an_alert(void **state)
{
    struct server_settings settings = test_settings();
    struct fixture *f = tls_start(&settings);
    char text[64];
    int fd = dial(f);
    say_bytes(fd, "\x16\x03\x01\x00\x04\x09\x00\x00\x00", 9);
    assert_int_equal(hear_all(fd, text, sizeof text), 7);
    assert_int_equal(text[0], 21); /* alert */
    assert_int_equal(text[5], 2);  /* fatal */
    close(fd);
    AWAIT_STAT(f, connections, 0);
    fixture_stop(f);
}

/* A response that is cut off must not look whole. */
static void only_whole_things_end_with_a_goodbye(void **state)
{
    struct server_settings settings = test_settings();
    settings.keep_alive_timeout_ms = 100;
    settings.http_timeout_ms = 200;
    struct fixture *f = tls_start(&settings);
    char text[1024];
    bool clean;
    struct client client = greet(f);
    listen_all(&client, text, sizeof text, &clean);
    assert_true(clean); /* idle for too long */
    leave(&client);
    client = greet(f);
    tell(&client, "GET /manual HTTP/1.0\r\nHost: x\r\n\r\n");
    uint64_t exchange = await(f, EVENT_REQUEST, 0).exchange;
    respond_with(f, exchange, 200, NULL, NULL, "half", 4, true);
    listen_all(&client, text, sizeof text, &clean);
    assert_non_null(strstr(text, "half"));
    assert_false(clean);
    leave(&client);
    finish(f, exchange, false);
    fixture_stop(f);
}

static void clients_leave_with_and_without_a_goodbye(void **state)
{
    struct server_settings settings = test_settings();
    struct fixture *f = tls_start(&settings);
    for (int with = 0; with < 2; with++) {
        struct client client = greet(f);
        tell(&client, HANDSHAKE("/manual"));
        uint64_t exchange = await(f, EVENT_REQUEST, 0).exchange;
        give_plain(f, COMMAND_ACCEPT, exchange);
        char head[1024];
        listen_until(&client, head, sizeof head, "\r\n\r\n");
        if (with)
            SSL_shutdown(client.ssl);
        else
            shutdown(client.fd, SHUT_WR);
        struct note end = await_disconnect(f, exchange);
        assert_int_equal(end.cause, DISCONNECT_CLIENT);
        assert_int_equal(end.code, 1006);
        finish(f, exchange, false);
        leave(&client);
    }
    AWAIT_STAT(f, connections, 0);
    fixture_stop(f);
}

/* A large response, to a client that reads late: credit comes as it reads, and nothing is lost. */
static void large_responses_wait_for_their_reader(void **state)
{
    enum { PART = 50000, PARTS = 100 };
    static char part[PART];
    struct server_settings settings = test_settings();
    struct fixture *f = tls_start_narrow(&settings);
    struct client client = greet(f);
    char text[64];
    bool clean;
    memset(part, 'x', sizeof part);
    tell(&client, "GET /manual HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    uint64_t exchange = await(f, EVENT_REQUEST, 0).exchange;
    respond_with(f, exchange, 200, NULL, NULL, NULL, 0, true);
    for (int i = 0; i < PARTS; i++)
        send_body(f, exchange, part, sizeof part, true);
    for (uint64_t until = clock_ms() + PATIENCE_MS; stats_of(f).bytes_unwritten == 0 && clock_ms() < until;)
        usleep(1000);
    assert_true(stats_of(f).bytes_unwritten > 0);
    size_t length = 0, got;
    while (length < (size_t)PART * PARTS) {
        static char bytes[16384];
        assert_int_equal(SSL_read_ex(client.ssl, bytes, sizeof bytes, &got), 1);
        length += got;
    }
    assert_true(await(f, EVENT_WRITTEN, exchange).amount > 0);
    send_body(f, exchange, NULL, 0, false);
    listen_all(&client, text, sizeof text, &clean);
    assert_true(clean);
    leave(&client);
    finish(f, exchange, false);
    AWAIT_STAT(f, bytes_unwritten, 0);
    fixture_stop(f);
}

static atomic_ulong dropped, destroyed;

static void on_dropped(void *context, uint64_t label, uint64_t count)
{
    atomic_fetch_add(&dropped, count);
}

static void on_destroyed(void *context)
{
    atomic_fetch_add(&destroyed, 1);
}

static const struct broadcast_callbacks broadcast_callbacks = { on_dropped, on_destroyed };

static void send_broadcast(struct fixture *f, uint64_t exchange, const void *bytes, size_t length)
{
    struct command *command = make(COMMAND_BROADCAST, 0, NULL, 0);
    command->broadcast.message = broadcast_create(false, bytes, length, NULL, 0, BROADCAST_DROP_OLDEST, &broadcast_callbacks, NULL);
    command->broadcast.targets = mem_alloc(sizeof *command->broadcast.targets);
    command->broadcast.targets[0] = (struct broadcast_target){ exchange, 1 };
    command->broadcast.count = 1;
    struct queue_chain chain = { NULL, NULL };
    while (server_broadcast(f->server, &chain, command) != SERVER_OK)
        usleep(1000);
}

enum { BROADCAST_SIZE = 10000, MOST_ENCRYPTED = 48 * 1024 };

/* Broadcasts from first on, as many as count, each with its number in it. */
static void send_numbered(struct fixture *f, uint64_t exchange, unsigned first, unsigned count)
{
    static unsigned char message[BROADCAST_SIZE];
    for (unsigned i = first; i < first + count; i++) {
        memset(message, (int)(i & 0xff), sizeof message);
        memcpy(message, &i, sizeof i);
        send_broadcast(f, exchange, message, sizeof message);
    }
    AWAIT_STAT(f, broadcasts_total, first + count);
}

/* The number of the next one. */
static unsigned hear_numbered(struct client *client)
{
    unsigned char frame[BROADCAST_SIZE + 4];
    size_t length = 0, got;
    unsigned number;
    while (length < sizeof frame) {
        assert_int_equal(SSL_read_ex(client->ssl, frame + length, sizeof frame - length, &got), 1);
        length += got;
    }
    assert_int_equal(frame[0], 0x82);
    memcpy(&number, frame + 4, sizeof number);
    assert_int_equal(frame[sizeof frame - 1], number & 0xff);
    return number;
}

/* What waits is not encrypted before the socket may take it, so that it can be dropped; also when a reader that was slow goes on. */
static void slow_readers_lose_old_broadcasts(void **state)
{
    enum { COUNT = 2000, MORE = 100 };
    struct server_settings settings = test_settings();
    struct fixture *f = tls_start_narrow(&settings);
    struct client client = greet(f);
    char head[1024];
    dropped = destroyed = 0;
    tell(&client, HANDSHAKE("/manual"));
    uint64_t exchange = await(f, EVENT_REQUEST, 0).exchange;
    give_plain(f, COMMAND_ACCEPT, exchange);
    listen_until(&client, head, sizeof head, "\r\n\r\n");
    send_numbered(f, exchange, 0, COUNT);
    uint64_t full = stats_of(f).bytes_unwritten;
    assert_true(full <= settings.websocket_write_limit + MOST_ENCRYPTED);
    unsigned last = hear_numbered(&client), seen = 1;
    for (; stats_of(f).bytes_unwritten == full; seen++) { /* until the socket takes some more */
        last = hear_numbered(&client);
        usleep(1000);
    }
    send_numbered(f, exchange, COUNT, MORE);
    assert_true(stats_of(f).bytes_unwritten <= settings.websocket_write_limit + MOST_ENCRYPTED);
    while (last < COUNT + MORE - 1) {
        unsigned number = hear_numbered(&client);
        assert_true(number > last);
        last = number;
        seen++;
    }
    assert_true(seen < COUNT);
    assert_int_equal(dropped, COUNT + MORE - seen);
    AWAIT_STAT(f, bytes_unwritten, 0);
    leave(&client);
    await_disconnect(f, exchange);
    finish(f, exchange, false);
    fixture_stop(f);
    assert_int_equal(destroyed, COUNT + MORE);
}

/* Each client sends the bytes in first, then its handshake and a request, while the n-th allocation fails. Only that client may notice, and
 * nothing leaks. */
static void check_no_memory(const struct server_settings *settings, const char *first)
{
    struct fixture *f = tls_start(settings);
    int steady_fd = dial(f);
    say(steady_fd, first);
    struct client steady = secure(steady_fd);
    char text[1024];
    bool failed = true;
    tell(&steady, "GET /hello1 HTTP/1.1\r\nHost: x\r\n\r\n");
    listen_until(&steady, text, sizeof text, "/hello1"); /* nothing of its handshake is left to be done */
    for (unsigned long n = 1; failed; n++) {
        int fd = dial(f);
        SSL *ssl = SSL_new(client_side);
        SSL_set_fd(ssl, fd);
        mem_fail_at(n);
        say(fd, first);
        if (SSL_connect(ssl) == 1) {
            SSL_write(ssl, BAD, sizeof BAD - 1);
            while (SSL_read(ssl, text, sizeof text) > 0)
                continue;
        }
        failed = mem_try_count() >= n;
        mem_fail_at(0);
        ERR_clear_error();
        SSL_free(ssl);
        close(fd);
    }
    tell(&steady, "GET /hello1 HTTP/1.1\r\nHost: x\r\n\r\n");
    listen_until(&steady, text, sizeof text, "/hello1");
    leave(&steady);
    AWAIT_STAT(f, connections, 0);
    assert_int_equal(stats_of(f).handshakes, 0);
    fixture_stop(f);
}

static void no_memory_costs_one_connection(void **state)
{
    struct server_settings settings = test_settings();
    check_no_memory(&settings, "");
}

/* Behind a PROXY header. Each connection holds a reference to the TLS store until the header is complete. One release too many frees the
 * certificates of later connections; LeakSanitizer finds each release that is missing. */

static struct server_settings proxied(void)
{
    struct server_settings settings = test_settings();
    settings.trusted_proxies = "127.0.0.1";
    settings.proxy_protocol = 1;
    settings.header_timeout_ms = settings.tls_handshake_timeout_ms = 30000;
    return settings;
}

static int dial_with(struct fixture *f, const char *first)
{
    int fd = dial(f);
    say(fd, first);
    return fd;
}

static void expect_answers(struct client *client, unsigned count)
{
    char text[4096];
    for (unsigned i = 0; i < count; i++) {
        tell(client, KEEP_ALIVE);
        listen_until(client, text, sizeof text, "\r\n\r\n/hello");
    }
}

/* The server closes the connection, with an answer or without one. */
static void expect_end(int fd)
{
    char text[1024];
    hear_all(fd, text, sizeof text);
    close(fd);
}

static void requests_behind_a_proxy_share_a_connection(void **state)
{
    enum { REQUESTS = 300 };
    struct server_settings settings = proxied();
    struct fixture *f = tls_start(&settings);
    struct client client = secure(dial_with(f, PROXY));
    expect_answers(&client, REQUESTS);
    struct client second = secure(dial_with(f, PROXY));
    expect_answers(&second, REQUESTS);
    expect_answers(&client, 1);
    leave(&client);
    leave(&second);
    AWAIT_STAT(f, connections, 0);
    client = secure(dial_with(f, PROXY));
    expect_answers(&client, 1);
    leave(&client);
    AWAIT_STAT(f, connections, 0);
    assert_int_equal(stats_of(f).handshakes, 0);
    assert_int_equal(stats_of(f).tls_handshakes_total, 3);
    fixture_stop(f);
}

static void websockets_and_http2_behind_a_proxy(void **state)
{
    static const char preface[] = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4\0\0\0\0"; /* with SETTINGS, whose last byte is the NUL */
    struct server_settings settings = proxied();
    struct fixture *f = tls_start(&settings);
    char text[1024];
    for (int i = 0; i < 4; i++) {
        struct client client = secure(dial_with(f, PROXY));
        tell(&client, HANDSHAKE("/echo"));
        listen_until(&client, text, sizeof text, "\r\n\r\n");
        tell(&client, "\x81\x81\1\1\1\1i"); /* the text h, masked */
        listen_until(&client, text, sizeof text, "\x81\1h");
        leave(&client);
        client = secure(dial_with(f, PROXY));
        assert_int_equal(SSL_write(client.ssl, preface, sizeof preface), sizeof preface);
        assert_int_equal(SSL_read(client.ssl, text, 9), 9);
        assert_int_equal(text[3], 4); /* the server's SETTINGS */
        leave(&client);
        AWAIT_STAT(f, connections, 0);
    }
    assert_int_equal(stats_of(f).http2_connections, 0);
    assert_int_equal(stats_of(f).websockets, 0);
    fixture_stop(f);
}

/* Clients leave, or are refused, at each point before their first request. */
static void clients_leave_before_their_first_request(void **state)
{
    static const char *const left[] = { "", "PROXY TCP4", PROXY, PROXY FIRST_OF_HELLO };
    static const char *const refused[] = { KEEP_ALIVE, "PROXY TCP4 1.2.3.4\r\n", "\r\n\r\nx", PROXY KEEP_ALIVE, PROXY "neither of both" };
    struct server_settings settings = proxied();
    struct fixture *f = tls_start(&settings);
    for (int i = 0; i < 3; i++) {
        for (size_t j = 0; j < sizeof left / sizeof *left; j++) {
            int fd = dial_with(f, left[j]);
            AWAIT_STAT(f, handshakes, 1);
            close(fd);
            AWAIT_STAT(f, connections, 0);
        }
        for (size_t j = 0; j < sizeof refused / sizeof *refused; j++)
            expect_end(dial_with(f, refused[j]));
        struct client client = secure(dial_with(f, PROXY));
        leave(&client);
        AWAIT_STAT(f, connections, 0);
    }
    assert_int_equal(stats_of(f).handshakes, 0);
    assert_int_equal(stats_of(f).proxy_errors_total, 9);
    struct client client = secure(dial_with(f, PROXY));
    expect_answers(&client, 3);
    leave(&client);
    fixture_stop(f);
}

static void headers_and_handshakes_have_deadlines_behind_a_proxy(void **state)
{
    struct server_settings settings = proxied();
    settings.header_timeout_ms = settings.tls_handshake_timeout_ms = 200;
    struct fixture *f = tls_start(&settings);
    int silent = dial(f), half = dial_with(f, "PROXY "), taken = dial_with(f, PROXY), slow = dial_with(f, PROXY FIRST_OF_HELLO);
    expect_end(silent);
    expect_end(half);
    expect_end(taken);
    expect_end(slow);
    AWAIT_STAT(f, connections, 0);
    assert_int_equal(stats_of(f).handshake_timeouts_total, 4);
    assert_int_equal(stats_of(f).handshakes, 0);
    fixture_stop(f);
}

/* The connection limits, total and per address, refuse connections before and after their header. */
static void clients_are_refused_behind_a_proxy(void **state)
{
    struct server_settings settings = proxied();
    settings.limit_connections = 4;
    settings.limit_connections_per_address = 2;
    struct fixture *f = tls_start(&settings);
    struct client clients[2] = { secure(dial_with(f, PROXY)), secure(dial_with(f, PROXY)) };
    for (int i = 0; i < 4; i++) {
        expect_end(dial_with(f, PROXY));
        AWAIT_STAT(f, connections, 2);
    }
    assert_int_equal(stats_of(f).addresses_refused_total, 4);
    int fds[2] = { dial(f), dial_with(f, "PROXY ") };
    AWAIT_STAT(f, connections, 4);
    for (int i = 0; i < 4; i++) {
        expect_end(dial(f));
        AWAIT_STAT(f, connections, 4);
    }
    assert_int_equal(stats_of(f).connections_refused_total, 4);
    for (int i = 0; i < 2; i++) {
        expect_answers(&clients[i], 3);
        leave(&clients[i]);
        close(fds[i]);
    }
    AWAIT_STAT(f, connections, 0);
    assert_int_equal(stats_of(f).handshakes, 0);
    fixture_stop(f);
}

static void untrusted_peers_are_closed_before_tls(void **state)
{
    struct server_settings settings = proxied();
    settings.trusted_proxies = "10.0.0.1";
    struct fixture *f = tls_start(&settings);
    for (int i = 0; i < 3; i++)
        expect_end(dial(f));
    AWAIT_STAT(f, connections, 0);
    assert_int_equal(stats_of(f).proxy_errors_total, 3);
    fixture_stop(f);
}

static bool shows(const struct client *client, const struct identity *identity)
{
    X509 *certificate = SSL_get1_peer_certificate(client->ssl);
    bool same = X509_cmp(certificate, identity->certificate) == 0;
    X509_free(certificate);
    return same;
}

static void reload(struct tls_store *store, const struct identity *identity)
{
    struct tls_identity_spec own = { .certificate = identity->certificate_file, .key = identity->key_file };
    tls_store_replace(store, context_make(&files, (struct tls_spec){ .identities = &own, .identity_count = 1 }));
}

/* A reload applies to connections whose PROXY header is incomplete; established connections keep their certificate. */
static void certificates_are_replaced_behind_a_proxy(void **state)
{
    struct server_settings settings = proxied();
    struct fixture *f = fixture_create(&settings);
    struct tls_store *store = tls_store_create(context_make(&files, (struct tls_spec){ 0 }));
    struct listen_spec spec = { .kind = LISTEN_TCP, .host = "127.0.0.1", .tls = store };
    char error[256] = "";
    assert_int_equal(server_listen(f->server, &spec, error, sizeof error), SERVER_OK);
    fixture_run(f);
    struct client old = secure(dial_with(f, PROXY));
    expect_answers(&old, 3);
    for (int i = 0; i < 10; i++) {
        int silent = dial(f), half = dial_with(f, "PROXY TCP4 192.0.2.1 ");
        AWAIT_STAT(f, handshakes, 2);
        reload(store, i % 2 == 0 ? &files.other : &files.server);
        say(half, "192.0.2.2 1234 443\r\n");
        struct client late = secure(half), next = secure(dial_with(f, PROXY));
        assert_true(shows(&late, i % 2 == 0 ? &files.other : &files.server));
        assert_true(shows(&next, i % 2 == 0 ? &files.other : &files.server));
        close(silent);
        expect_answers(&late, 3);
        expect_answers(&next, 3);
        expect_answers(&old, 3);
        leave(&late);
        leave(&next);
        AWAIT_STAT(f, connections, 1);
    }
    assert_true(shows(&old, &files.server));
    tls_store_release(store);
    expect_answers(&old, 3);
    leave(&old);
    fixture_stop(f);
}

/* The server stops, with and without a drain, while connections are at each point before and after their first request. */
static void stopping_behind_a_proxy(void **state)
{
    struct server_settings settings = proxied();
    for (int shut_down = 0; shut_down < 2; shut_down++) {
        struct fixture *f = tls_start(&settings);
        int fds[] = { dial(f), dial_with(f, "PROXY "), dial_with(f, PROXY), dial_with(f, PROXY FIRST_OF_HELLO) };
        struct client idle = secure(dial_with(f, PROXY)), used = secure(dial_with(f, PROXY));
        expect_answers(&used, 5);
        AWAIT_STAT(f, handshakes, 4);
        if (shut_down) {
            give_code(f, COMMAND_SHUTDOWN, 0, 1001, "");
            await(f, EVENT_DRAINED, 0);
        }
        fixture_stop(f);
        for (size_t i = 0; i < sizeof fds / sizeof *fds; i++)
            close(fds[i]);
        leave(&idle);
        leave(&used);
    }
}

static void no_memory_behind_a_proxy(void **state)
{
    struct server_settings settings = proxied();
    settings.limit_connections_per_address = 100;
    check_no_memory(&settings, PROXY);
}

static int begin(void **state)
{
    signal(SIGPIPE, SIG_IGN); /* OpenSSL's client writes to sockets that the server has closed */
    files_make(&files);
    client_side = client_context(&files, NULL);
    return 0;
}

static int end(void **state)
{
    SSL_CTX_free(client_side);
    files_remove(&files);
    return 0;
}

/* For the state of a connection. There is some for its list of errors, which is smaller: without, OpenSSL 3.6 recurses until it crashes. */
static atomic_bool openssl_has_no_memory;
enum { CONNECTION_SIZE = 2048 };

static void *openssl_alloc(size_t size, const char *file, int line)
{
    (void)file;
    (void)line;
    return atomic_load(&openssl_has_no_memory) && size >= CONNECTION_SIZE ? NULL : malloc(size);
}

static void *openssl_realloc(void *pointer, size_t size, const char *file, int line)
{
    (void)file;
    (void)line;
    return atomic_load(&openssl_has_no_memory) && size >= CONNECTION_SIZE ? NULL : realloc(pointer, size);
}

static void openssl_free(void *pointer, const char *file, int line)
{
    (void)file;
    (void)line;
    free(pointer);
}

static void check_no_memory_for_tls(const struct server_settings *settings, const char *first)
{
    struct fixture *f = tls_start(settings);
    atomic_store(&openssl_has_no_memory, true);
    expect_end(dial_with(f, first));
    AWAIT_STAT(f, connections, 0);
    atomic_store(&openssl_has_no_memory, false);
    assert_int_equal(stats_of(f).accept_errors_total, 1);
    struct client next = secure(dial_with(f, first));
    expect_answers(&next, 1);
    leave(&next);
    AWAIT_STAT(f, connections, 0);
    assert_int_equal(stats_of(f).accept_errors_total, 1);
    fixture_stop(f);
}

static void no_memory_for_tls_is_counted(void **state)
{
    struct server_settings direct = test_settings(), behind_a_proxy = proxied();
    check_no_memory_for_tls(&direct, "");
    check_no_memory_for_tls(&behind_a_proxy, PROXY);
}

int main(void)
{
    CRYPTO_set_mem_functions(openssl_alloc, openssl_realloc, openssl_free); /* before OpenSSL allocates anything */
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(requests_are_answered),
        cmocka_unit_test(slow_bytes_are_put_together),
        cmocka_unit_test(handshakes_have_a_deadline),
        cmocka_unit_test(plain_http_is_told_so),
        cmocka_unit_test(garbage_is_refused_with_an_alert),
        cmocka_unit_test(only_whole_things_end_with_a_goodbye),
        cmocka_unit_test(clients_leave_with_and_without_a_goodbye),
        cmocka_unit_test(large_responses_wait_for_their_reader),
        cmocka_unit_test(slow_readers_lose_old_broadcasts),
        cmocka_unit_test(no_memory_costs_one_connection),
        cmocka_unit_test(requests_behind_a_proxy_share_a_connection),
        cmocka_unit_test(websockets_and_http2_behind_a_proxy),
        cmocka_unit_test(clients_leave_before_their_first_request),
        cmocka_unit_test(headers_and_handshakes_have_deadlines_behind_a_proxy),
        cmocka_unit_test(clients_are_refused_behind_a_proxy),
        cmocka_unit_test(untrusted_peers_are_closed_before_tls),
        cmocka_unit_test(certificates_are_replaced_behind_a_proxy),
        cmocka_unit_test(stopping_behind_a_proxy),
        cmocka_unit_test(no_memory_behind_a_proxy),
        cmocka_unit_test(no_memory_for_tls_is_counted),
    };
    return cmocka_run_group_tests(tests, begin, end);
}
