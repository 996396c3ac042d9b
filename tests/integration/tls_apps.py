"""What the tests of TLS talk to."""

import json


async def application(scope, receive, send):
    """Says as JSON what it sees of the connection, and how long the body was; /big/N answers with N bytes. A WebSocket echoes."""
    if scope["type"] == "websocket":
        await echo(receive, send, seen(scope))
        return
    assert scope["type"] == "http"
    length = 0
    more = True
    while more:
        event = await receive()
        if event["type"] == "http.disconnect":
            return
        length += len(event["body"])
        more = event["more_body"]
    if scope["path"].startswith("/big/"):
        body = bytes(int(scope["path"].removeprefix("/big/")))
    else:
        body = json.dumps({**seen(scope), "length": length}).encode()
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len(body))]})
    for start in range(0, len(body), 100_000):
        await send({"type": "http.response.body", "body": body[start : start + 100_000], "more_body": True})
    await send({"type": "http.response.body", "body": b""})


def seen(scope):
    extensions = scope.get("extensions", {})
    return {"scheme": scope["scheme"], "tls": extensions.get("tls"), "extensions": sorted(extensions)}


async def echo(receive, send, first):
    await receive()
    await send({"type": "websocket.accept"})
    await send({"type": "websocket.send", "text": json.dumps(first)})
    while (event := await receive())["type"] == "websocket.receive":
        await send({"type": "websocket.send", "text": event.get("text"), "bytes": event.get("bytes")})
