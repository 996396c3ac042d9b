"""The system check that peneus's runserver is the one that Django finds."""

from typing import Any

from django.core.checks import Error  # type: ignore[import-untyped]

BEFORE = ("django.contrib.staticfiles", "daphne")


def check_order(app_configs: Any, **kwargs: Any) -> list[Any]:
    """An error where another app with a runserver stands before peneus: the first one's is used."""
    from django.apps import apps  # type: ignore[import-untyped]

    for app in apps.get_app_configs():
        if app.name == "peneus":
            return []
        if app.name in BEFORE:
            return [Error(f"peneus must be listed before {app.name} in INSTALLED_APPS.", id="peneus.E001")]
    return []
