"""The variables PENEUS_…: those of the options, those that Kubernetes sets by itself, and those that are nobody's."""

import difflib
import re
from collections.abc import Iterator, Mapping

from . import options
from .bus_config import HUB_VARIABLE
from .options import Option

PREFIX = "PENEUS_"
APPLICATION = "PENEUS_APPLICATION"

# Kubernetes gives each container variables for each Service ("service links"): of one that is called peneus, or peneus-something,
# such as PENEUS_PORT=tcp://10.43.214.28:8080, PENEUS_SERVICE_HOST and PENEUS_PORT_8080_TCP_ADDR.
_LINK = re.compile(r"\w+?_(SERVICE_HOST|SERVICE_PORT(_\w+)?|PORT_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)")
_LINKED = re.compile(r"(tcp|udp|sctp)://")


def value(option: Option, environment: Mapping[str, str]) -> str | None:
    """What environment says of option; None where it says nothing: an empty variable, or one of Kubernetes's."""
    text = environment.get(option.variable)
    return text if text and not _is_link(option.variable, text) else None


def doubts(environment: Mapping[str, str]) -> Iterator[str]:
    """A sentence about each variable that somebody may have meant otherwise than it is taken."""
    known = {option.variable for option in options.all_options()} | {APPLICATION, HUB_VARIABLE}
    for name in sorted(environment):
        if not name.startswith(PREFIX):
            continue
        if name in known:
            if _is_link(name, environment[name]):
                yield (
                    f"{name}={environment[name]} is not taken for the option: Kubernetes sets it, for a Service called peneus; "
                    "write enableServiceLinks: false into the pod, or give the Service another name"
                )
        elif not _is_link(name, environment[name]):
            near = difflib.get_close_matches(name, known, 1, 0.75)
            hint = f"did you mean {near[0]}?" if near else "docs/options.md lists them"
            yield f"{name} is no variable of Peneus's; {hint}"


def _is_link(name: str, text: str) -> bool:
    return bool(_LINK.fullmatch(name) or (name.endswith("_PORT") and _LINKED.match(text)))
