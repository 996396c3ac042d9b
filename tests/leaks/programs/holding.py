"""What a process holds of Python's, in numbers that are the same when nothing leaks."""

import gc
import os
import resource
import sys
import threading
from collections import Counter

# Made once, so that a leak of references to them shows in their counts alone.
ETERNAL = (None, True, False, "", b"", (), dict, str, int, bytes, list, tuple, type, object)


def held() -> dict[str, object]:
    """Objects by type, and so on, once what is garbage has gone."""
    for _ in range(3):
        gc.collect()
    with open("/proc/self/statm") as statm:
        pages = int(statm.read().split()[1])
    return {
        "types": Counter(f"{type(each).__module__}.{type(each).__qualname__}" for each in gc.get_objects()),
        "blocks": sys.getallocatedblocks(),
        "eternal": sum(sys.getrefcount(each) for each in ETERNAL),
        "threads": threading.active_count(),
        "files": len(os.listdir("/proc/self/fd")),
        "memory": pages * resource.getpagesize(),
    }
