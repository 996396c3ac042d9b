"""Why the server itself refuses a request, or ends an exchange whose client is still there: for the log."""

REFUSALS = {
    400: "it is malformed (docs/strictness.md)",
    405: "a WebSocket begins with GET",
    408: "its headers have not come within --header-timeout",
    413: "its body is longer than --max-body-size",
    414: "its path and query are longer than --max-target-size",
    417: "it expects something else than 100-continue",
    426: "its WebSocket version is not 13",
    431: "its headers are longer than --max-header-size, or more than --max-header-count",
    501: "its method or transfer coding is not known",
    503: "the server is stopping, or has no memory",
    505: "its HTTP version is not served here",
}

# By the names that asgi/access.c has for them.
CAUSES = {
    "http_timeout": "its response was not complete within --http-timeout",
    "connect_timeout": "the application has neither accepted nor rejected it within --websocket-connect-timeout",
    "slow_body": "less of its body than --min-rate has come within --body-timeout",
    "slow_message": "less of a message than --min-rate has come within --body-timeout",
    "slow_reader": "the client has taken less than --min-rate within --send-timeout",
    "stalled_reader": "the client has taken nothing, and more waits for clients than --unsent-window or --unsent-backlog",
    "lifetime": "it has lasted for --websocket-timeout",
    "ping_timeout": "the client has not answered a ping within --ping-timeout",
    "protocol_error": "the client has broken the protocol",
    "message_too_large": "a message is longer than --websocket-max-message-size, or a frame than --websocket-max-frame-size",
    "body_too_large": "its body is longer than --max-body-size",
    "no_memory": "there was no memory for what the client sent",
    "overflow": "a channel or socket of it was full, and the overflow policy is to close",
}


def refusal(status: int, reason: str | None) -> str:
    """Why a request is answered with status; reason: what the parser has said of it."""
    return f"{status}, {REFUSALS.get(status, 'for a reason of its own')}{f': {reason}' if reason else ''}"


def sentence(cause: str, code: int, status: int) -> str:
    """How an exchange was ended, for cause: with an answer, a close code, or without a word."""
    how = f"was answered with {status}" if status else f"was closed with {code}" if code not in (0, 1006) else "was cut off"
    return f"{how}: {CAUSES[cause]}"
