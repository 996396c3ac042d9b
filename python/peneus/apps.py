"""The Django app: `INSTALLED_APPS = ["peneus", …]` gives runserver."""

from django.apps import AppConfig  # type: ignore[import-untyped]
from django.core import checks  # type: ignore[import-untyped]

from .checks import check_order


class PeneusConfig(AppConfig):  # type: ignore[misc]
    name = "peneus"
    verbose_name = "Peneus"

    def ready(self) -> None:
        checks.register(check_order, checks.Tags.staticfiles)
