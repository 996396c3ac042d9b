"""A consumer that closes a client which sends no heartbeat for a second, as the article's does."""

import asyncio

from tests.leaks.programs import frame
from tests.leaks.programs.proxy import Proxy

HEARTBEAT_TIMEOUT = 1.0


class Heartbeat(Proxy):
    async def connect(self) -> None:
        await super().connect()
        self.beaten = asyncio.Event()
        self.watch = asyncio.ensure_future(self.watch_heartbeats())

    async def watch_heartbeats(self) -> None:
        while True:
            self.beaten.clear()
            try:
                await asyncio.wait_for(self.beaten.wait(), HEARTBEAT_TIMEOUT)
            except asyncio.TimeoutError:
                frame.counts["heartbeat missed"] += 1
                await self.close(4000)
                return

    async def receive_json(self, content) -> None:
        self.beaten.set()
        await super().receive_json(content)

    async def disconnect(self, code) -> None:
        self.watch.cancel()
        await super().disconnect(code)


application = frame.application(Heartbeat.as_asgi())
