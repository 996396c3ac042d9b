"""Subscribe and unsubscribe in tasks of their own, so that they overtake each other and the disconnect."""

import asyncio

from tests.leaks.programs import frame
from tests.leaks.programs.proxy import Proxy


class Race(Proxy):
    async def receive_json(self, content) -> None:
        for group in content.get("subscribe", []):
            self.start(self.join(group))
        for group in content.get("unsubscribe", []):
            self.start(self.leave(group))
        if "ready" in content:
            await self.send_json(content)

    def start(self, step) -> None:
        task = asyncio.ensure_future(self.late(step))
        task.add_done_callback(self.ended)
        frame.counts["steps started"] += 1

    async def late(self, step) -> None:
        await asyncio.sleep(0.01)
        await step

    @staticmethod
    def ended(task) -> None:
        frame.counts["steps ended"] += 1
        if task.exception() is not None:  # channels_redis.pubsub refuses a channel that it has forgotten
            frame.counts["steps refused"] += 1


application = frame.application(Race.as_asgi())
