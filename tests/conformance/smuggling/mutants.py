"""Requests made worse at random, the same ones for the same seed."""

from __future__ import annotations

import random
from collections.abc import Iterator

from tests.conformance.smuggling.client import Target
from tests.conformance.smuggling.corpus import Case

LONGEST = 2000
SPICES = [
    b"\r", b"\n", b"\r\n", b"\0", b" ", b"\t", b"\x0b", b"\x7f", b"\x85", b"\xa0", b":", b";", b",", b'"', b"\\", b"0", b"-1",
    b"0x", b"f" * 17,
    b"\r\n\r\n", b"Content-Length: 5\r\n", b"Transfer-Encoding: chunked\r\n", b"Host: b\r\n", b"Connection: close\r\n",
    b"Upgrade: websocket\r\n", b"Expect: 100-continue\r\n", b" HTTP/1.1", b"0\r\n\r\n", b"http://", b"GET ", b"A" * 300,
]  # fmt: skip


def _worse(chance: random.Random, data: bytes, others: list[bytes]) -> bytes:
    start = chance.randrange(len(data) + 1)
    end = min(len(data), start + chance.randrange(1, 12))
    match chance.randrange(6):
        case 0:
            return data[:start] + data[end:]
        case 1:
            return data[:end] + data[start:]
        case 2:
            return data[:start] + bytes([chance.randrange(256)]) + data[start + 1 :]
        case 3:
            other = chance.choice(others)
            return data[:start] + other[chance.randrange(len(other)) :]
        case 4:
            return chance.choice(others) + data[start:]
        case _:
            return data[:start] + chance.choice(SPICES) + data[start:]


def mutants(cases: list[Case], count: int, seed: int) -> Iterator[bytes]:
    chance = random.Random(seed)
    seeds = [case.send for case in cases if len(case.send) <= LONGEST]
    for _ in range(count):
        data = chance.choice(seeds)
        for _ in range(chance.randrange(1, 5)):
            data = _worse(chance, data, seeds)[: 2 * LONGEST]
        yield data


def ends(target: Target, data: bytes) -> bool:
    """Sends data and no more; whether the server ended the connection within its time."""
    with target.open() as peer:
        try:
            peer.sendall(data)
            peer.shutdown(1)
            while peer.recv(65536):
                pass
        except TimeoutError:
            return False
        except OSError:
            return True  # reset: ended too
    return True
