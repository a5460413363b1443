"""The mixtures that a solved one is compared with: what each is, and in which order they are told."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

_NEAREST = "nearest to "

_SAME = 1e-6
"""Shares closer than this in every domain are one mixture."""

_MEANING = {
    "proportional": "in proportion to the training volumes of each domain, as drawing volumes at random would give",
    "uniform": "the same share for every domain",
    "unimax": "the same share for every domain, but none above its repetition cap (Chung 2023)",
    "best_single": "all of the budget on the one domain that alone has the lowest predicted objective",
    "best_observed": "of the mixtures of the probe runs, the one with the lowest objective predicted for this budget",
    "no_transfer": "the optimum of laws fitted without transfer between domains",
}


def nearest_to(name: str) -> str:
    """The nearest mixture to a rival that keeps the constraints; no mixture of a user's can have a name with blanks."""
    return _NEAREST + name


def in_order(names: Iterable[str]) -> list[str]:
    """Rivals by name, each followed by the nearest mixture to it that keeps the constraints, where there is one."""
    return sorted(names, key=lambda name: (name.removeprefix(_NEAREST), name.startswith(_NEAREST)))


def defined(names: Iterable[str]) -> list[str]:
    """What each of the rivals is: `uniform: the same share for every domain`; a user's own mixtures need no words."""
    found = []
    for name in in_order(names):
        if name in _MEANING:
            found.append(f"{name}: {_MEANING[name]}")
        elif name.startswith(_NEAREST):
            other = name.removeprefix(_NEAREST)
            found.append(
                f"{name}: of the mixtures that keep the constraints, the closest to {other} (smallest KL divergence)"
            )
    return found


def same(mixtures: Mapping[str, Mapping[str, float]]) -> list[str]:
    """Which of some mixtures, shares by domain, are one and the same: `unimax is the same mixture as uniform here`."""
    names = list(mixtures)
    found = []
    for index, name in enumerate(names):
        for other in names[:index]:
            if all(abs(mixtures[name][domain] - share) < _SAME for domain, share in mixtures[other].items()):
                found.append(f"{name} is the same mixture as {other} here")
                break
    return found
