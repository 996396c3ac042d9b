"""From `module:attribute` to an application. What the path gets wrong is one sentence; what the application gets wrong is its own
traceback."""

import difflib
import importlib
import importlib.util
import inspect
import logging
import os
import pkgutil
import re
import sys
from types import ModuleType
from typing import Any

from asgiref.compatibility import guarantee_single_callable

from .errors import ApplicationImportError
from .printable import printable

logger = logging.getLogger(__name__)


def import_application(path: str) -> Any:
    """The ASGI 3 application that path (`package.module:attribute.attribute`) names; the working directory is looked in first."""
    module_name, separator, attributes = path.partition(":")
    if not separator or not module_name or not attributes or "/" in module_name or module_name.endswith(".py"):
        raise ApplicationImportError(f"{path!r} does not say where the application is; {_written(module_name, attributes)}")
    directory = os.getcwd()
    if directory not in sys.path:
        sys.path.insert(0, directory)
    target: Any = _import(module_name, path)
    place = module_name
    for name in attributes.split("."):
        target = _attribute(target, name, place, path)
        place = f"{place}.{name}"
    return single_callable(target, path)


def single_callable(application: Any, name: str = "application") -> Any:
    """application as an ASGI 3 callable: one of ASGI 2 is wrapped, one that takes no arguments is called for the application."""
    if _takes(application, 0) and not _takes(application, 1) and not _takes(application, 3):
        made = application()
        if inspect.iscoroutine(made):
            made.close()
            raise ApplicationImportError(f"{name!r} is an async function without arguments; write one that is not async")
        logger.info("%s makes the application", printable(name))
        application = made
        name = f"{name}()"
    if not callable(application):
        raise ApplicationImportError(f"{name!r} is a {type(application).__name__}, which cannot be called; name an application")
    if not _takes(application, 1) and not _takes(application, 3):
        takes = _signature(application)
        raise ApplicationImportError(f"{name!r} is no ASGI application, which takes (scope, receive, send): it takes {takes}")
    return guarantee_single_callable(application)


def _signature(application: Any) -> inspect.Signature | None:
    """None where it cannot be told, as of many callables in C."""
    try:
        return inspect.signature(application)
    except (ValueError, TypeError):
        return None


def _takes(application: Any, count: int) -> bool:
    """Whether application can be called with count positional arguments; True where that cannot be told."""
    signature = _signature(application) if callable(application) else None
    if signature is None:
        return count != 0
    try:
        signature.bind(*[None] * count)
    except TypeError:
        return False
    return True


def _written(module: str, attributes: str) -> str:
    """What to write instead of a path that has a file for its module, or lacks one of both."""
    example = "write module:attribute, for example mysite.asgi:application"
    if difflib.get_close_matches(module, ["channels"], 1, 0.75):
        return f"{example}; or did you mean peneus channels?"
    name = module.removesuffix(".py").strip("./").replace("/", ".")
    if re.fullmatch(r"\w+(\.\w+)*", name):
        return f"{example}; did you mean {name}:{attributes or 'application'}?"
    return example


def _import(name: str, path: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        # Only where the path itself is wrong: a module that the application does not find is the application's failure.
        if error.name is None or not (name == error.name or name.startswith(error.name + ".")) or _inside(name, error):
            raise
        at = "" if error.name == name else f" (there is no {error.name!r})"
        problem = f"no module named {name!r}{at}; looked in {os.getcwd()} and the Python path"
        raise ApplicationImportError(f"cannot import {path!r}: {problem}{_near(error.name)}") from None


def _near(name: str) -> str:
    """The module that may have been meant by name, which does not exist although its package does."""
    package, _, last = name.rpartition(".")
    parent = sys.modules.get(package)
    path = list(parent.__path__) if parent is not None and hasattr(parent, "__path__") else [os.getcwd()]
    found = difflib.get_close_matches(last, [module.name for module in pkgutil.iter_modules(path)], 1, 0.6)
    return f"; did you mean {f'{package}.' if package else ''}{found[0]}?" if found else ""


def _inside(name: str, error: ModuleNotFoundError) -> bool:
    """Whether error was raised by code of the application, such as a package that imports its missing part itself."""
    traceback = error.__traceback__
    while traceback is not None:
        frame_name = traceback.tb_frame.f_globals.get("__name__", "")
        if traceback.tb_frame.f_code.co_filename.startswith("<frozen importlib") or frame_name == "importlib":
            traceback = traceback.tb_next
            continue
        if frame_name != __name__:
            return True
        traceback = traceback.tb_next
    return False


def _attribute(target: Any, name: str, place: str, path: str) -> Any:
    try:
        return getattr(target, name)
    except AttributeError as error:
        # A module's own __getattr__, or a property, may have failed for a reason of its own.
        if error.name not in (None, name) or (error.obj is not None and error.obj is not target):
            raise
    names = [other for other in dir(target) if not other.startswith("_")]
    near = difflib.get_close_matches(name, names, 1, 0.4)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    raise ApplicationImportError(f"cannot import {path!r}: {place} has no attribute {name!r}{hint}")
