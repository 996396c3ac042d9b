#include "server/unsent.h"

#include "server/connection.h"

void unsent_init(struct unsent *unsent)
{
    *unsent = (struct unsent){ 0 };
    list_init(&unsent->holders);
}

void unsent_holder_init(struct unsent_holder *holder, struct connection *connection, struct unsent *unsent)
{
    *holder = (struct unsent_holder){ .connection = connection, .unsent = unsent };
    list_init(&holder->of_unsent);
}

void unsent_set(struct unsent_holder *holder, size_t bytes)
{
    struct unsent *unsent = holder->unsent;
    if (unsent == NULL)
        return;
    if (holder->bytes == 0 && bytes > 0) {
        holder->taken = transport_delivered(&holder->connection->transport);
        list_append(&unsent->holders, &holder->of_unsent);
        unsent->count++;
    } else if (holder->bytes > 0 && bytes == 0) {
        list_remove(&holder->of_unsent);
        unsent->count--;
    }
    unsent->bytes += bytes - holder->bytes;
    holder->bytes = bytes;
}

/* Whether the client has taken something since the last look. */
static bool has_moved(struct unsent_holder *holder)
{
    uint64_t before = holder->taken;
    holder->taken = transport_delivered(&holder->connection->transport);
    return holder->taken != before;
}

struct connection *unsent_find_stalled(struct unsent *unsent)
{
    struct unsent_holder *first = NULL;
    if (unsent->count < 2)
        return NULL;
    /* A client that has taken something goes to the end of the list. Somebody holds the average or more, so one is always found. */
    for (size_t i = 0; i < unsent->count; i++) {
        struct unsent_holder *holder = list_entry(unsent->holders.next, struct unsent_holder, of_unsent);
        bool moved = has_moved(holder);
        list_remove(&holder->of_unsent);
        list_append(&unsent->holders, &holder->of_unsent);
        if (holder->bytes < unsent->bytes / unsent->count)
            continue;
        if (!moved)
            return holder->connection;
        if (first == NULL)
            first = holder;
    }
    return first->connection;
}
