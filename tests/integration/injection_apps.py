"""Puts what the client asks for where a header goes out, and answers with the name of the error that comes of it."""

from __future__ import annotations

from typing import Any
from urllib.parse import unquote_to_bytes

START = {"type": "http.response.start", "status": 200}
DENIAL = {"type": "websocket.http.response.start", "status": 200}


def bad_event(place: str, evil: bytes) -> dict[str, Any]:
    match place:
        case "value":
            return {**START, "headers": [(b"x-value", evil)]}
        case "location":
            return {"type": "http.response.start", "status": 302, "headers": [(b"location", b"/" + evil)]}
        case "name":
            return {**START, "headers": [(evil, b"value")]}
        case "length":
            return {**START, "headers": [(b"content-length", b"5" + evil)]}
        case "hint":
            return {"type": "http.response.early_hint", "links": [evil]}
        case "trailer":
            return {"type": "http.response.trailers", "headers": [(b"x-trailer", evil)]}
        case "trailer-name":
            return {"type": "http.response.trailers", "headers": [(evil, b"value")]}
        case "accept":
            return {"type": "websocket.accept", "headers": [(b"x-value", evil)]}
        case "accept-name":
            return {"type": "websocket.accept", "headers": [(evil, b"value")]}
        case "subprotocol":
            return {"type": "websocket.accept", "subprotocol": evil.decode("latin-1")}
        case _:
            return {**DENIAL, "headers": [(b"x-value", evil)]}


async def application(scope: dict[str, Any], receive: Any, send: Any) -> None:
    assert scope["type"] in ("http", "websocket")
    await receive()
    place = scope["path"][1:]
    trailers = place.startswith("trailer")
    if trailers:
        await send({**START, "trailers": True})
        await send({"type": "http.response.body", "body": b"body"})
    result = "nothing"
    try:
        await send(bad_event(place, unquote_to_bytes(scope["query_string"])))
    except ValueError as error:
        result = type(error).__name__
    if trailers:
        await send({"type": "http.response.trailers", "headers": [(b"x-result", result.encode())]})
        return
    prefix = "websocket.http" if scope["type"] == "websocket" else "http"
    await send({"type": f"{prefix}.response.start", "status": 200})
    await send({"type": f"{prefix}.response.body", "body": result.encode()})
