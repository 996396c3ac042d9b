"""A process that publishes: `python -m tests.soak.publisher RATE COUNT SIZE socket PORT | hub PATH`.

Each message is the time in ns, 20 digits, filled up to SIZE bytes: by the server, to which a WebSocket sends the time, or here,
for the group "prices" of a hub. Each line on stdin is the number of messages that all listeners have; it waits for the first
line, and never publishes more than AHEAD bytes that they do not have: on a busy machine it is slower than RATE a second.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Awaitable, Callable

import peneus

from tests.integration.core_harness import WebSocket

AHEAD = 32 * 1024  # less than the server queues for one client in any test


async def publish(
    rate: float, count: int, ahead: int, received: asyncio.StreamReader, one: Callable[[str], Awaitable[None]]
) -> None:
    listeners_have = int(await received.readline())
    begun = time.monotonic()
    for number in range(count):
        await asyncio.sleep(max(0.0, begun + number / rate - time.monotonic()))
        while number - listeners_have >= ahead:
            listeners_have = int(await received.readline())
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

    received = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(received), sys.stdin)
    print("ready", flush=True)
    await publish(rate, count, AHEAD // size, received, one)
    await received.read()


if __name__ == "__main__":
    asyncio.run(main(float(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), *sys.argv[4:6]))
