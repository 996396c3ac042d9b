"""The clients: connections that come and go at random.

    python -m tests.soak.churn PORT SECONDS CONNECTIONS SEED

Keeps CONNECTIONS slots, in each of which one client after another connects, joins some groups, reads for a while, and leaves
in one of the ways in which clients leave. Prints what was done, as JSON. A process of its own, so that the server has its core.
"""

import asyncio
import base64
import json
import random
import resource
import socket
import struct
import sys
import time
from collections import Counter

GROUPS = 50
MEAN_LIFE = 10.0  # seconds
MEAN_PAUSE = 1.0

counts: Counter[str] = Counter()


def frame(opcode: int, payload: bytes) -> bytes:
    """A client's frame, masked with zeros."""
    length = bytes([0x80 | len(payload)]) if len(payload) < 126 else b"\xfe" + struct.pack(">H", len(payload))
    return bytes([0x80 | opcode]) + length + bytes(4) + payload


def handshake(path: str) -> bytes:
    key = base64.b64encode(random.randbytes(16)).decode()
    return (
        f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        f"Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n\r\n"
    ).encode()


async def read(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Reads frames until the end, and answers pings."""
    while True:
        first, second = await reader.readexactly(2)
        length = second & 127
        if length == 126:
            (length,) = struct.unpack(">H", await reader.readexactly(2))
        payload = await reader.readexactly(length)
        opcode = first & 15
        if opcode == 9:
            writer.write(frame(10, payload))
        elif opcode == 8:
            counts[f"closed with {struct.unpack('>H', payload[:2])[0]}"] += 1
            return
        else:
            counts["messages"] += 1


def reset(writer: asyncio.StreamWriter) -> None:
    connection = writer.get_extra_info("socket")
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


async def leave(reading: asyncio.Task, writer: asyncio.StreamWriter) -> None:
    way = random.choice(["close", "drop", "reset", "half a frame", "close and reset"])
    counts[way] += 1
    if way == "close":
        writer.write(frame(8, struct.pack(">H", 1000)))
        await asyncio.wait([reading], timeout=10)
        counts["close answered"] += reading.done()
    elif way == "half a frame":
        writer.write(frame(1, b"x" * 100)[:50])
        writer.close()
    elif way == "close and reset":
        writer.write(frame(8, struct.pack(">H", 1001)))
        reset(writer)
    elif way == "reset":
        reset(writer)
    writer.close()


async def visit(port: int, deadline: float) -> None:
    """One client, from its connect to its end."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    counts["connections"] += 1
    writer.write(handshake(random.choice(["/plain", "/proxy"])))
    if random.random() < 0.1:
        counts["left in the handshake"] += 1
        await asyncio.sleep(random.random() * 0.01)
        reset(writer)
        return
    head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 30)
    if not head.startswith(b"HTTP/1.1 101 "):
        raise RuntimeError(f"refused: {head!r}")
    counts["accepted"] += 1
    groups = ["prices", f"instrument-{random.randrange(GROUPS)}", f"instrument-{random.randrange(GROUPS)}"]
    reading = asyncio.ensure_future(read(reader, writer))
    writer.write(frame(1, json.dumps({"subscribe": groups}).encode()))
    life = min(random.expovariate(1 / MEAN_LIFE), max(0.0, deadline - time.monotonic()))
    await asyncio.wait([reading], timeout=life)
    if reading.done():
        counts[f"closed by the server: {type(reading.exception()).__name__}"] += 1
    await leave(reading, writer)
    reading.cancel()
    await asyncio.wait([reading])
    if not reading.cancelled():
        reading.exception()


async def slot(port: int, deadline: float) -> None:
    await asyncio.sleep(random.random() * 4)
    while time.monotonic() < deadline:
        try:
            await visit(port, deadline)
        except (OSError, asyncio.IncompleteReadError, asyncio.TimeoutError) as error:
            counts[f"failed: {type(error).__name__}"] += 1
        await asyncio.sleep(random.expovariate(1 / MEAN_PAUSE))


async def churn(port: int, seconds: float, connections: int) -> None:
    deadline = time.monotonic() + seconds
    await asyncio.gather(*(slot(port, deadline) for _ in range(connections)))


if __name__ == "__main__":
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    random.seed(int(sys.argv[4]))
    asyncio.run(churn(int(sys.argv[1]), float(sys.argv[2]), int(sys.argv[3])))
    print(json.dumps(counts))
