"""The application: Django for the page, a consumer for the prices, and the feed for as long as the server runs."""

import os

from channels.routing import ProtocolTypeRouter, URLRouter
from channels.security.websocket import AllowedHostsOriginValidator
from django.core.asgi import get_asgi_application
from django.urls import path

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "marketdata.settings")
django_application = get_asgi_application()

# These read Django's settings, which are there only now.
from marketdata.consumers import PriceConsumer  # noqa: E402
from marketdata.feed import run_feed  # noqa: E402
from marketdata.lifespan import while_serving  # noqa: E402

application = ProtocolTypeRouter(
    {
        "http": django_application,
        "websocket": AllowedHostsOriginValidator(URLRouter([path("prices/", PriceConsumer.as_asgi())])),
        "lifespan": while_serving(run_feed),
    }
)
