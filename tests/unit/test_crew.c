/* Which of several processes takes a connection; and two servers on one socket that share them out. */
#include "server/crew.h"

#include <sys/mman.h>

#include "tests/unit/server_fixture.h"

enum { MS = 1000000 };

static int make_page(void)
{
    int fd = memfd_create("crew", MFD_CLOEXEC);
    assert_true(fd >= 0);
    assert_int_equal(ftruncate(fd, CREW_SIZE * sizeof(struct crew_member)), 0);
    return fd;
}

static void set(struct crew *crew, unsigned place, uint64_t beat_ns, uint64_t connections)
{
    atomic_store(&crew->members[place].beat_ns, beat_ns);
    atomic_store(&crew->members[place].connections, connections);
}

static void test_who_waits(void **state)
{
    const uint64_t now = UINT64_C(1000000) * MS, stale = now - (uint64_t)CREW_STALE_MS * MS;
    struct crew crew = { 0 };
    int fd = make_page();
    assert_int_equal(crew_wait_ms(&crew, now), 0);
    assert_int_equal(crew_join(&crew, fd, 3), 0);
    close(fd);
    assert_true(crew.own == &crew.members[3] && atomic_load(&crew.own->connections) == CREW_AWAY);
    set(&crew, 3, now, 1000);
    assert_int_equal(crew_wait_ms(&crew, now), 0); /* alone */
    set(&crew, 0, now, 100);
    assert_int_equal(crew_wait_ms(&crew, now), CREW_POLITE_MS);
    set(&crew, 3, now, 100 + CREW_SLACK + 100 / 16);
    assert_int_equal(crew_wait_ms(&crew, now), 0);
    set(&crew, 3, now, 101 + CREW_SLACK + 100 / 16);
    assert_int_equal(crew_wait_ms(&crew, now), CREW_POLITE_MS);
    set(&crew, 0, stale, 100);
    assert_int_equal(crew_wait_ms(&crew, now), 0); /* whose loop stands still is not waited for */
    set(&crew, 0, now, CREW_AWAY);
    assert_int_equal(crew_wait_ms(&crew, now), 0);
    set(&crew, 0, now + MS, 1000000); /* its clock was read a little later */
    set(&crew, 3, stale, 0);
    assert_int_equal(crew_wait_ms(&crew, now), CREW_STUCK_MS);
    set(&crew, 0, stale, 0);
    assert_int_equal(crew_wait_ms(&crew, now), 0);
    set(&crew, CREW_SIZE - 1, now, 0);
    assert_int_equal(crew_wait_ms(&crew, now), CREW_STUCK_MS);
    crew_leave(&crew);
    crew_leave(&crew);
    assert_int_equal(crew_wait_ms(&crew, now), 0);
}

static void test_what_cannot_be_joined(void **state)
{
    struct crew crew = { 0 };
    int fd = make_page();
    assert_int_equal(crew_join(&crew, fd, CREW_SIZE), -1);
    assert_int_equal(ftruncate(fd, CREW_SIZE * sizeof(struct crew_member) - 1), 0);
    assert_int_equal(crew_join(&crew, fd, 0), -1);
    close(fd);
    assert_int_equal(crew_join(&crew, fd, 0), -1);
    assert_null(crew.members);
}

/* Two servers that share a socket, as two processes would. */
struct pair {
    struct fixture *servers[2];
    struct crew crew; /* a view of ours */
};

static struct pair pair_start(void)
{
    struct server_settings settings = test_settings();
    struct pair pair = { 0 };
    int fd = make_page();
    assert_int_equal(crew_join(&pair.crew, fd, 7), 0);
    struct sockaddr_in address = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    socklen_t length = sizeof address;
    int listening = socket(AF_INET, SOCK_STREAM, 0);
    assert_int_equal(bind(listening, (struct sockaddr *)&address, length), 0);
    assert_int_equal(getsockname(listening, (struct sockaddr *)&address, &length), 0);
    for (unsigned i = 0; i < 2; i++) {
        char error[200];
        struct fixture *f = pair.servers[i] = fixture_create(&settings);
        struct listen_spec spec = { .kind = LISTEN_FD, .fd = dup(listening) };
        assert_int_equal(server_listen(f->server, &spec, error, sizeof error), SERVER_OK);
        assert_int_equal(server_join_crew(f->server, fd, i), 0);
        f->port = ntohs(address.sin_port);
        atomic_store(&pair.crew.members[i].beat_ns, UINT64_MAX);
        fixture_run(f);
    }
    close(listening);
    close(fd);
    return pair;
}

static void pair_stop(struct pair *pair)
{
    for (unsigned i = 0; i < 2; i++) {
        fixture_stop(pair->servers[i]);
        assert_true(atomic_load(&pair->crew.members[i].connections) == CREW_AWAY);
    }
    crew_leave(&pair->crew);
}

static uint64_t connections_of(const struct pair *pair, unsigned i)
{
    return stats_of(pair->servers[i]).connections;
}

/* One after another, each taken before the next comes: what goes wrong without a crew. */
static void dial_slowly(const struct pair *pair, int *fds, unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        uint64_t before = connections_of(pair, 0) + connections_of(pair, 1);
        fds[i] = dial(pair->servers[0]);
        while (connections_of(pair, 0) + connections_of(pair, 1) == before)
            usleep(200);
    }
}

static void close_all(int *fds, unsigned count)
{
    for (unsigned i = 0; i < count; i++)
        close(fds[i]);
}

static void test_connections_are_shared_out(void **state)
{
    enum { COUNT = 100 };
    struct pair pair = pair_start();
    int fds[COUNT];
    dial_slowly(&pair, fds, COUNT);
    for (unsigned i = 0; i < 2; i++) {
        uint64_t connections = connections_of(&pair, i);
        assert_true(connections >= COUNT / 4 && connections <= COUNT * 3 / 4);
        assert_int_equal(atomic_load(&pair.crew.members[i].connections), connections);
    }
    close_all(fds, COUNT);
    pair_stop(&pair);
}

static void test_who_stands_still_gets_few_and_refuses_nobody(void **state)
{
    enum { COUNT = 40 };
    for (unsigned stuck = 0; stuck < 2; stuck++) {
        struct pair pair = pair_start();
        int fds[COUNT], more[3];
        atomic_store(&pair.crew.members[stuck].beat_ns, 1);
        dial_slowly(&pair, fds, COUNT);
        assert_true(connections_of(&pair, 1 - stuck) >= COUNT * 3 / 4);
        atomic_store(&pair.crew.members[1 - stuck].beat_ns, 1); /* nobody is better: both take */
        dial_slowly(&pair, more, 3);
        close_all(more, 3);
        close_all(fds, COUNT);
        pair_stop(&pair);
    }
}

/* The one that should go first never comes. */
static void test_politeness_ends(void **state)
{
    struct pair pair = pair_start();
    int fds[20];
    set(&pair.crew, 7, UINT64_MAX, 0); /* our own place: idle, and never accepting */
    dial_slowly(&pair, fds, 20);
    close_all(fds, 20);
    pair_stop(&pair);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_who_waits),
        cmocka_unit_test(test_what_cannot_be_joined),
        cmocka_unit_test(test_connections_are_shared_out),
        cmocka_unit_test(test_who_stands_still_gets_few_and_refuses_nobody),
        cmocka_unit_test(test_politeness_ends),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
