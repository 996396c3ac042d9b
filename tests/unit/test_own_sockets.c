/* base/own_sockets.h: a child that forks has none of the sockets that were added. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/own_sockets.h"

static bool is_open(int fd)
{
    return fcntl(fd, F_GETFD) >= 0;
}

/* A socket at number, or at any where that is 0. */
static int open_socket(int number)
{
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(fd >= 0);
    if (number == 0 || fd == number)
        return fd;
    assert_int_equal(dup2(fd, number), number);
    close(fd);
    return number;
}

static int add_socket(int number)
{
    own_sockets_lock();
    int fd = open_socket(number);
    own_sockets_add(fd);
    own_sockets_unlock();
    return fd;
}

/* Whether fd is open in a child. */
static bool child_has(int fd)
{
    int status;
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0)
        _exit(is_open(fd) ? 1 : 0);
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    return WEXITSTATUS(status) == 1;
}

static void test_children_have_none_of_them(void **state)
{
    (void)state;
    int numbers[] = { 0, 63, 64, 127, 500 };
    int other = open_socket(0);
    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++)
        numbers[i] = add_socket(numbers[i]);
    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++) {
        assert_false(child_has(numbers[i]));
        assert_true(is_open(numbers[i]));
        own_sockets_close(numbers[i]);
        assert_false(is_open(numbers[i]));
    }
    assert_true(child_has(other));
    close(other);
}

static void test_what_is_removed_is_anybodys(void **state)
{
    (void)state;
    int fd = add_socket(0);
    own_sockets_close(fd);
    assert_int_equal(open_socket(fd), fd);
    assert_true(child_has(fd));
    close(fd);
    own_sockets_lock();
    own_sockets_remove(-1);
    own_sockets_remove(1 << 20);
    own_sockets_add(-1);
    own_sockets_unlock();
}

/* A child of the child has its own, and closes them for its own children. */
static void test_children_begin_with_none(void **state)
{
    (void)state;
    int fd = add_socket(0), status;
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        int own = add_socket(0); /* the number of its parent's */
        _exit(own == fd && !child_has(own) && is_open(own) ? 0 : 1);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
    own_sockets_close(fd);
}

static void test_without_memory_the_child_keeps_it(void **state)
{
    (void)state;
    enum { FAR = 1000 };
    int fd = open_socket(FAR);
    mem_fail_run(1, 1);
    own_sockets_lock();
    own_sockets_add(fd);
    own_sockets_unlock();
    mem_fail_run(0, 0);
    assert_true(child_has(fd));
    own_sockets_close(fd);
    assert_false(is_open(fd));
}

static atomic_bool enough;

static void *open_and_close(void *argument)
{
    (void)argument;
    while (!atomic_load(&enough))
        own_sockets_close(add_socket(0));
    return NULL;
}

/* Whenever a thread is, a child has no socket of it: the numbers above the highest of ours are free. */
static void test_a_fork_at_any_moment(void **state)
{
    (void)state;
    pthread_t thread;
    int next = open_socket(0);
    close(next);
    assert_int_equal(pthread_create(&thread, NULL, open_and_close, NULL), 0);
    bool had = false;
    for (int i = 0; i < 300; i++)
        had |= child_has(next);
    atomic_store(&enough, true);
    pthread_join(thread, NULL);
    assert_false(had);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_without_memory_the_child_keeps_it),
        cmocka_unit_test(test_children_have_none_of_them),
        cmocka_unit_test(test_what_is_removed_is_anybodys),
        cmocka_unit_test(test_children_begin_with_none),
        cmocka_unit_test(test_a_fork_at_any_moment),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
