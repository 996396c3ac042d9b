"""The article's toy as it stands there: no server, one event loop, a sender and a reader. Prints two measurements, as JSON,
before and after 10,000 messages of 1 KiB.

Two channels are made; one is read. Nobody ever says that the other is abandoned, and no connection owns it, so all that
a channel layer can do is to bound what waits in it.
"""

import asyncio
import json

from channels.layers import get_channel_layer

from tests.leaks.programs import frame  # configures Django
from tests.leaks.programs.measuring import measure


async def new_channel() -> str:
    channel = await get_channel_layer().new_channel()
    await get_channel_layer().group_add("prices", channel)
    return channel


async def read_for_ever() -> None:
    await new_channel()  # abandoned
    channel = await new_channel()
    while True:
        await get_channel_layer().receive(channel)


async def main() -> None:
    reading = asyncio.ensure_future(read_for_ever())
    await asyncio.sleep(0.1)
    await frame.publish("prices", 1_000, 1024, 0)
    before = measure()
    await frame.publish("prices", 10_000, 1024, 0)
    print(json.dumps([before, measure()]))
    reading.cancel()


if __name__ == "__main__":
    asyncio.run(main())
