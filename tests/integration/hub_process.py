"""A process that joins the hub: `python -m tests.integration.hub_process PATH`.

It reads commands, one JSON list a line, and answers each with one line: ["new"], ["add", group, channel],
["discard", group, channel], ["group_send", group, message], ["send", channel, message], ["receive", channel, seconds],
["members", group], ["links"].
"""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Any

import peneus


async def answer(layer: peneus.ChannelLayer, command: list[Any]) -> Any:
    match command:
        case ["new"]:
            return await layer.new_channel()
        case ["add", group, channel]:
            return await layer.group_add(group, channel)
        case ["discard", group, channel]:
            return await layer.group_discard(group, channel)
        case ["group_send", group, message]:
            return await layer.group_send(group, message)
        case ["send", channel, message]:
            return await layer.send(channel, message)
        case ["receive", channel, seconds]:
            return await asyncio.wait_for(layer.receive(channel), seconds)
        case ["links"]:
            return peneus.stats()["bus_links_up"]
        case ["members", group]:
            return sorted(await layer.group_channels(group))
    raise ValueError(command)


async def main(path: str) -> None:
    layer = peneus.ChannelLayer(bus="hub", hub=path, buffer_time=20)
    loop = asyncio.get_running_loop()
    print(json.dumps("ready"), flush=True)
    while line := await loop.run_in_executor(None, sys.stdin.readline):
        try:
            result = await answer(layer, json.loads(line))
        except Exception as error:
            result = {"error": type(error).__name__}
        print(json.dumps(result), flush=True)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
