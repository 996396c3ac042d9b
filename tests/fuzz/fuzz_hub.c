/* Frames between a process and the hub: what is read is inside the input, and is written back as it was. */
#include <string.h>

#include "channellayer/bus/hub_frame.h"
#include "tests/fuzz/fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length)
{
    size_t at = 0, taken;
    struct hub_frame frame;
    unsigned char head[HUB_HEAD_SIZE + HUB_NAME_LIMIT];
    while (hub_frame_read(bytes + at, length - at, &frame, &taken) == 1) {
        fuzz_require(taken > 0 && taken <= length - at);
        fuzz_require(hub_frame_size(&frame) == taken);
        fuzz_require(frame.payload.bytes + frame.payload.length == bytes + at + taken);
        fuzz_require(hub_frame_write_head(&frame, head) == 0);
        fuzz_require(memcmp(head, bytes + at, HUB_HEAD_SIZE + frame.name.length) == 0);
        at += taken;
    }
    return 0;
}
