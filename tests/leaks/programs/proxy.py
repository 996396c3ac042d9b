"""The article's proxy: a client names its groups, the proxy joins them and passes on what they get. Nothing is wrong with it."""

from channels.generic.websocket import AsyncJsonWebsocketConsumer

from tests.leaks.programs import frame


class Proxy(AsyncJsonWebsocketConsumer):
    async def connect(self) -> None:
        self.joined: set[str] = set()
        await self.accept()

    async def receive_json(self, content) -> None:
        for group in content.get("subscribe", []):
            await self.join(group)
        for group in content.get("unsubscribe", []):
            await self.leave(group)
        await self.send_json(content)

    async def join(self, group: str) -> None:
        self.joined.add(group)
        await self.channel_layer.group_add(group, self.channel_name)

    async def leave(self, group: str) -> None:
        self.joined.discard(group)
        await self.channel_layer.group_discard(group, self.channel_name)

    async def leave_all(self) -> None:
        for group in list(self.joined):
            await self.leave(group)

    async def notification(self, message) -> None:
        await self.send_json({"number": message["number"], "data": message["data"]})

    async def disconnect(self, code) -> None:
        await self.leave_all()
        frame.counts["cleaned up"] += 1


application = frame.application(Proxy.as_asgi())
