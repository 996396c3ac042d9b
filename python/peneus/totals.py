"""Statistics of several processes as one: sums in which counters never go back."""

from typing import Any

Stats = dict[str, Any]


def is_counter(name: str) -> bool:
    """Counters only grow; everything else is a gauge."""
    return name.endswith("_total")


def add(sums: Stats, stats: Stats) -> None:
    """Adds stats, as of `peneus.stats()`, to sums."""
    for name, value in stats.items():
        if isinstance(value, dict):
            add(sums.setdefault(name, {}), value)
        elif isinstance(value, (int, float)):
            sums[name] = sums.get(name, 0) + value


def counters(stats: Stats) -> Stats:
    """Those of stats that stay when their process has ended."""
    return {name: value for name, value in stats.items() if is_counter(name)}
