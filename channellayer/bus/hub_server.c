#include "channellayer/bus/hub_server.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/own_sockets.h"
#include "channellayer/bus/hub_state.h"
#include "channellayer/name.h"

enum { CLOCK_MS = HUB_GRACE_MS, BACKLOG = 128 };

/* Members */

void hub_write(struct hub_member *member, struct hub_chunk *chunk)
{
    uint64_t before = member->pipe.dropped;
    if (!hub_pipe_write(&member->pipe, chunk)) {
        atomic_fetch_add(&member->hub->dropped, member->pipe.dropped - before);
        member->gap = true;
    }
}

static struct hub_member *member_of(struct hub_pipe *pipe)
{
    return (struct hub_member *)pipe;
}

static void leave(struct hub_member *member)
{
    struct hub *hub = member->hub;
    hub_unfollow_all(member);
    hub_queries_forget(hub, member);
    hub_late_forget(hub, member);
    if (member->greeted)
        table_remove(&hub->clients, &member->by_client);
    member->greeted = false;
    hub_pipe_close(&member->pipe);
}

static void on_end(struct hub_pipe *pipe)
{
    leave(member_of(pipe));
}

static void free_if_closed(struct hub *hub);

static void on_closed(struct hub_pipe *pipe)
{
    struct hub_member *member = member_of(pipe);
    struct hub *hub = member->hub;
    list_remove(&member->of_hub);
    atomic_fetch_sub(&hub->member_count, 1);
    hub->handles--;
    mem_free(member);
    free_if_closed(hub);
}

/* Once there is room again. */
static void on_written(struct hub_pipe *pipe)
{
    if (member_of(pipe)->gap)
        hub_tell_gap(member_of(pipe));
}

void hub_tell_gap(struct hub_member *member)
{
    member->gap = !member->greeted || member->pipe.out_bytes > HUB_OUT_LIMIT / 2;
    if (!member->gap)
        (void)hub_pipe_say(&member->pipe, &(struct hub_frame){ .kind = HUB_GAP, .name = { "", 0 } });
}

static bool greet(struct hub_member *member, const struct hub_frame *frame)
{
    struct hub *hub = member->hub;
    if (frame->kind != HUB_HELLO || frame->number != HUB_VERSION)
        return false;
    member->client_length = frame->name.length;
    memcpy(member->client, frame->name.bytes, frame->name.length);
    if (table_insert(&hub->clients, &member->by_client, name_hash(frame->name)) != 0)
        return false;
    member->greeted = true;
    return hub_pipe_say(&member->pipe, &(struct hub_frame){ .kind = HUB_HELLO, .number = HUB_VERSION, .name = { "", 0 } });
}

void hub_route(struct hub *hub, struct hub_member *from, const struct hub_frame *frame)
{
    if (frame->kind == HUB_PUBLISH)
        hub_publish(hub, from, frame);
    else if (frame->kind == HUB_SEND)
        hub_send(hub, frame);
    else if (from != NULL)
        (void)hub_pipe_say(&from->pipe, &(struct hub_frame){ .kind = HUB_SETTLED, .number = frame->number, .name = { "", 0 } });
}

static bool obey(struct hub_member *member, const struct hub_frame *frame)
{
    struct hub *hub = member->hub;
    switch (frame->kind) {
    case HUB_JOIN:
        return hub_follow(member, &hub->groups, frame->name);
    case HUB_LEAVE:
        hub_unfollow(member, &hub->groups, frame->name);
        return true;
    case HUB_RECEIVE:
        return hub_follow(member, &hub->channels, frame->name);
    case HUB_UNRECEIVE:
        hub_unfollow(member, &hub->channels, frame->name);
        return true;
    case HUB_PUBLISH:
    case HUB_SEND:
    case HUB_SETTLE:
        if (hub_is_new(hub))
            return hub_keep_late(member, frame);
        hub_route(hub, member, frame);
        return true;
    case HUB_QUERY:
        hub_ask(member, frame);
        return true;
    case HUB_ANSWER:
        hub_answered(member, frame);
        return true;
    default:
        return false;
    }
}

static bool on_frame(struct hub_pipe *pipe, const struct hub_frame *frame)
{
    struct hub_member *member = member_of(pipe);
    bool right = member->greeted ? obey(member, frame) : greet(member, frame);
    if (!right)
        atomic_fetch_add(&member->hub->refused, 1);
    return right;
}

static const struct hub_pipe_callbacks callbacks = { on_frame, on_end, on_closed, on_written };

static void on_connection(uv_stream_t *listener, int status)
{
    struct hub *hub = listener->data;
    if (status != 0 || hub->closing)
        return;
    struct hub_member *member = mem_zalloc(sizeof *member);
    member->hub = hub;
    list_init(&member->follows);
    list_append(&hub->members, &member->of_hub);
    hub_pipe_init(&member->pipe, bus_thread_loop(hub->thread), &callbacks, HUB_OUT_LIMIT);
    hub->handles++;
    atomic_fetch_add(&hub->member_count, 1);
    if (hub_pipe_accept(&member->pipe, listener) != 0) {
        hub_pipe_close(&member->pipe);
    } else if (!hub_pipe_is_same_user(&member->pipe)) {
        atomic_fetch_add(&hub->refused, 1);
        hub_pipe_close(&member->pipe);
    } else {
        hub_pipe_begin(&member->pipe);
    }
}

/* Beginning and end */

static void on_clock(uv_timer_t *clock)
{
    struct hub *hub = clock->data;
    if (hub_is_new(hub))
        hub_settle_down(hub);
    hub_queries_expire(hub, uv_now(bus_thread_loop(hub->thread)));
    hub_expire_waiting(hub);
}

static void on_begin(struct bus_task *task)
{
    struct hub *hub = list_entry(task, struct hub, begin);
    uv_loop_t *loop = bus_thread_loop(hub->thread);
    uv_pipe_init(loop, &hub->listener, 0);
    uv_timer_init(loop, &hub->clock);
    hub->handles = 2;
    hub->listener.data = hub->clock.data = hub;
    uv_timer_start(&hub->clock, on_clock, CLOCK_MS, CLOCK_MS);
    if (uv_pipe_open(&hub->listener, hub->fd) == 0)
        (void)uv_listen((uv_stream_t *)&hub->listener, BACKLOG, on_connection);
}

static void free_if_closed(struct hub *hub)
{
    if (!hub->closing || hub->handles > 0)
        return;
    struct bus_thread *thread = hub->thread;
    hub_queries_free(hub);
    hub_late_free(hub);
    hub_topics_free(hub, &hub->groups);
    hub_topics_free(hub, &hub->channels);
    table_deinit(&hub->clients);
    mem_free(hub->path);
    mem_free(hub);
    bus_thread_release(thread);
}

static void on_own_closed(uv_handle_t *handle)
{
    struct hub *hub = handle->data;
    hub->handles--;
    free_if_closed(hub);
}

static void on_finish(struct bus_task *task)
{
    struct hub *hub = list_entry(task, struct hub, end);
    hub->closing = true;
    for (struct list_node *node = hub->members.next, *next; node != &hub->members; node = next) {
        next = node->next;
        leave(list_entry(node, struct hub_member, of_hub));
    }
    own_sockets_lock();
    own_sockets_remove(hub->fd);
    uv_close((uv_handle_t *)&hub->listener, on_own_closed);
    own_sockets_unlock();
    uv_close((uv_handle_t *)&hub->clock, on_own_closed);
}

/* The lock file beside the socket: it stays, so that nobody unlinks another's. -1: *why says who has it, or what is wrong. */
static int take_lock(const char *path, const char **why)
{
    char name[sizeof((struct sockaddr_un *)0)->sun_path + 8];
    snprintf(name, sizeof name, "%s.lock", path);
    int fd = open(name, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd >= 0 && flock(fd, LOCK_EX | LOCK_NB) == 0)
        return fd;
    int error = errno;
    if (fd >= 0)
        close(fd);
    errno = error == EWOULDBLOCK ? EADDRINUSE : error;
    *why = error == EWOULDBLOCK ? "another process is the hub there" : strerror(error);
    return -1;
}

/* A socket bound to path that nobody can connect to yet; -1 with *why. Nobody else is the hub: what is left over goes. */
static int bind_socket(const char *path, const char **why)
{
    struct sockaddr_un address = { .sun_family = AF_UNIX };
    struct stat status;
    snprintf(address.sun_path, sizeof address.sun_path, "%s", path);
    if (lstat(path, &status) == 0 && !S_ISSOCK(status.st_mode)) {
        errno = EEXIST;
        *why = "a file that is no socket is there";
        return -1;
    }
    unlink(path);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd >= 0 && bind(fd, (struct sockaddr *)&address, sizeof address) == 0 && chmod(path, 0600) == 0 && listen(fd, BACKLOG) == 0)
        return fd;
    *why = strerror(errno);
    int error = errno;
    if (fd >= 0)
        close(fd);
    errno = error;
    return -1;
}

static struct hub *make(const char *path, int fd, int lock)
{
    struct hub *hub = mem_zalloc(sizeof *hub);
    hub->thread = bus_thread_retain();
    if (hub->thread == NULL) {
        mem_free(hub);
        return NULL;
    }
    hub->process = getpid();
    hub->fd = fd;
    hub->lock = lock;
    hub->path = mem_alloc(strlen(path) + 1);
    memcpy(hub->path, path, strlen(path) + 1);
    list_init(&hub->members);
    list_init(&hub->queries);
    list_init(&hub->late);
    table_init(&hub->clients);
    table_init(&hub->groups);
    table_init(&hub->channels);
    hub->begin.run = on_begin;
    hub->end.run = on_finish;
    return hub;
}

struct hub *hub_create(const char *path, char *error, size_t size)
{
    const char *why = "it is longer than the path of a socket may be";
    struct hub *hub = NULL;
    int fd = -1;
    errno = ENAMETOOLONG;
    int lock = strlen(path) < sizeof((struct sockaddr_un *)0)->sun_path ? take_lock(path, &why) : -1;
    if (lock < 0)
        goto fail;
    fd = bind_socket(path, &why);
    if (fd < 0)
        goto fail;
    hub = make(path, fd, lock);
    if (hub == NULL) {
        why = "the system has no thread left for it";
        errno = EAGAIN;
        goto fail;
    }
    own_sockets_lock();
    own_sockets_add(fd);
    own_sockets_add(lock);
    own_sockets_unlock();
    bus_thread_post(hub->thread, &hub->begin);
    return hub;
fail:
    snprintf(error, size, "the hub %s cannot be opened: %s", path, why);
    int number = errno;
    if (fd >= 0)
        close(fd);
    if (lock >= 0)
        close(lock);
    errno = number;
    return NULL;
}

void hub_close(struct hub *hub)
{
    if (hub->process != getpid())
        return; /* a child of the fork has neither the thread nor the socket's name to take away */
    unlink(hub->path);
    flock(hub->lock, LOCK_UN); /* not close() alone: a child may have the lock open too */
    own_sockets_close(hub->lock);
    bus_thread_post(hub->thread, &hub->end);
}

void hub_stats(struct hub *hub, struct hub_stats *stats)
{
    stats->members = atomic_load(&hub->member_count);
    stats->groups = atomic_load(&hub->group_count);
    stats->published = atomic_load(&hub->published);
    stats->forwarded = atomic_load(&hub->forwarded);
    stats->dropped = atomic_load(&hub->dropped);
    stats->refused = atomic_load(&hub->refused);
}
