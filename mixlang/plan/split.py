"""The subject-level split: one patient's CT, MRI and PET fall on the same side, in every domain."""

from __future__ import annotations

import hashlib
import math

from mixlang.errors import InputError
from mixlang.plan.data_manifest import DataManifest


class Unsplittable(InputError):
    """A domain without enough subjects to train and validate on."""

    def __init__(self, domain: str, message: str, hint: str) -> None:
        super().__init__(message, hint)
        self.domain = domain


def order_key(seed: int, text: str) -> str:
    """A fixed pseudo-random rank of a name, by which subjects and nested subsets are ordered."""
    return hashlib.sha256(f"{seed}:{text}".encode()).hexdigest()


def validation_subjects(manifest: DataManifest, fraction: float, seed: int) -> set[str]:
    """Choose the validation subjects over all domains at once.

    Domains with few subjects choose first; a domain counts what others have chosen before it adds its own. Each
    domain ends with at least `fraction` of its subjects (and at least one) on the validation side.

    Raises:
        Unsplittable: a domain would be left without a training or a validation subject.
    """
    subjects = {
        name: sorted({volume.subject for volume in data.volumes}, key=lambda text: order_key(seed, text))
        for name, data in manifest.domains.items()
    }
    chosen: set[str] = set()
    for name in sorted(subjects, key=lambda item: (len(subjects[item]), item)):
        wanted = max(1, math.ceil(fraction * len(subjects[name]) - 1e-9))
        for subject in subjects[name]:
            if sum(item in chosen for item in subjects[name]) >= wanted:
                break
            chosen.add(subject)
    for name, members in subjects.items():
        kept = sum(item not in chosen for item in members)
        if not members or not kept:
            raise Unsplittable(
                name,
                f"domain '{name}' has {len(members)} usable subject{'s' * (len(members) != 1)}, "
                f"{len(members) - kept} of them needed for validation: none would be left to train on",
                "Give it more subjects, or lower data.split.validation.",
            )
    return chosen
