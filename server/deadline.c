#include "server/deadline.h"

#include <string.h>

static void arm(struct deadlines *deadlines);

static void on_timer(uv_timer_t *timer)
{
    struct deadlines *deadlines = timer->data;
    uint64_t now = uv_now(timer->loop);
    deadlines->armed = 0;
    for (int which = 0; which < DEADLINE_COUNT; which++) {
        if (deadlines->at[which] == 0 || deadlines->at[which] > now)
            continue;
        deadlines->at[which] = 0;
        deadlines->passed(deadlines->context, which);
        if (uv_is_closing((uv_handle_t *)timer))
            return;
    }
    arm(deadlines);
}

/* Starts the timer for the nearest deadline, unless it fires before that anyway. */
static void arm(struct deadlines *deadlines)
{
    uint64_t nearest = 0;
    for (int which = 0; which < DEADLINE_COUNT; which++)
        if (deadlines->at[which] != 0 && (nearest == 0 || deadlines->at[which] < nearest))
            nearest = deadlines->at[which];
    if (nearest == 0 || (deadlines->armed != 0 && deadlines->armed <= nearest))
        return;
    uint64_t now = uv_now(deadlines->timer.loop);
    deadlines->armed = nearest;
    uv_timer_start(&deadlines->timer, on_timer, nearest > now ? nearest - now : 0, 0);
}

void deadlines_init(struct deadlines *deadlines, uv_loop_t *loop, void (*passed)(void *context, enum deadline which),
                    void *context)
{
    memset(deadlines, 0, sizeof *deadlines);
    uv_timer_init(loop, &deadlines->timer);
    deadlines->timer.data = deadlines;
    deadlines->passed = passed;
    deadlines->context = context;
}

void deadline_set(struct deadlines *deadlines, enum deadline which, uint64_t ms)
{
    uv_timer_t *timer = &deadlines->timer;
    if (ms == 0 || uv_is_closing((uv_handle_t *)timer)) {
        deadlines->at[which] = 0;
        return;
    }
    deadlines->at[which] = uv_now(timer->loop) + ms;
    if (deadlines->armed == 0 || deadlines->at[which] < deadlines->armed)
        arm(deadlines);
}
