/* core_state.h: what the core bus consists of. Private to redis_core.c and core_*.c.
 *
 * Owner:   the bus.
 * Thread:  the bus thread.
 * Limits:  see redis_core.h.
 *
 *   redis_core.c    what the layer asks, time, beginning and end
 *   core_shard.c    the two connections to each Redis, and what their loss means
 *   core_members.c  memberships: what is wanted, and what the groups' sorted sets have
 *   core_adopt.c    members that another process has made of this one's channels
 *   core_review.c   what those have besides, when a connection is back
 *   core_gap.c      who may have missed messages, and is told
 *   core_census.c   which processes live, so that those of the dead end
 *   core_listen.c   the keys that this process receives from, and the loop that empties them
 *   core_publish.c  messages on their way out, in order
 *   core_letters.c  one group message, for each key that it goes to
 *   core_wire.c     a message as it lies in a sorted set
 */
#ifndef PENEUS_CHANNELLAYER_BUS_CORE_STATE_H
#define PENEUS_CHANNELLAYER_BUS_CORE_STATE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <uv.h>

#include "base/list.h"
#include "channellayer/bus/fernet.h"
#include "channellayer/bus/ledger.h"
#include "channellayer/bus/patience.h"
#include "channellayer/bus/redis_config.h"
#include "channellayer/bus/redis_link.h"
#include "channellayer/bus/remote.h"
#include "channellayer/bytes.h"
#include "channellayer/table.h"

enum {
    CORE_ACTIVE = 64,           /* group messages at once: each may be as large as all names of its members */
    CORE_SHARDS = 64,           /* a bit for each in core_job.served */
    CORE_TICK_MS = 100,
    CORE_STOP_MS = 1000,        /* that what was asked for last may take when the layer is gone */
    CORE_BLOCK_S = 5,           /* of one BZPOPMIN */
    CORE_SILENCE_MS = 9000,     /* of a link that is in one */
    CORE_RETRY_MS = 1000,       /* after an error of BZPOPMIN */
    CORE_ROOM = 64,             /* times the capacity: messages on their way to a process of Peneus */
    CORE_DRAIN = 128,           /* messages that are fetched at once behind the first */
};

struct core;
struct core_letter;

/* Context of both its links. */
struct core_shard {
    struct core *core;
    struct redis_link *commands;
    struct redis_link *listener;
    bool was_up;        /* commands has been up before */
    struct patience patience; /* with commands */
    bool was_listening; /* listener has */
    bool blocked;       /* a BZPOPMIN is unanswered */
    uint64_t listened;  /* core.keys_version that it knows */
    int64_t listener_id; /* for CLIENT UNBLOCK; 0: not known */
    bool unblocking;    /* a CLIENT UNBLOCK is unanswered */
    uint64_t listen_at; /* after an error: not before; 0: at once */
    bool counted;       /* the census has had this process, through the present connection */
    bool unheard;       /* listener was lost while messages came this way: they may have been missed, of any group */
    bool gap;           /* or some have, of groups on it (core_group_missed()) */
    size_t restoring;   /* members that are being written again */
};

enum core_stage {
    CORE_QUEUED,  /* its turn has not come, or its Redis is away (core.queued, core.waiting) */
    CORE_LOOKING, /* a group message: who is in the group is being asked (core.flow) */
    CORE_READY,   /* is sent when those before it have been (core.flow) */
    CORE_SENT,    /* answers are outstanding (core.sent) */
};

/* Something that the layer asked for. */
struct core_job {
    struct list_node link;
    struct core *core;
    struct remote_item *item; /* NULL: it has been ended */
    uint64_t asked_at;
    uint64_t number;             /* grows with each job */
    struct note note;
    enum core_stage stage;
    bool failed;
    char *refusal;               /* what a Redis said against it; mem_free(); or NULL */
    bool again;                  /* some of its shards were away */
    unsigned answers;            /* outstanding */
    uint64_t served;             /* shards that have got it, a bit for each */
    struct core_letter *letters; /* first of those that are not sent; NULL: none, or not known */
    bool full;                   /* SEND: its channel had no room */
    struct remote_item *settle;  /* SEND: a REMOTE_SETTLE that was asked for right behind it; or NULL */
};

struct core {
    struct remote remote; /* first */
    struct redis_settings *settings;
    struct fernet *fernet; /* NULL: messages are not encrypted */
    struct core_shard *shards;
    size_t shard_count;
    size_t closing; /* links and timers that are not closed yet */
    uv_timer_t timer;
    uv_timer_t census;
    uint64_t stop_at; /* 0: the layer lives */
    bool closed;      /* the links are being destroyed */
    struct ledger ledger;
    double last_score;

    struct table members;
    struct table groups;
    struct list_node refused; /* members that are to be tried again */
    size_t open_members;      /* on which Redis and we do not agree */
    size_t refused_members;   /* of them, those that Redis has refused */
    unsigned idle_turns;      /* of the census */

    struct table keys;
    uint64_t keys_version;  /* grows with each that is added */

    struct list_node queued;  /* jobs, in order */
    struct list_node waiting; /* for a connection, in order */
    struct list_node flow;    /* in order */
    struct list_node sent;    /* and FLUSH, QUERY */
    unsigned active;          /* group messages in flow and sent */
    size_t owing;             /* jobs in sent with again */
    size_t job_count;
    uint64_t last_number;     /* of a job */
    struct list_node unasked; /* jobs: QUERY whose Redis is away */
    struct core_job *last_send; /* it was the last thing asked for; or NULL */
    bool last_was_full;         /* the last thing asked for was a SEND, which is over: its channel had no room */
    uint64_t last_full;         /* the hash of that channel's name */
    size_t next_shard;        /* of a message to a channel without "!": in turn, as channels_redis does */
};

static inline struct core *core_of(struct remote *remote)
{
    return (struct core *)remote;
}

/* redis_core.c */
struct core_job *core_job_create(struct core *core, struct remote_item *item);
/* Ends it: done, or refused where job->refusal says so, or failed otherwise. */
void core_job_done(struct core_job *job, bool done);
/* reply, which is not what was wanted, or NULL, has failed it: core_job_done() follows. */
void core_job_failed(struct core_job *job, const struct redisReply *reply);
/* Whether reply says that its server is not the one to use now: the job is for another connection. */
bool core_is_away(const struct redisReply *reply);
void core_begin_ticking(struct core *core);
void core_closed(struct core *core); /* one of core.closing */
uint64_t core_wall_seconds(void);

enum { CORE_SCORE_SIZE = 40 };

/* Seconds since 1970 as text, each more than the one before, so that messages keep their order. */
void core_score(struct core *core, char text[CORE_SCORE_SIZE]);

/* core_shard.c */
/* Others thought that this process was dead: joins its groups again. */
void core_shard_forgotten(struct core_shard *shard);
void core_shards_begin(struct core *core);
int core_send(struct core_shard *shard, size_t count, const struct name *words,
              void (*on_reply)(void *context, void *argument, const struct redisReply *reply), void *argument);

/* core_members.c */
void core_join(struct core *core, struct remote_item *item);
void core_leave(struct core *core, struct remote_item *item);
/* Who joined group is told that it is not confirmed yet: once it is, messages may have been missed. */
void core_join_late(struct core *core, struct name group);
/* A member that Redis has is taken out, unless it is wanted. key: of its group's sorted set. */
void core_disown(struct core *core, struct name key, struct name channel);
void core_members_restore(struct core_shard *shard); /* writes them all again */
void core_members_tick(struct core *core, uint64_t now);
void core_members_free(struct core *core);
/* Whether messages of group may have been missed; and its members of a shard's groups have been told. */
bool core_group_missed(const struct core *core, struct name group);
void core_groups_told(struct core_shard *shard);

/* core_adopt.c */
/* Makes channel, of another process of Peneus, a member of a group. */
int core_adopt_ask(struct core_shard *shard, struct name group_key, struct name channel,
                   void (*on_reply)(void *context, void *argument, const struct redisReply *reply), void *argument);
/* Tells that process that its channel has joined group, or left. */
void core_adopt_tell(struct core *core, struct name group, struct name channel, bool joined, enum overflow overflow);
/* message came for channel. True: it was such a one, and is done. */
bool core_adopt(struct core *core, struct layer *layer, struct name channel, const struct message *message);

/* core_review.c */
void core_review(struct core_shard *shard);

/* core_gap.c */
/* The listener of shard is lost. */
void core_gap_unheard(struct core_shard *shard);
/* Some of its groups have core_group_missed(). */
void core_gap_soon(struct core_shard *shard);
/* Tells those shards' members whose connections are back. waits: there are others. */
void core_gap_tick(struct core *core, bool *waits);

/* core_query.c */
void core_query(struct core *core, struct core_job *job);
void core_query_resume(struct core *core);
void core_query_expire(struct core *core, uint64_t then);

/* core_census.c */
void core_census_begin(struct core *core);
extern const char core_alive_infix[]; /* behind the prefix, in the key of those that live */
extern const char core_groups_infix[]; /* between the prefix and a client, in the key of the list of its groups */
/* Says that this process lives, if it does, and looks for the dead. */
void core_census_say(struct core_shard *shard);
/* Puts a group into the list of this process's groups, or takes it out. False: it could not be sent. */
bool core_census_list(struct core_shard *shard, struct name group_key, bool listed,
                      void (*on_reply)(void *context, void *argument, const struct redisReply *reply), void *argument);

/* core_listen.c */
void core_made(struct core *core, struct name channel);
void core_wanted(struct core *core, struct name channel, size_t receivers);
void core_gone(struct core *core, struct name channel);
void core_listen(struct core_shard *shard);
void core_listen_tick(struct core *core, uint64_t now, bool *waits);
void core_listener_up(struct core_shard *shard);
void core_keys_free(struct core *core);
bool core_receives_at(const struct core *core, size_t shard); /* whether a process-local key of ours is on it */

/* core_publish.c */
void core_publish(struct core *core, struct core_job *job); /* PUBLISH, SEND or FLUSH */

void core_pump(struct core *core);
void core_resume(struct core *core); /* a connection has come back */
void core_publish_expire(struct core *core, uint64_t then);

/* core_letters.c */
/* A message for one key: all of the channels under it get it. */
struct core_letter {
    struct core_letter *next;
    size_t shard;
    size_t capacity;
    struct bytes text;
    struct name key;
    char key_text[];
};

/* Makes job's letters for those of count channels whose shard has not been served. 0, or -1: no memory, or the message is no map. */
int core_letters_write(struct core_job *job, const struct name *channels, size_t count);
void core_letters_free(struct core_job *job);

/* core_wire.c */
/* prefix, between and name, and the whole of it in *whole; mem_free() it. */
char *core_text(const struct core *core, const char *between, struct name name, struct name *whole);
extern const char core_group_infix[];
/* The same for the key of a group's sorted set. */
char *core_group_key(const struct core *core, struct name group, struct name *key);
/* What of a channel's name is in the key that its messages lie under: everything up to its "!". */
struct name core_key_name(struct name channel);
/* The client in the name of a channel of a process of Peneus; empty: it is of another. */
struct name core_peneus_client(struct name channel);
size_t core_capacity(const struct redis_settings *settings, struct name channel);
/* Appends message for names as it lies in a sorted set. 0, or -1: no memory, or no map. */
int core_seal(struct core *core, struct bytes *out, const struct message *message, const struct name *names, size_t count, bool list);
/* Puts what lay in a sorted set into the channels it names; general: or into that one (bytes NULL: none). */
void core_deliver(struct core *core, const void *member, size_t length, struct name general);

#endif
