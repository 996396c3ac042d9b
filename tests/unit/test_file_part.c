/* Parts of files: how much is read and sent, whatever becomes of the file. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "server/command.h"
#include "server/file_part.h"

enum { SIZE = 300000 + FILE_PART_TAIL };

static unsigned char contents[SIZE];

static int make_file(size_t size)
{
    char name[] = "/tmp/peneus-file-XXXXXX";
    int fd = mkstemp(name);
    assert_true(fd >= 0);
    assert_int_equal(unlink(name), 0);
    assert_int_equal(write(fd, contents, size), size);
    return fd;
}

static bool is_open(int fd)
{
    return fcntl(fd, F_GETFD) >= 0;
}

static struct file_part take(int fd, uint64_t offset, uint64_t length)
{
    struct file_part part;
    struct command *command = command_create(COMMAND_FILE, 1, 0);
    command->file.fd = fd;
    command->file.offset = offset;
    command->file.length = length;
    file_part_take(&part, command);
    assert_int_equal(command->file.fd, -1);
    command_destroy(command);
    assert_true(is_open(fd));
    return part;
}

static void test_commands_close_their_descriptor(void **state)
{
    int fd = make_file(10);
    struct command *command = command_create(COMMAND_FILE, 1, 0);
    assert_int_equal(command->file.fd, -1); /* none yet: nothing is closed */
    command->file.fd = fd;
    command_destroy(command);
    assert_false(is_open(fd));
}

static void test_a_charge_for_each_descriptor(void **state)
{
    struct command *command = command_create(COMMAND_FILE, 1, 0);
    command->file.length = 1;
    assert_int_equal(command_charge(command), command_cost(FILE_LEAST_COST));
    command->file.length = 1000000;
    assert_int_equal(command_charge(command), command_cost(1000000));
    command_destroy(command);
    command = command_create(COMMAND_BODY, 1, 10);
    assert_int_equal(command_charge(command), command_cost(10));
    command_destroy(command);
}

static void test_reads_its_part_and_no_more(void **state)
{
    unsigned char bytes[SIZE];
    int fd = make_file(SIZE);
    struct file_part part = take(fd, 1000, 200000);
    size_t total = 0;
    while (!file_part_is_empty(&part)) {
        ssize_t got = file_part_read(&part, bytes + total, 4096);
        assert_true(got > 0 && got <= 4096);
        total += (size_t)got;
    }
    assert_int_equal(total, 200000);
    assert_memory_equal(bytes, contents + 1000, total);
    file_part_deinit(&part);
    assert_false(is_open(fd));
    file_part_deinit(&part); /* as often as one likes */
}

static void test_sends_until_the_socket_takes_no_more(void **state)
{
    int pair[2];
    unsigned char bytes[SIZE];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, pair), 0);
    struct file_part part = take(make_file(SIZE), 10, SIZE - 20);
    size_t total = 0, refusals = 0;
    while (total < SIZE - 20 - FILE_PART_TAIL) {
        ssize_t sent = part.left == FILE_PART_TAIL ? 0 : file_part_send(&part, pair[0], SIZE);
        assert_true(sent >= 0);
        refusals += sent == 0;
        ssize_t got = sent > 0 ? 0 : read(pair[1], bytes + total, 10000);
        total += got > 0 ? (size_t)got : 0;
    }
    assert_true(refusals > 0);
    assert_int_equal(file_part_send(&part, pair[0], SIZE), FILE_PART_REFUSED);
    assert_true(part.by_reading);
    while (!file_part_is_empty(&part))
        total += (size_t)file_part_read(&part, bytes + total, FILE_PART_TAIL);
    assert_int_equal(total, SIZE - 20);
    assert_memory_equal(bytes, contents + 10, total);
    file_part_deinit(&part);
    close(pair[0]);
    close(pair[1]);
}

static void test_limits_of_one_call(void **state)
{
    int pair[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, pair), 0);
    struct file_part part = take(make_file(SIZE), 0, SIZE);
    assert_int_equal(file_part_send(&part, pair[0], 100), 100);
    assert_int_equal(part.left, SIZE - 100);
    assert_int_equal(part.offset, 100);
    file_part_deinit(&part);
    close(pair[0]);
    close(pair[1]);
}

static void test_files_that_shrink(void **state)
{
    unsigned char bytes[100];
    int pair[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, pair), 0);
    int fd = make_file(SIZE);
    struct file_part part = take(fd, 0, SIZE);
    assert_int_equal(ftruncate(fd, 60), 0);
    assert_int_equal(file_part_read(&part, bytes, 50), 50);
    assert_int_equal(file_part_read(&part, bytes, 50), 10);
    assert_int_equal(file_part_read(&part, bytes, 50), FILE_PART_SHORT);
    assert_int_equal(file_part_send(&part, pair[0], 50), FILE_PART_SHORT);
    assert_int_equal(part.left, SIZE - 60);
    file_part_deinit(&part);
    close(pair[0]);
    close(pair[1]);
}

static void test_files_that_cannot_be_read(void **state)
{
    unsigned char bytes[100];
    char name[] = "/tmp/peneus-file-XXXXXX";
    close(mkstemp(name));
    struct file_part part = take(open(name, O_WRONLY), 0, 100);
    assert_int_equal(file_part_read(&part, bytes, sizeof bytes), FILE_PART_BROKEN);
    assert_int_equal(errno, EBADF);
    file_part_deinit(&part);
    unlink(name);
}

static void test_sockets_that_fail(void **state)
{
    int pair[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, pair), 0);
    close(pair[1]);
    struct file_part part = take(make_file(SIZE), 0, SIZE);
    assert_int_equal(file_part_send(&part, pair[0], 100), FILE_PART_SOCKET);
    assert_int_equal(errno, EPIPE);
    file_part_deinit(&part);
    close(pair[0]);
}

/* What sendfile() does not do is said once and for all; reading does it. */
static void test_files_that_sendfile_refuses(void **state)
{
    int pair[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, pair), 0);
    int fd = make_file(SIZE);
    int append = fcntl(pair[0], F_SETFL, O_APPEND | O_NONBLOCK); /* an output that is appended to: EINVAL */
    assert_int_equal(append, 0);
    struct file_part part = take(fd, 0, SIZE);
    unsigned char bytes[100];
    assert_int_equal(file_part_send(&part, pair[0], 100), FILE_PART_REFUSED);
    assert_true(part.by_reading);
    assert_int_equal(part.left, SIZE);
    assert_int_equal(file_part_send(&part, pair[0], 100), FILE_PART_REFUSED);
    assert_int_equal(file_part_read(&part, bytes, 100), 100);
    file_part_deinit(&part);
    close(pair[0]);
    close(pair[1]);
}

static int begin(void **state)
{
    signal(SIGPIPE, SIG_IGN);
    for (size_t i = 0; i < SIZE; i++)
        contents[i] = (unsigned char)(i * 7 + i / 251);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_commands_close_their_descriptor),
        cmocka_unit_test(test_a_charge_for_each_descriptor),
        cmocka_unit_test(test_reads_its_part_and_no_more),
        cmocka_unit_test(test_sends_until_the_socket_takes_no_more),
        cmocka_unit_test(test_limits_of_one_call),
        cmocka_unit_test(test_files_that_shrink),
        cmocka_unit_test(test_files_that_cannot_be_read),
        cmocka_unit_test(test_sockets_that_fail),
        cmocka_unit_test(test_files_that_sendfile_refuses),
    };
    return cmocka_run_group_tests(tests, begin, NULL);
}
