"""The subject-level split: one patient's CT, MRI and PET fall on the same side, in every domain.

A side, once given, is kept: it is recorded in data.json. Adding, removing or renaming domains and adding subjects
therefore moves nobody across the split, and leaves what runs are trained on and measured on as it was.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase

from mixlang.errors import InputError
from mixlang.plan.data_manifest import DataManifest, Sides
from mixlang.spec.schema import Split


class Unsplittable(InputError):
    """A domain without enough subjects to train and validate on."""

    def __init__(self, domain: str, message: str, hint: str) -> None:
        super().__init__(message, hint)
        self.domain = domain


def order_key(seed: int, text: str) -> str:
    """A fixed pseudo-random rank of a name, by which subjects and nested subsets are ordered."""
    return hashlib.sha256(f"{seed}:{text}".encode()).hexdigest()


def split_subjects(manifest: DataManifest, split: Split, earlier: Sides | None = None) -> Sides:
    """Put every subject on a side, those of an earlier split on the one they had.

    Subjects named by `hold_out` are validated on. Of the others domains with few subjects choose first; a domain counts
    what is chosen already before it adds its own, in the fixed order of names. Each domain ends with at least the wanted
    fraction of its subjects on the validation side (and at least one), as far as earlier sides allow.

    Args:
        earlier: sides given before; they count if they were given for the same fraction and seed.

    Raises:
        Unsplittable: a domain would be left without a training or a validation subject.
    """
    subjects = {
        name: sorted({volume.subject for volume in data.volumes}, key=lambda text: order_key(split.seed, text))
        for name, data in manifest.domains.items()
    }
    everyone = {subject for members in subjects.values() for subject in members}
    same = earlier is not None and (earlier.fraction, earlier.seed) == (split.validation, split.seed)
    before = earlier if same and earlier is not None else Sides(split.validation, split.seed)
    held = {subject for subject in everyone if held_out(subject, split.hold_out)}
    chosen, fixed = set(before.validation) | held, set(before.training) - held
    for name in sorted(subjects, key=lambda item: (len(subjects[item]), item)):
        wanted = max(1, math.ceil(split.validation * len(subjects[name]) - 1e-9))
        for subject in subjects[name]:
            if sum(item in chosen for item in subjects[name]) >= wanted:
                break
            if subject not in fixed:
                chosen.add(subject)
    _refuse_one_sided(subjects, chosen)
    training = (set(before.training) | everyone) - chosen
    return Sides(split.validation, split.seed, tuple(sorted(chosen)), tuple(sorted(training)))


def held_out(subject: str, patterns: Sequence[str]) -> bool:
    """Whether a subject is named by one of the patterns of data.split.hold_out."""
    return any(fnmatchcase(subject, pattern) for pattern in patterns)


def _refuse_one_sided(subjects: Mapping[str, Sequence[str]], chosen: set[str]) -> None:
    for name, members in subjects.items():
        held = sum(item in chosen for item in members)
        usable = f"domain '{name}' has {len(members)} usable subject{'s' * (len(members) != 1)}"
        if not members or held == len(members):
            raise Unsplittable(
                name,
                f"{usable}, {held} of them needed for validation: none would be left to train on",
                "Give it more subjects, or lower data.split.validation.",
            )
        if not held:
            raise Unsplittable(
                name,
                f"{usable}, all of whom other domains have been trained on: none is left to validate on",
                "Give it a subject of its own, or change data.split.seed: everything is then split and trained anew.",
            )
