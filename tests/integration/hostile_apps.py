"""Applications whose events run code of their own while send() reads them. `hostile` chooses one by the request's path."""

import asyncio
import gc
import inspect
import os
import sys
import tempfile

from peneus import _core

CASES = {"http": {}, "websocket": {}}


def case(function):
    protocol = "websocket" if "websocket" in function.__name__ else "http"
    CASES[protocol][function.__name__] = function
    return function


def now(send, message):
    """Does what awaiting it would do first, without a task; what it raises is no matter."""
    try:
        sending = send(message)
        sending.send(None)
        sending.close()
    except (StopIteration, RuntimeError, OSError, ValueError):
        pass


class Truth:
    """Its truth is what action makes of it; action runs first."""

    def __init__(self, action, value=False):
        self.action = action
        self.value = value

    def __bool__(self):
        self.action()
        return self.value


class Key:
    """A dict's key that is found in the way to another one, and acts then, once, after arm()."""

    armed = False

    def __init__(self, name, action):
        self.name = name
        self.action = action

    def arm(self):
        self.armed = True

    def __hash__(self):
        return hash(self.name)

    def __eq__(self, other):
        if self.armed:
            self.armed = False
            self.action()
        return False


class Text(str):
    """A str that acts when it is shown."""

    def __new__(cls, text, action):
        self = super().__new__(cls, text)
        self.action = action
        return self

    def __repr__(self):
        self.action()
        return "shown"

    __str__ = __repr__


def overwrite():
    """Takes memory that has just been freed, and fills it."""
    gc.collect()
    return [[object()] * size for size in range(1, 40) for _ in range(20)]


async def attempt(send, message):
    for key in message:
        if isinstance(key, Key):
            key.arm()
    try:
        await send(message)
    except (RuntimeError, ValueError, TypeError, OSError):
        pass


START = {"type": "http.response.start", "status": 200, "headers": []}
END = {"type": "http.response.body", "body": b"end"}
MORE = {"type": "http.response.body", "body": b"more", "more_body": True}


@case
async def the_headers_are_deleted(scope, receive, send):
    kept = []
    message = {**START, "headers": [[b"name-%d" % n, b"value"] for n in range(50)]}

    def delete():
        del message["headers"]
        kept.append(overwrite())

    message["trailers"] = Truth(delete)
    await attempt(send, message)


@case
async def a_header_is_emptied_by_a_later_one(scope, receive, send):
    first = [b"name", b"value"]

    def second():
        first.clear()
        yield b"other"
        yield b"value"

    await attempt(send, {**START, "headers": [first, second()]})


@case
async def the_headers_change_while_they_are_iterated(scope, receive, send):
    headers = [(b"name-%d" % n, b"value") for n in range(50)]

    def one():
        headers.clear()
        overwrite()
        yield b"name"
        yield b"value"

    headers[10] = one()
    await attempt(send, {**START, "headers": headers})


@case
async def the_headers_clear_the_event(scope, receive, send):
    message = dict(START)

    def headers():
        message.clear()
        overwrite()
        raise TypeError
        yield

    message["headers"] = headers()
    await attempt(send, message)


@case
async def the_headers_begin_the_response(scope, receive, send):
    def headers():
        now(send, START)
        now(send, MORE)
        yield (b"name", b"value")

    await attempt(send, {**START, "headers": headers()})


@case
async def the_headers_complete_the_response(scope, receive, send):
    def headers():
        now(send, START)
        now(send, END)
        yield (b"name", b"value")

    await attempt(send, {**START, "headers": headers()})


@case
async def a_header_is_shown(scope, receive, send):
    headers = []

    class Name:
        def __str__(self):
            headers.clear()
            overwrite()
            return "name"

    headers.append((Name(), b"value"))
    await attempt(send, {**START, "headers": headers})


@case
async def more_body_completes_the_response(scope, receive, send):
    await send(START)
    await attempt(send, {**MORE, "more_body": Truth(lambda: now(send, END), True)})


@case
async def more_body_completes_the_response_before_the_last(scope, receive, send):
    await send(START)
    await attempt(send, {**END, "more_body": Truth(lambda: now(send, END))})


@case
async def the_body_is_a_buffer_that_completes_the_response(scope, receive, send):
    class Buffer:
        def __buffer__(self, flags):
            now(send, END)
            return memoryview(b"late")

    await send(START)
    await attempt(send, {**MORE, "body": Buffer()})


@case
async def a_key_completes_the_response(scope, receive, send):
    await send(START)
    await attempt(send, {Key("body", lambda: now(send, END)): 1, **MORE})


@case
async def a_key_deletes_the_body(scope, receive, send):
    await send(START)
    message = {}
    message[Key("body", lambda: (message.pop("body", None), overwrite()))] = 1
    message.update({**MORE, "body": bytes(bytearray(b"x" * 10000))})
    await attempt(send, message)


@case
async def the_type_is_shown(scope, receive, send):
    message = {}

    def delete():
        message.clear()
        scope.clear()
        overwrite()

    for text in ("http.response.push", "no such event"):
        message["type"] = Text(text, delete)
        await attempt(send, message)


@case
async def the_whole_event_is_shown(scope, receive, send):
    message = {**START, "status": Text("200", lambda: message.clear())}
    await attempt(send, message)
    message = {**START, "status": 10**30, Key("status", lambda: message.pop("status", None)): 1}
    await attempt(send, message)


@case
async def the_file_is_deleted_from_the_event(scope, receive, send):
    await send(START)
    with tempfile.TemporaryFile() as file:
        file.write(b"x" * 1000)
        file.flush()
        message = {"type": "http.response.zerocopysend", "file": os.fdopen(os.dup(file.fileno()), "rb"), "offset": 0}
        message["more_body"] = Truth(lambda: (message.pop("file"), overwrite()), True)
        await attempt(send, message)


@case
async def the_file_completes_the_response(scope, receive, send):
    class File:
        def fileno(self):
            now(send, END)
            return file.fileno()

        def __repr__(self):
            return Text("file", lambda: None)

    await send(START)
    with tempfile.TemporaryFile() as file:
        file.write(b"x" * 1000)
        file.flush()
        await attempt(send, {"type": "http.response.zerocopysend", "file": File(), "offset": 0, "count": 10})


@case
async def the_files_place_completes_the_response(scope, receive, send):
    class File:
        def fileno(self):
            return file.fileno()

        def tell(self):
            return 0

        def seek(self, to):
            now(send, END)

    await send(START)
    with tempfile.TemporaryFile() as file:
        file.write(b"x" * 1000)
        file.flush()
        await attempt(send, {"type": "http.response.zerocopysend", "file": File()})


@case
async def a_key_of_a_path_completes_the_response(scope, receive, send):
    await send(START)
    message = {"type": "http.response.pathsend", Key("path", lambda: now(send, END)): 1, "path": __file__}
    await attempt(send, message)


@case
async def a_path_that_completes_the_response_when_it_is_freed(scope, receive, send):
    class Path(str):
        def __del__(self):
            now(send, END)

    await send(START)
    message = {"type": "http.response.pathsend"}
    message[Key("path", lambda: message.pop("path", None))] = 1
    message["path"] = Path(__file__)
    await attempt(send, message)


@case
async def the_trailers_are_deleted(scope, receive, send):
    await send({**START, "trailers": True})
    await send(END)
    message = {"type": "http.response.trailers", "headers": [[b"name-%d" % n, b"value"] for n in range(50)]}
    message["more_trailers"] = Truth(lambda: (message.pop("headers"), overwrite()), True)
    await attempt(send, message)
    await attempt(send, {"type": "http.response.trailers", "headers": []})


@case
async def the_trailers_complete_the_response(scope, receive, send):
    await send({**START, "trailers": True})
    await send(END)

    def headers():
        now(send, {"type": "http.response.trailers", "headers": []})
        yield (b"name", b"value")

    await attempt(send, {"type": "http.response.trailers", "headers": headers()})


@case
async def a_hint_completes_the_response(scope, receive, send):
    message = {"type": "http.response.early_hint"}

    def links():
        message.clear()
        overwrite()
        yield b"</style.css>"
        now(send, START)
        now(send, END)

    message["links"] = links()
    await attempt(send, message)


@case
async def the_client_of_the_scope_deletes_itself(scope, receive, send):
    class Client:
        def __getitem__(self, index):
            scope.pop("client", None)
            overwrite()
            return "127.0.0.1"

    scope["client"] = Client()
    scope["method"] = "X" * 100
    await send(START)
    await send(END)


@case
async def an_event_that_awaits_itself(scope, receive, send):
    message = dict(START)

    def headers():
        sending.send(None)
        yield

    message["headers"] = headers()
    try:
        sending = send(message)
        await sending
    except (RuntimeError, ValueError, NameError):  # NameError where send() reads the event at once
        pass


@case
async def a_pause_that_changes_while_it_is_asked(scope, receive, send):
    await receive()

    class Callback:
        def __call__(self, pause):
            pass

        def __eq__(self, other):
            pause.cancel()
            overwrite()
            return True

        __hash__ = None

    receiving = receive()
    pause = receiving.send(None)
    pause.add_done_callback(Callback())
    pause.remove_done_callback(Callback())
    receiving.close()


@case
async def a_loop_that_changes_the_pause(scope, receive, send):
    await receive()
    loop = asyncio.get_running_loop()
    call_soon = loop.call_soon

    def strange(callback, *arguments, **keywords):
        for argument in arguments:
            if hasattr(argument, "remove_done_callback"):
                argument.remove_done_callback(callback)
                overwrite()
        return call_soon(callback, *arguments, **keywords)

    receiving = receive()
    pause = receiving.send(None)
    pause.add_done_callback(lambda pause: None)
    try:
        loop.call_soon = strange
    except AttributeError:  # uvloop's has no attributes of its own
        pass
    else:
        pause.cancel()
        del loop.call_soon
    receiving.close()


@case
async def a_message_whose_decoding_awaits_it(scope, receive, send):
    layer = _core.Layer(expiry=60.0, group_expiry=86400.0, message_limit=0, mailbox_bytes=1 << 20)

    def decode(view):
        if not asked:
            asked.append(1)
            try:
                receiving.send(None)
            except (RuntimeError, StopIteration):
                pass
        return "message"

    await receive()
    for receiving in (
        layer.receive("channel", 10, decode),
        _core.Inbox(layer, _core.current_connection.get(), "channel", 10, decode),
    ):
        asked = []
        layer.send("channel", 10, b"x")
        assert await receiving == "message"


ACCEPT = {"type": "websocket.accept"}
CLOSE = {"type": "websocket.close"}
DENY = {"type": "websocket.http.response.start", "status": 401, "headers": []}


@case
async def websocket_subprotocol_is_deleted(scope, receive, send):
    message = dict(ACCEPT)

    def headers():
        message.clear()
        overwrite()
        yield (b"name", b"value")

    message["subprotocol"] = "chat-" + "x" * 500
    message["headers"] = headers()
    await attempt(send, message)


@case
async def websocket_headers_close(scope, receive, send):
    def headers():
        now(send, CLOSE)
        yield (b"name", b"value")

    await attempt(send, {**ACCEPT, "headers": headers()})


@case
async def websocket_headers_accept(scope, receive, send):
    def headers():
        now(send, ACCEPT)
        yield (b"name", b"value")

    await attempt(send, {**ACCEPT, "headers": headers()})


@case
async def websocket_denial_that_is_accepted(scope, receive, send):
    def headers():
        now(send, ACCEPT)
        yield (b"name", b"value")

    await attempt(send, {**DENY, "headers": headers()})


@case
async def websocket_denial_that_ends_twice(scope, receive, send):
    await send(DENY)
    end = {"type": "websocket.http.response.body", "body": b"x"}
    await attempt(send, {**end, "more_body": Truth(lambda: now(send, end), True)})


@case
async def websocket_key_closes(scope, receive, send):
    await send(ACCEPT)
    await attempt(send, {**CLOSE, Key("code", lambda: now(send, CLOSE)): 1, "code": 1000})


@case
async def websocket_key_of_the_reason_closes(scope, receive, send):
    message = {"type": "websocket.close"}
    message[Key("reason", lambda: (now(send, CLOSE), message.pop("reason", None), overwrite()))] = 1
    message["reason"] = "".join(["long"] * 25)
    await attempt(send, message)


@case
async def websocket_key_deletes_the_text(scope, receive, send):
    await send(ACCEPT)
    message = {"type": "websocket.send"}
    message[Key("bytes", lambda: (message.pop("text", None), overwrite()))] = 1
    message["text"] = "".join(["long"] * 1000)
    await attempt(send, message)


@case
async def websocket_buffer_closes(scope, receive, send):
    class Buffer:
        def __buffer__(self, flags):
            now(send, CLOSE)
            return memoryview(b"late")

    await send(ACCEPT)
    await attempt(send, {"type": "websocket.send", "bytes": Buffer()})


async def hostile(scope, receive, send):
    """/CASE runs a case, then ends the exchange where that has not; any other path answers "alive"."""
    if scope["type"] == "lifespan":
        raise NotImplementedError
    name = scope["path"].strip("/")
    protocol = scope["type"]
    if scope["type"] == "websocket":
        await receive()
    run = CASES[protocol].get(name)
    if run is None:
        await send(START)
        await send({"type": "http.response.body", "body": b"alive"})
        return
    assert inspect.iscoroutinefunction(run)
    await run(scope, receive, send)
    gc.collect()
    for message in (ACCEPT, CLOSE) if protocol == "websocket" else (START, END):
        await attempt(send, message)
    print(f"ran {name}", file=sys.stderr, flush=True)
