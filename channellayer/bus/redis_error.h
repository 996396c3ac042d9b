/* redis_error.h: what an error reply of a Redis means for whoever gets it.
 *
 * Owner:   nobody.
 * Thread:  any.
 * Limits:  it knows the errors by their first word, and Redis 6's errors of scripts by what they quote.
 */
#ifndef PENEUS_CHANNELLAYER_BUS_REDIS_ERROR_H
#define PENEUS_CHANNELLAYER_BUS_REDIS_ERROR_H

enum redis_error {
    REDIS_ERROR_REFUSED, /* the command, by this server, as things are: NOPERM, OOM, WRONGTYPE and all others */
    REDIS_ERROR_AWAY,    /* everything: it is not the master, or does not serve yet: READONLY, LOADING, MASTERDOWN, UNBLOCKED, NOAUTH */
    REDIS_ERROR_MOVED,   /* the slot is another node's, or will be served soon: MOVED, ASK, TRYAGAIN, CLUSTERDOWN */
};

/* text: the error, without "-". */
enum redis_error redis_error_kind(const char *text);

#endif
