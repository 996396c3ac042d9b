"""Applications that configure logging as many projects do: without "disable_existing_loggers": False, so that every logger that
exists is switched off."""

import logging.config

LOGGING = {
    "version": 1,
    "formatters": {"mine": {"format": "mine %(levelname)s %(name)s: %(message)s"}},
    "handlers": {"console": {"class": "logging.StreamHandler", "formatter": "mine"}},
    "root": {"handlers": ["console"], "level": "INFO"},
}


def at_import():
    """A factory: it is called when the path has been imported."""
    logging.config.dictConfig(LOGGING)
    return raising


async def at_startup(scope, receive, send):
    if scope["type"] == "lifespan":
        await receive()
        logging.config.dictConfig(LOGGING)
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await send({"type": "lifespan.shutdown.complete"})
    else:
        await raising(scope, receive, send)


def that_names_it():
    """Its configuration says what it wants of Peneus's log."""
    logging.config.dictConfig({**LOGGING, "loggers": {"peneus": {"level": "CRITICAL"}}})
    return raising


async def raising(scope, receive, send):
    assert scope["type"] != "lifespan"
    raise RuntimeError("on purpose")
