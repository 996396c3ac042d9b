"""Ports for tests."""

import random
import socket
from collections import deque

# Below the ports that Linux gives to clients (net.ipv4.ip_local_port_range), so that no connection takes one of these meanwhile.
FIRST, LAST = 10_000, 32_000
KEPT = 64  # Reservations of one process. When the 65th port is chosen, the server of the first one has long been listening.

_reserved: deque[socket.socket] = deque()


def free_port(below: int = LAST) -> int:
    """A TCP port of the loopback, less than below, on which nobody listens now.

    No other test process of the machine chooses the same port: a process reserves its port by an abstract Unix socket that is
    named after it."""
    while True:
        port = random.SystemRandom().randrange(FIRST, below)
        reservation = socket.socket(socket.AF_UNIX)
        try:
            reservation.bind(f"\0peneus-test-port-{port}")
            with socket.socket() as probe:
                probe.bind(("127.0.0.1", port))
        except OSError:
            reservation.close()
            continue
        _reserved.append(reservation)
        if len(_reserved) > KEPT:
            _reserved.popleft().close()
        return port
