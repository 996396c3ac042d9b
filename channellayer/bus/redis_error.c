#include "channellayer/bus/redis_error.h"

#include <stdbool.h>
#include <stddef.h>
#include <string.h>

static bool begins_with_one(const char *text, const char *const *words)
{
    for (; *words != NULL; words++) {
        size_t length = strlen(*words);
        if (strncmp(text, *words, length) == 0 && (text[length] == ' ' || text[length] == '\0'))
            return true;
    }
    return false;
}

enum redis_error redis_error_kind(const char *text)
{
    static const char *const away[] = { "READONLY", "LOADING", "MASTERDOWN", "UNBLOCKED", "NOAUTH", NULL };
    static const char *const moved[] = { "MOVED", "ASK", "TRYAGAIN", "CLUSTERDOWN", NULL };
    static const char in_script[] = "ERR Error running script";
    if (begins_with_one(text, away))
        return REDIS_ERROR_AWAY;
    if (begins_with_one(text, moved))
        return REDIS_ERROR_MOVED;
    const char *quoted = strncmp(text, in_script, sizeof in_script - 1) == 0 ? strstr(text, " -") : NULL;
    return quoted != NULL && begins_with_one(quoted + 2, away) ? REDIS_ERROR_AWAY : REDIS_ERROR_REFUSED;
}
