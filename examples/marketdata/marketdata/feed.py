"""What the server pushes: prices that wander at random, each to its instrument's group, and the counters to theirs."""

import asyncio
import random
import time

import peneus
from channels.layers import get_channel_layer

INSTRUMENTS = {
    "BTC-PERP": 67_250.0,
    "ETH-PERP": 3_480.0,
    "SOL-PERP": 152.0,
    "XRP-PERP": 0.5235,
    "BTC-VOL": 48.2,
    "ETH-VOL": 61.7,
}
PRICE_INTERVAL = 0.5  # s between two prices of one instrument
COUNTER_INTERVAL = 0.1  # s between two looks at the counters
COUNTERS = "counters"


def group_of(instrument: str) -> str:
    return f"prices.{instrument}"


def moved(price: float) -> float:
    """The next price: about one in a thousand away at most."""
    return price * (1 + random.gauss(0, 0.0004))


async def push_prices() -> None:
    layer = get_channel_layer()
    prices = dict(INSTRUMENTS)
    while True:
        for instrument in prices:
            prices[instrument] = moved(prices[instrument])
            message = {"type": "price", "instrument": instrument, "price": prices[instrument], "time": time.time()}
            await layer.group_send(group_of(instrument), message)
            await asyncio.sleep(PRICE_INTERVAL / len(prices))


async def push_counters() -> None:
    layer = get_channel_layer()
    while True:
        await layer.group_send(COUNTERS, {"type": "counters", "counters": peneus.stats()})
        await asyncio.sleep(COUNTER_INTERVAL)


async def run_feed() -> None:
    """Both, until cancelled."""
    await asyncio.gather(push_prices(), push_counters())
