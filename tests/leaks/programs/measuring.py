"""What the process holds: memberships, channels, queued messages and bytes, and memory.

For peneus.ChannelLayer from peneus.stats(); for channels_redis.pubsub, which has no such thing, from inside its objects.
"""

import ctypes
import gc

from channels.layers import get_channel_layer

libc = ctypes.CDLL(None)


def memory() -> dict[str, int]:
    """KiB after everything that can be given back has been: resident, and the share of it that is this process's alone."""
    for _ in range(3):
        gc.collect()
    libc.malloc_trim(0)
    wanted = {"Rss:": "rss_kib", "Pss:": "pss_kib"}
    result = {}
    with open("/proc/self/smaps_rollup") as rollup:
        for line in rollup:
            fields = line.split()
            if fields[0] in wanted:
                result[wanted[fields[0]]] = int(fields[1])
    return result


def of_pubsub(layer) -> dict[str, int]:
    loops = layer._layers.values()
    queues = [queue for loop in loops for queue in loop.channels.values()]
    return {
        "channels": len(queues),
        "groups": sum(len(loop.groups) for loop in loops),
        "memberships": sum(len(members) for loop in loops for members in loop.groups.values()),
        "queued": sum(queue.qsize() for queue in queues),
        "queued_bytes": sum(len(message) for queue in queues for message in queue._queue),
        "subscriptions": sum(len(shard._subscribed_to) for loop in loops for shard in loop._shards),
    }


def of_peneus() -> dict[str, int]:
    import peneus

    stats = peneus.stats()
    return {
        "channels": stats["channels"],
        "groups": stats["groups"],
        "memberships": stats["group_members"],
        "queued": stats["channel_messages_queued"],
        "queued_bytes": stats["channel_bytes_queued"],
        "orphaned": stats["orphaned_channels"],
        "discarded": stats["subscriptions_discarded_total"],
    }


def measure() -> dict[str, int]:
    layer = get_channel_layer()
    held = of_pubsub(layer) if type(layer).__module__ == "channels_redis.pubsub" else of_peneus()
    return held | memory()
