"""Streams of real frameworks: /quiet sends one piece and waits, /short sends two and ends. Each says when its generator ends."""

import asyncio

from django.conf import settings

if not settings.configured:
    settings.configure(SECRET_KEY="test", ROOT_URLCONF=__name__, ALLOWED_HOSTS=["*"], MIDDLEWARE=[])
    import django

    django.setup()

import django.core.asgi
import django.http
import django.urls
import litestar
import litestar.response
import quart
import sse_starlette
from fastapi import FastAPI
from fastapi.responses import StreamingResponse as FastAPIStreamingResponse
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.responses import StreamingResponse
from starlette.routing import Route

KINDS = ("quiet", "short")


async def pieces(kind):
    try:
        yield "one\n"
        if kind == "quiet":
            await asyncio.Event().wait()
        await asyncio.sleep(0.01)
        yield "two\n"
    finally:
        print(f"{kind} ended", flush=True)


class Counted:
    """An ASGI application that answers /running itself: how many calls of the one inside have not ended."""

    def __init__(self, application):
        self.application = application
        self.running = 0

    async def __call__(self, scope, receive, send):
        if scope["type"] == "http" and scope["path"] == "/running":
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": str(self.running).encode()})
            return
        self.running += scope["type"] != "lifespan"
        try:
            await self.application(scope, receive, send)
        finally:
            self.running -= scope["type"] != "lifespan"


def starlette_endpoint(kind):
    async def endpoint(request):
        return StreamingResponse(pieces(kind))

    return Route(f"/{kind}", endpoint)


async def passes_on(request, call_next):
    return await call_next(request)


starlette = Counted(Starlette(routes=[starlette_endpoint(kind) for kind in KINDS]))
starlette_middleware = Counted(
    Starlette(
        routes=[starlette_endpoint(kind) for kind in KINDS], middleware=[Middleware(BaseHTTPMiddleware, dispatch=passes_on)]
    )
)

fastapi_inner = FastAPI()


@fastapi_inner.get("/{kind}")
async def fastapi_endpoint(kind: str):
    return FastAPIStreamingResponse(pieces(kind), media_type="text/event-stream")


fastapi = Counted(fastapi_inner)


def sse_endpoint(kind):
    async def endpoint(request):
        return sse_starlette.EventSourceResponse(pieces(kind))

    return Route(f"/{kind}", endpoint)


sse = Counted(Starlette(routes=[sse_endpoint(kind) for kind in KINDS]))


@litestar.get("/{kind:str}")
async def litestar_stream(kind: str) -> litestar.response.Stream:
    return litestar.response.Stream(pieces(kind))


@litestar.get("/{kind:str}")
async def litestar_events(kind: str) -> litestar.response.ServerSentEvent:
    return litestar.response.ServerSentEvent(pieces(kind))


litestar_streams = Counted(litestar.Litestar([litestar_stream]))
litestar_sse = Counted(litestar.Litestar([litestar_events]))

quart_inner = quart.Quart(__name__)


@quart_inner.get("/<kind>")
async def quart_endpoint(kind):
    response = await quart.make_response(pieces(kind))
    response.timeout = None
    return response


quart_streams = Counted(quart_inner)


async def django_view(request, kind):
    return django.http.StreamingHttpResponse(pieces(kind))


urlpatterns = [django.urls.path("<str:kind>", django_view)]
django_streams = Counted(django.core.asgi.get_asgi_application())

APPLICATIONS = [name for name, value in dict(globals()).items() if isinstance(value, Counted)]
