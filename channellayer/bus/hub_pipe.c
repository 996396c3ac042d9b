#include "channellayer/bus/hub_pipe.h"

#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/own_sockets.h"

enum { READ_SIZE = 64 * 1024, PIECES = 64 };

struct waiting {
    struct list_node link;
    struct hub_chunk *chunk; /* counted */
};

struct hub_write {
    uv_write_t request;
    struct hub_pipe *pipe;
    unsigned count;
    uv_buf_t pieces[PIECES];
};

static size_t weight(const struct hub_chunk *chunk)
{
    return sizeof(struct waiting) + sizeof *chunk + chunk->length;
}

static void end(struct hub_pipe *pipe)
{
    if (pipe->ended)
        return;
    pipe->ended = true;
    pipe->callbacks->on_end(pipe);
}

int hub_pipe_init(struct hub_pipe *pipe, uv_loop_t *loop, const struct hub_pipe_callbacks *callbacks, size_t out_limit)
{
    memset(pipe, 0, sizeof *pipe);
    pipe->callbacks = callbacks;
    pipe->out_limit = out_limit;
    list_init(&pipe->out);
    int error = uv_pipe_init(loop, &pipe->pipe, 0);
    pipe->handle.data = pipe;
    return error;
}

static void on_alloc(uv_handle_t *handle, size_t suggested, uv_buf_t *buffer)
{
    struct hub_pipe *pipe = handle->data;
    (void)suggested;
    if (pipe->in_room - pipe->in_length < READ_SIZE) {
        size_t room = pipe->in_length + READ_SIZE > 2 * pipe->in_room ? pipe->in_length + READ_SIZE : 2 * pipe->in_room;
        unsigned char *in = mem_try_realloc(pipe->in, room);
        if (in == NULL) {
            *buffer = uv_buf_init(NULL, 0); /* on_read gets UV_ENOBUFS */
            return;
        }
        pipe->in = in;
        pipe->in_room = room;
    }
    *buffer = uv_buf_init((char *)pipe->in + pipe->in_length, (unsigned)(pipe->in_room - pipe->in_length));
}

/* Gives every whole frame, and keeps what is left. */
static void give_frames(struct hub_pipe *pipe)
{
    size_t used = 0, taken;
    struct hub_frame frame;
    int got = 0;
    while (!uv_is_closing(&pipe->handle) &&
           (got = hub_frame_read(pipe->in + used, pipe->in_length - used, &frame, &taken)) == 1) {
        used += taken;
        if (!pipe->callbacks->on_frame(pipe, &frame)) {
            got = -1;
            break;
        }
    }
    if (got < 0)
        end(pipe);
    if (uv_is_closing(&pipe->handle))
        return;
    memmove(pipe->in, pipe->in + used, pipe->in_length - used);
    pipe->in_length -= used;
    if (pipe->in_length == 0 && pipe->in_room > READ_SIZE) {
        mem_free(pipe->in);
        pipe->in = NULL;
        pipe->in_room = 0;
    }
}

static void on_read(uv_stream_t *stream, ssize_t length, const uv_buf_t *buffer)
{
    struct hub_pipe *pipe = stream->data;
    (void)buffer;
    if (length < 0) {
        end(pipe);
        return;
    }
    pipe->in_length += (size_t)length;
    give_frames(pipe);
}

void hub_pipe_begin(struct hub_pipe *pipe)
{
    if (uv_read_start(&pipe->stream, on_alloc, on_read) != 0)
        end(pipe);
}

struct hub_chunk *hub_chunk_create(const struct hub_frame *frame, bool droppable)
{
    unsigned char head[HUB_HEAD_SIZE + HUB_NAME_LIMIT];
    if (hub_frame_write_head(frame, head) != 0)
        return NULL;
    size_t head_length = HUB_HEAD_SIZE + frame->name.length;
    struct hub_chunk *chunk = mem_try_alloc(sizeof *chunk + hub_frame_size(frame));
    if (chunk == NULL)
        return NULL;
    *chunk = (struct hub_chunk){ .references = 1, .droppable = droppable, .length = hub_frame_size(frame) };
    memcpy(chunk->bytes, head, head_length);
    if (frame->payload.length > 0)
        memcpy(chunk->bytes + head_length, frame->payload.bytes, frame->payload.length);
    return chunk;
}

void hub_chunk_release(struct hub_chunk *chunk)
{
    if (chunk != NULL && --chunk->references == 0)
        mem_free(chunk);
}

static void forget(struct hub_pipe *pipe, struct waiting *waiting)
{
    list_remove(&waiting->link);
    pipe->out_bytes -= weight(waiting->chunk);
    hub_chunk_release(waiting->chunk);
    mem_free(waiting);
}

static void write_waiting(struct hub_pipe *pipe);

static void on_write(uv_write_t *request, int status)
{
    struct hub_write *write = (struct hub_write *)request;
    struct hub_pipe *pipe = write->pipe;
    for (unsigned i = 0; i < write->count; i++)
        forget(pipe, list_entry(pipe->out.next, struct waiting, link));
    pipe->writing = 0;
    mem_free(write);
    if (uv_is_closing(&pipe->handle))
        return;
    if (status != 0) {
        end(pipe);
        return;
    }
    write_waiting(pipe);
    if (pipe->callbacks->on_written != NULL && !uv_is_closing(&pipe->handle))
        pipe->callbacks->on_written(pipe);
}

static void write_waiting(struct hub_pipe *pipe)
{
    if (pipe->writing > 0 || list_empty(&pipe->out) || uv_is_closing(&pipe->handle) || pipe->ended)
        return;
    struct hub_write *write = mem_alloc(sizeof *write);
    write->pipe = pipe;
    write->count = 0;
    for (struct list_node *node = pipe->out.next; node != &pipe->out && write->count < PIECES; node = node->next) {
        struct hub_chunk *chunk = list_entry(node, struct waiting, link)->chunk;
        write->pieces[write->count++] = (uv_buf_t){ .base = (char *)chunk->bytes, .len = chunk->length };
    }
    pipe->writing = write->count;
    if (uv_write(&write->request, &pipe->stream, write->pieces, write->count, on_write) == 0)
        return;
    /* The peer has gone: reading says so soon. Not here, where whoever writes may be walking a list of pipes. */
    pipe->writing = 0;
    mem_free(write);
}

/* One frame always fits. */
static bool fits(const struct hub_pipe *pipe, size_t needed)
{
    return pipe->out_limit == 0 || pipe->out_bytes == 0 || pipe->out_bytes + needed <= pipe->out_limit;
}

/* Drops the oldest droppable chunks that libuv has not got, until needed more fit. */
static void make_room(struct hub_pipe *pipe, size_t needed)
{
    struct list_node *node = pipe->out.next;
    for (unsigned i = 0; i < pipe->writing; i++)
        node = node->next;
    while (node != &pipe->out && !fits(pipe, needed)) {
        struct waiting *waiting = list_entry(node, struct waiting, link);
        node = node->next;
        if (!waiting->chunk->droppable)
            continue;
        pipe->dropped++;
        forget(pipe, waiting);
    }
}

bool hub_pipe_write(struct hub_pipe *pipe, struct hub_chunk *chunk)
{
    if (uv_is_closing(&pipe->handle) || pipe->ended)
        return true; /* whoever is gone misses nothing */
    uint64_t before = pipe->dropped;
    if (chunk->droppable && !fits(pipe, weight(chunk))) {
        make_room(pipe, weight(chunk));
        if (!fits(pipe, weight(chunk))) {
            pipe->dropped++;
            return false;
        }
    }
    if (!chunk->droppable && pipe->out_limit > 0 && pipe->out_bytes > 2 * pipe->out_limit)
        return false;
    struct waiting *waiting = mem_try_alloc(sizeof *waiting);
    if (waiting == NULL) {
        pipe->dropped++;
        return false;
    }
    waiting->chunk = chunk;
    chunk->references++;
    pipe->out_bytes += weight(chunk);
    list_append(&pipe->out, &waiting->link);
    write_waiting(pipe);
    return pipe->dropped == before;
}

bool hub_pipe_say(struct hub_pipe *pipe, const struct hub_frame *frame)
{
    struct hub_chunk *chunk = hub_chunk_create(frame, false);
    bool said = chunk != NULL && hub_pipe_write(pipe, chunk);
    hub_chunk_release(chunk);
    if (!said)
        end(pipe);
    return said;
}

bool hub_pipe_is_same_user(const struct hub_pipe *pipe)
{
    struct ucred peer;
    socklen_t size = sizeof peer;
    uv_os_fd_t fd;
    return uv_fileno(&pipe->handle, &fd) == 0 && getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &size) == 0 &&
           peer.uid == geteuid();
}

static void on_close(uv_handle_t *handle)
{
    struct hub_pipe *pipe = handle->data;
    while (!list_empty(&pipe->out))
        forget(pipe, list_entry(pipe->out.next, struct waiting, link));
    mem_free(pipe->in);
    pipe->in = NULL;
    pipe->callbacks->on_closed(pipe);
}

static int descriptor_of(const struct hub_pipe *pipe)
{
    uv_os_fd_t fd;
    return uv_fileno(&pipe->handle, &fd) == 0 ? fd : -1;
}

void hub_pipe_connect(struct hub_pipe *pipe, uv_connect_t *request, const char *path, uv_connect_cb on_connect)
{
    own_sockets_lock();
    uv_pipe_connect(request, &pipe->pipe, path, on_connect);
    own_sockets_add(descriptor_of(pipe));
    own_sockets_unlock();
}

int hub_pipe_accept(struct hub_pipe *pipe, uv_stream_t *listener)
{
    own_sockets_lock();
    int error = uv_accept(listener, &pipe->stream);
    own_sockets_add(descriptor_of(pipe));
    own_sockets_unlock();
    return error;
}

void hub_pipe_close(struct hub_pipe *pipe)
{
    if (uv_is_closing(&pipe->handle))
        return;
    own_sockets_lock();
    own_sockets_remove(descriptor_of(pipe));
    uv_close(&pipe->handle, on_close);
    own_sockets_unlock();
}
