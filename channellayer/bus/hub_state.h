/* hub_state.h: what the hub consists of. Private to hub_server.c, hub_topic.c and hub_query.c.
 *
 * Owner:   the hub.
 * Thread:  the bus thread, except the counters.
 * Limits:  see hub_server.h.
 */
#ifndef PENEUS_CHANNELLAYER_BUS_HUB_STATE_H
#define PENEUS_CHANNELLAYER_BUS_HUB_STATE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <sys/types.h>

#include "channellayer/bus/hub_pipe.h"
#include "channellayer/bus/hub_server.h"
#include "channellayer/bus/thread.h"
#include "channellayer/bytes.h"
#include "channellayer/mailbox.h"
#include "channellayer/table.h"

/* A process. */
struct hub_member {
    struct hub_pipe pipe;
    struct hub *hub;
    struct list_node of_hub;
    struct list_node follows;    /* of struct hub_follow */
    struct table_node by_client; /* once it has said hello */
    bool greeted;
    bool gap;                    /* it has lost messages and is to be told, when there is room */
    size_t client_length;
    char client[HUB_NAME_LIMIT];
};

/* A group, or a channel that anybody may receive from. It exists while somebody follows it or messages wait in it. */
struct hub_topic {
    struct table_node by_name;
    struct table *table;         /* of groups, or of channels */
    struct list_node followers;  /* of struct hub_follow; of a channel: the next one to get a message first */
    struct mailbox waiting;      /* of a channel that nobody follows */
    struct name name;
    char text[];
};

struct hub_follow {
    struct list_node of_topic;
    struct list_node of_member;
    struct hub_topic *topic;
    struct hub_member *member;
};

/* A question that one member has asked, and others are to answer. */
struct hub_query {
    struct list_node of_hub;
    uint64_t id;
    struct hub_member *asker; /* NULL: it has gone */
    uint64_t number;          /* the asker's */
    struct hub_member **asked; /* those whose answers are missing; NULL where one has come; mem_free() */
    size_t asked_count;
    size_t missing;           /* answers */
    bool partial;             /* somebody could not be asked */
    uint64_t until;           /* loop time */
    struct bytes names;
};

struct hub {
    struct bus_thread *thread;
    struct bus_task begin, end;
    uv_pipe_t listener;
    uv_timer_t clock;    /* of queries and waiting messages */
    unsigned handles;
    int fd;              /* of the listener, until it is opened */
    int lock;            /* whoever holds it is the hub */
    pid_t process;       /* that created it */
    char *path;
    bool closing;
    struct list_node members;
    struct table clients;
    struct table groups;
    struct table channels;
    size_t waiting_channels;
    size_t waiting_bytes;     /* in all of them */
    struct list_node queries;
    uint64_t last_query;
    bool settled;             /* HUB_GRACE_MS have passed */
    struct list_node late;    /* hub_grace.c */
    size_t late_bytes;
    bool late_gap;            /* there was no room for all of it */
    _Atomic uint64_t member_count, group_count, published, forwarded, dropped, refused;
};

/* Writes chunk to member, and sees to it that it hears of what it misses. */
void hub_write(struct hub_member *member, struct hub_chunk *chunk);

/* Says to member, as soon as its output has room, that there was a gap. */
void hub_tell_gap(struct hub_member *member);

/* hub_topic.c. follow() and put() are false when there is no memory. */
bool hub_follow(struct hub_member *member, struct table *table, struct name name);
void hub_unfollow(struct hub_member *member, struct table *table, struct name name);
void hub_unfollow_all(struct hub_member *member);
struct hub_topic *hub_topic_find(const struct table *table, struct name name);
void hub_publish(struct hub *hub, const struct hub_member *from, const struct hub_frame *frame); /* from: or NULL */
void hub_send(struct hub *hub, const struct hub_frame *frame);
void hub_expire_waiting(struct hub *hub);
void hub_topics_free(struct hub *hub, struct table *table);

/* hub_server.c: a PUBLISH, SEND or SETTLE of from; NULL: which has gone. */
void hub_route(struct hub *hub, struct hub_member *from, const struct hub_frame *frame);

/* hub_grace.c: while the hub is new, what hub_route() would do waits. */
bool hub_is_new(const struct hub *hub);
bool hub_keep_late(struct hub_member *from, const struct hub_frame *frame); /* false: no room for a SETTLE, which must be answered */
void hub_late_forget(struct hub *hub, const struct hub_member *member);
void hub_settle_down(struct hub *hub);
void hub_late_free(struct hub *hub);

/* hub_query.c */
void hub_ask(struct hub_member *asker, const struct hub_frame *frame);
void hub_answered(struct hub_member *member, const struct hub_frame *frame);
void hub_queries_expire(struct hub *hub, uint64_t now);
void hub_queries_forget(struct hub *hub, const struct hub_member *member);
void hub_queries_free(struct hub *hub);

#endif
