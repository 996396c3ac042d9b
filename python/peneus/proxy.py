"""What a proxy says about its client: X-Forwarded-For, -Port and -Proto, read as Daphne reads them.

Only where proxy headers are switched on: any client can send them. Daphne-Root-Path is never believed.
"""

from collections.abc import Callable
from typing import Any


def scope_hook(address: str | None, port: str | None, proto: str | None) -> Callable[[dict[str, Any]], None] | None:
    """A function that corrects a scope by the headers of these names; None where the headers do not count."""
    if not address:
        return None
    address_name = address.lower().encode()
    port_name = port.lower().encode() if port else None
    proto_name = proto.lower().encode() if proto else None

    def correct(scope: dict[str, Any]) -> None:
        found: dict[bytes, bytes] = {}
        for name, value in scope["headers"]:
            if name in (address_name, port_name, proto_name):
                found.setdefault(name, value)  # of several, the first
        if address_name not in found:
            return
        host = _text(found[address_name]).split(",")[0].strip()
        # The port counts only with an address, else the two might not belong together.
        scope["client"] = [host, _port(found.get(port_name)) if port_name else 0]
        if proto_name in found:
            scope["scheme"] = _scheme(_text(found[proto_name]), scope)

    return correct


def _text(value: bytes) -> str:
    return value.decode("latin-1")


def _port(value: bytes | None) -> int:
    try:
        return int(value or b"0")
    except ValueError:
        return 0


def _scheme(said: str, scope: dict[str, Any]) -> str:
    """said, as the protocol calls it: a proxy says https of a WebSocket too."""
    said = said.split(",")[0].strip().lower()
    if scope["type"] == "websocket":
        return {"http": "ws", "https": "wss"}.get(said, said)
    return said
