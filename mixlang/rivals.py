"""What the mixtures are called that a solved one is compared with, and in which order they are told."""

from __future__ import annotations

from collections.abc import Iterable

_NEAREST = "nearest to "


def nearest_to(name: str) -> str:
    """The nearest mixture to a rival that keeps the constraints; no mixture of a user's can have a name with blanks."""
    return _NEAREST + name


def in_order(names: Iterable[str]) -> list[str]:
    """Rivals by name, each followed by the nearest mixture to it that keeps the constraints, where there is one."""
    return sorted(names, key=lambda name: (name.removeprefix(_NEAREST), name.startswith(_NEAREST)))
