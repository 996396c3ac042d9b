#include "asgi/loop_clock.h"

void loop_clock_beat(struct loop_clock *clock, uint64_t now_ns, uint64_t interval_ns)
{
    clock->ran_ns = loop_clock_at(clock, now_ns);
    clock->beat_ns = now_ns;
    clock->allowance_ns = 2 * interval_ns;
}

uint64_t loop_clock_at(const struct loop_clock *clock, uint64_t now_ns)
{
    if (clock->beat_ns == 0)
        return now_ns;
    uint64_t since = now_ns - clock->beat_ns;
    return clock->ran_ns + (since < clock->allowance_ns ? since : clock->allowance_ns);
}
