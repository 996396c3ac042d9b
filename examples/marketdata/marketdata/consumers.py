"""One client: it chooses instruments and gets their prices, and the server's counters."""

from channels.generic.websocket import AsyncJsonWebsocketConsumer

from marketdata.feed import COUNTERS, INSTRUMENTS, group_of


class PriceConsumer(AsyncJsonWebsocketConsumer):
    """Takes {"subscribe": instrument} and {"unsubscribe": instrument}.

    Gives {"instrument", "price", "time"} of the instruments that the client has chosen, and {"counters": {name: value}}.
    There is no disconnect(): Peneus ends the subscriptions of a client that leaves.
    """

    async def connect(self):
        await self.accept()
        await self.channel_layer.group_add(COUNTERS, self.channel_name)

    async def receive_json(self, content, **kwargs):
        match content:
            case {"subscribe": str(instrument)} if instrument in INSTRUMENTS:
                await self.channel_layer.group_add(group_of(instrument), self.channel_name)
            case {"unsubscribe": str(instrument)} if instrument in INSTRUMENTS:
                await self.channel_layer.group_discard(group_of(instrument), self.channel_name)
            case _:
                await self.send_json({"error": "send {subscribe: instrument} or {unsubscribe: instrument}"})

    async def price(self, message):
        await self.send_json({name: message[name] for name in ("instrument", "price", "time")})

    async def counters(self, message):
        await self.send_json({"counters": message["counters"]})
