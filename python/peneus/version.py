"""The version of the installed package."""

from importlib.metadata import PackageNotFoundError, version


def installed_version() -> str:
    try:
        return version("peneus")
    except PackageNotFoundError:
        return "0+uninstalled"
