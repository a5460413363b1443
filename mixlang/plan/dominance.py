"""Which subjects and sites dominate a domain: what part of its training draws, or of its validation crops, is theirs."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from mixlang.documents import ScannedVolume
from mixlang.errors import InputError
from mixlang.plan.data_manifest import DataManifest, VolumeRecord
from mixlang.plan.split import split_subjects
from mixlang.spec.diagnostics import Diagnostic
from mixlang.spec.loader import LoadedSpec

_TIMES, _PART = 3.0, 0.2
"""Over so many times its equal part and over this part of all, a subject or a site dominates."""

_MOST = {"subject": 0.5, "site": 0.75}
"""So does one above this part; of two sites one is nearly always above a half."""


@dataclass(frozen=True)
class Parts:
    """How the draws of a domain divide over its subjects or sites.

    Attributes:
        kind: `subject` or `site`; parts: of each, by name, summing to 1; may be empty where no site is known.
    """

    kind: str
    parts: Mapping[str, float]

    @property
    def largest(self) -> tuple[str, float]:
        """The one with the largest part, the first by name of equals."""
        name = min(self.parts, key=lambda item: (-self.parts[item], item))
        return name, self.parts[name]

    @property
    def effective(self) -> float:
        """As many of equal weight would count as much: 1 / sum of squares."""
        return 1 / sum(part**2 for part in self.parts.values())

    @property
    def dominates(self) -> bool:
        """Whether the largest dominates; a domain of one site alone is what it is."""
        if not self.parts or (self.kind == "site" and len(self.parts) < 2):
            return False
        part = self.largest[1]
        return part > _MOST[self.kind] or (part > _PART and part > _TIMES / len(self.parts))


def parts_of(volumes: Sequence[ScannedVolume], sampling: str) -> tuple[Parts, Parts]:
    """The parts of subjects and of sites, of a domain's training or validation volumes.

    Args:
        volumes: `subject` of each, and `site` where it is known; sampling: what is drawn equally often.
    """
    count = Counter(volume["subject"] for volume in volumes)
    weights = [
        1 / (count[volume["subject"]] * len(count)) if sampling == "subject" else 1 / len(volumes) for volume in volumes
    ]

    def summed(kind: str, name: Callable[[ScannedVolume], str]) -> Parts:
        found: dict[str, float] = {}
        for volume, weight in zip(volumes, weights, strict=True):
            found[name(volume)] = found.get(name(volume), 0.0) + weight
        return Parts(kind, found)

    known = all(volume.get("site") for volume in volumes)
    return summed("subject", lambda volume: volume["subject"]), (
        summed("site", lambda volume: volume["site"]) if known else Parts("site", {})
    )


def dominated(loaded: LoadedSpec, manifest: DataManifest, seen: str = "") -> list[Diagnostic]:
    """Warnings of domains that one subject or site dominates, in training or in validation.

    Args:
        seen: words on how old the manifest is, for messages.
    """
    split, found = loaded.spec.data.split, []
    held: set[str] = set()
    with contextlib.suppress(InputError):  # that a domain cannot be split is reported as that
        held = set(split_subjects(manifest, split, manifest.sides).validation)
    if not held:
        return []
    for name, data in manifest.domains.items():
        sides: tuple[tuple[str, bool, str], ...] = (
            ("training draws", False, loaded.spec.train.sampling),
            ("validation crops", True, "volume"),
        )
        for what, side, sampling in sides:
            volumes = [_named(volume) for volume in data.volumes if (volume.subject in held) == side]
            for parts in parts_of(volumes, sampling):
                if name in loaded.spec.domains and parts.dominates:
                    found.append(_warning(loaded, name, parts, what, sampling, seen))
    return found


def _named(volume: VolumeRecord) -> ScannedVolume:
    return {"subject": volume.subject, "site": volume.site}


def _warning(loaded: LoadedSpec, name: str, parts: Parts, what: str, sampling: str, seen: str) -> Diagnostic:
    who, part = parts.largest
    message = f"{part:.0%} of the {what} of '{name}' are of the {parts.kind} {who}{seen}; {in_words(parts)}"
    help = "bring more data of others, or leave some of its volumes out (exclude)"
    if what == "training draws" and parts.kind == "subject" and sampling == "volume" and len(parts.parts) > 1:
        help = f"train.sampling: subject draws each subject equally often; or {help}"
    return loaded.marked.diagnostic("MX0314", ("domains", name), message, help, key=True, severity="warning")


def in_words(parts: Parts) -> str:
    """How many subjects or sites there are, and as how many they count."""
    count = len(parts.parts)
    if count == 1:
        return f"there is no other {parts.kind}"
    return f"its {count} {parts.kind}s count as much as {parts.effective:.1f} of equal weight"
