"""Django's settings: no database, no sessions, one page."""

from pathlib import Path

BASE_DIR = Path(__file__).resolve().parent

SECRET_KEY = "an example has no secrets"
DEBUG = False
ALLOWED_HOSTS = ["localhost", "127.0.0.1", "[::1]"]

INSTALLED_APPS = ["peneus", "channels"]
MIDDLEWARE = ["django.middleware.common.CommonMiddleware"]
ROOT_URLCONF = "marketdata.urls"
ASGI_APPLICATION = "marketdata.asgi.application"
TEMPLATES = [{"BACKEND": "django.template.backends.django.DjangoTemplates", "DIRS": [BASE_DIR]}]
USE_TZ = True
TIME_ZONE = "UTC"

CHANNEL_LAYERS = {
    "default": {
        "BACKEND": "peneus.ChannelLayer",
        # Of prices only the newest matter: a client that is slow to read gets those.
        "CONFIG": {"capacity": 100, "overflow": "drop-oldest"},
    },
}
