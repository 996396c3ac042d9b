#include "server/trim.h"

#include <malloc.h>

static void work(uv_work_t *work)
{
    (void)work;
#ifdef __GLIBC__
    malloc_trim(0);
#endif
}

static void on_done(uv_work_t *work, int status)
{
    struct trim *trim = work->data;
    (void)status;
    trim->due = false;
}

static void on_timer(uv_timer_t *timer)
{
    struct trim *trim = timer->data;
    trim->most = 0;
    trim->due = uv_queue_work(timer->loop, &trim->work, work, on_done) == 0;
}

void trim_init(struct trim *trim, uv_loop_t *loop)
{
    uv_timer_init(loop, &trim->timer);
    trim->timer.data = trim;
    trim->work.data = trim;
}

void trim_soon(struct trim *trim)
{
    if (trim->due || uv_is_closing((uv_handle_t *)&trim->timer))
        return;
    trim->due = true;
    uv_timer_start(&trim->timer, on_timer, TRIM_DELAY_MS, 0);
}

void trim_look(struct trim *trim, uint64_t clients)
{
    if (clients > trim->most)
        trim->most = clients;
    if (trim->most - clients >= TRIM_LEAST && clients <= trim->most / 2)
        trim_soon(trim);
}

void trim_close(struct trim *trim)
{
    uv_close((uv_handle_t *)&trim->timer, NULL);
}
