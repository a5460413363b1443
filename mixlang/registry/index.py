"""What stands at the top of a registry: `README.md`, its index for people, and `dvc.yaml`, its artifacts for DVC.

Both are functions of the registry, written anew by every change. Writers need no lock: each looks again after it has
written, and writes again if the registry has changed meanwhile, so that the last of them leaves what is true.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

from mixlang.documents import Verified
from mixlang.files import write_text
from mixlang.registry.artifacts import ARTIFACTS, artifacts_text
from mixlang.registry.headline import headline_change
from mixlang.registry.mixture import Mixture
from mixlang.words import certainty, signed

README = "README.md"

_HEAD = """\
# Published mixtures

Written by mixlang; do not edit. A version never changes once it is here. `mixlang registry show NAME@VERSION` says
where one comes from, `mixlang registry verify` proves that it is as published, its `report.html` is for reading.

"""


class Versions(Protocol):
    """What the index is made of: a registry, as far as it matters here."""

    root: Path

    def names(self) -> list[str]:
        """The mixtures."""
        ...

    def readable(self, name: str) -> list[Mixture]:
        """The versions of a mixture that can be read."""
        ...


def refresh(registry: Versions) -> None:
    """Bring the index and the artifacts up to date with the registry."""
    while True:
        texts = rendered(registry)
        for name, text in texts.items():
            path = registry.root / name
            if not path.exists() or path.read_text(encoding="utf-8", errors="replace") != text:
                write_text(path, text)
        if not stale(registry):
            return


def stale(registry: Versions) -> list[str]:
    """Which of the two files do not say what the registry holds."""
    return [
        name
        for name, text in rendered(registry).items()
        if not (registry.root / name).is_file()
        or (registry.root / name).read_text(encoding="utf-8", errors="replace") != text
    ]


def rendered(registry: Versions) -> dict[str, str]:
    """The texts of both files, by name."""
    found = {name: registry.readable(name) for name in registry.names()}
    found = {name: mixtures for name, mixtures in found.items() if mixtures}
    latest = {name: _latest(mixtures) for name, mixtures in found.items()}
    return {README: _readme(found, latest), ARTIFACTS: artifacts_text(latest)}


def _latest(mixtures: list[Mixture]) -> Mixture:
    standing = [mixture for mixture in mixtures if mixture.deprecation is None]
    return (standing or mixtures)[-1]


def _readme(found: Mapping[str, list[Mixture]], latest: Mapping[str, Mixture]) -> str:
    head = ["mixture", "version", "date", "budget", "shares", "verified", "status", "tags"]
    lines = [f"| {' | '.join(head)} |", "|" + "---|" * len(head)]
    for name, mixtures in found.items():
        for mixture in reversed(mixtures):
            tags = [*(["latest"] if mixture == latest[name] else []), *mixture.tags]
            cells = [
                name,
                f"[v{mixture.version}]({name}/v{mixture.version}/mixture.yaml)",
                str(mixture.facts.get("published", "")),
                f"{mixture.budget:,.0f} {mixture.unit}",
                ", ".join(f"{domain} {share:.1%}" for domain, share in mixture.shares.items()),
                verified_in_words(mixture.facts.get("verified")),
                _status(mixture),
                ", ".join(tags),
            ]
            lines.append(f"| {' | '.join(cell.replace('|', ' ') for cell in cells)} |")
    notes = (
        "\nShares: of the budget named, for which they were solved. Verified: measured change of the objective at the largest "
        "held-out budget at which they were trained; negative is better.\n"
    )
    return _HEAD + ("\n".join(lines) + "\n" + notes if found else "Nothing is published yet.\n")


def _status(mixture: Mixture) -> str:
    gone = mixture.deprecation
    if gone is None:
        return mixture.status
    return "deprecated" + (f", use v{gone.superseded_by}" if gone.superseded_by else "")


def verified_in_words(verified: Verified | None) -> str:
    """What held-out runs showed, in a few words: the change from proportional, or from the first baseline."""
    found = headline_change(verified)
    if found is None:
        return "not measured"
    change = found.changes[found.usual]
    ends = certainty(change)
    whose = "with these shares" if found.own else "not with these shares but with those solved for that budget"
    return f"{signed(change['mean'])} ({ends}) against {found.usual} at {found.budget:,} samples, {whose}"
