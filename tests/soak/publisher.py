"""A process that publishes: `python -m tests.soak.publisher RATE COUNT SIZE socket PORT | hub PATH`.

Each message is the time in ns, 20 digits, filled up to SIZE bytes: by the server, to which a WebSocket sends the time, or here,
for the group "prices" of a hub. It waits for a line on stdin first.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Awaitable, Callable

import peneus

from tests.integration.core_harness import WebSocket


async def publish(rate: float, count: int, one: Callable[[str], Awaitable[None]]) -> None:
    begun = time.monotonic()
    for number in range(count):
        await asyncio.sleep(max(0.0, begun + number / rate - time.monotonic()))
        await one(f"{time.monotonic_ns():020}")


async def main(rate: float, count: int, size: int, way: str, where: str) -> None:
    if way == "hub":
        layer = peneus.ChannelLayer(hub=where)
        await layer.group_send("nobody", {"type": "websocket.send", "text": "connects"})

        async def one(stamp: str) -> None:
            await layer.group_send("prices", {"type": "websocket.send", "text": stamp.ljust(size, "x")})
    else:
        client = WebSocket(int(where), "/publish").open()

        async def one(stamp: str) -> None:
            client.text(stamp)

    print("ready", flush=True)
    sys.stdin.readline()
    await publish(rate, count, one)
    print("published", flush=True)
    sys.stdin.readline()


if __name__ == "__main__":
    asyncio.run(main(float(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), *sys.argv[4:6]))
