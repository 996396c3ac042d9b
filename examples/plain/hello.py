"""The smallest ASGI application: `peneus examples.plain.hello:application`."""

BODY = b"Hello, world!\n"
START = {
    "type": "http.response.start",
    "status": 200,
    "headers": [(b"content-type", b"text/plain"), (b"content-length", str(len(BODY)).encode())],
}


async def application(scope, receive, send):
    assert scope["type"] == "http"
    await send(START)
    await send({"type": "http.response.body", "body": BODY})
