/* owner.h: whose the channels are. A connection opens an owner, closes it when its client is gone, and ends it when its
 * application is.
 *
 * Owner:   one registry for the process; it outlives every layer.
 * Thread:  any. owner_open and owner_close take only short locks: the I/O thread calls them.
 * Limits:  OWNER_REPORT_GROUPS group names are kept for the report of a killed application.
 *
 *     owner_open            owner_close                 owner_end
 *   ───────────────▶ OPEN ──────────────▶ CLOSED ──────────────────▶ gone
 *                      └─────────────── owner_end ─────────────────────┘
 *
 * OPEN:   its channels may join groups.
 * CLOSED: every membership of its channels is gone, in all layers, and none can be made; direct sends still arrive.
 * gone:   its channels and their messages are freed; a channel made for it later is never stored.
 */
#ifndef PENEUS_CHANNELLAYER_OWNER_H
#define PENEUS_CHANNELLAYER_OWNER_H

#include <stddef.h>
#include <stdint.h>

struct owners;

struct outlet;

enum { OWNER_REPORT_GROUPS = 64 };

/* What an owner holds, or held when it was closed. */
struct owner_report {
    size_t channels;
    size_t groups;           /* memberships, all of them */
    uint64_t queued;         /* messages in its mailboxes now */
    uint64_t queued_bytes;
    uint64_t dropped;        /* group messages that overflow dropped at its mailboxes */
    size_t name_count;       /* of names, at most OWNER_REPORT_GROUPS */
    char *names[OWNER_REPORT_GROUPS]; /* group names, NUL-terminated; mem_free() each */
};

/* overflow_close(context, tag) is called, without a lock and on the sender's thread, for OVERFLOW_CLOSE. */
struct owners *owners_create(void (*overflow_close)(void *context, uint64_t tag), void *context);

/* Every layer must have been released. */
void owners_destroy(struct owners *owners);

/* A new owner, OPEN. tag is the caller's: overflow_close gets it. outlet (a reference is taken; NULL: none) and socket say
 * where messages go that are meant for its client (outlet.h). Never 0; 0 is "no owner" everywhere. */
uint64_t owner_open(struct owners *owners, uint64_t tag, struct outlet *outlet, uint64_t socket);

/* Its client takes messages from now on: those that waited go first. Stale, or without outlet: nothing. */
void owner_accept(struct owners *owners, uint64_t id);

/* OPEN -> CLOSED: when it returns, no channel of id is in any group of any layer. Twice, or stale: nothing. */
void owner_close(struct owners *owners, uint64_t id);

/* -> gone. Twice, or stale: nothing. */
void owner_end(struct owners *owners, uint64_t id);

/* Fills report; 0, or -1 when id is gone. */
int owner_describe(struct owners *owners, uint64_t id, struct owner_report *report);

#endif
