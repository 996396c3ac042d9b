#include "asgi/peers.h"

#include <sys/socket.h>

#include "base/alloc.h"

static int fill(struct peer *peer, const struct endpoints *endpoints)
{
    if (endpoints->family == AF_UNIX) {
        peer->client = Py_NewRef(Py_None);
        PyObject *path = PyUnicode_DecodeFSDefault(endpoints->server_host);
        peer->server = path == NULL ? NULL : PyTuple_Pack(2, path, Py_None);
        Py_XDECREF(path);
    } else {
        peer->client = Py_BuildValue("(si)", endpoints->client_host, (int)endpoints->client_port);
        peer->server = Py_BuildValue("(si)", endpoints->server_host, (int)endpoints->server_port);
    }
    return peer->client == NULL || peer->server == NULL ? -1 : 0;
}

static void empty(struct peer *peer)
{
    peer->connection = 0;
    Py_CLEAR(peer->client);
    Py_CLEAR(peer->server);
}

const struct peer *peers_get(struct peers *peers, uint64_t connection, const struct endpoints *endpoints)
{
    if (peers->peers == NULL)
        peers->peers = mem_zalloc(PEERS * sizeof *peers->peers);
    struct peer *peer = &peers->peers[connection % PEERS];
    if (peer->connection == connection && connection != 0)
        return peer;
    empty(peer);
    if (fill(peer, endpoints) < 0) {
        empty(peer);
        return NULL;
    }
    peer->connection = connection;
    return peer;
}

void peers_clear(struct peers *peers)
{
    for (size_t i = 0; peers->peers != NULL && i < PEERS; i++)
        empty(&peers->peers[i]);
    mem_free(peers->peers);
    peers->peers = NULL;
}
