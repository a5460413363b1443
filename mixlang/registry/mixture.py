"""A published version as it is read: what mixture.yaml says, and where it stands now."""

from __future__ import annotations

import copy
import functools
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from mixlang.errors import InputError
from mixlang.registry.lifecycle import Deprecation, State, Status, version_number


class NotPublished(InputError, KeyError):
    """There is no such mixture or version."""

    def __str__(self) -> str:
        return str(self.args[0])


class Deprecated(UserWarning):
    """A mixture was asked for that is not to be used any more."""


Facts = dict[str, Any]
"""What mixture.yaml holds."""


@dataclass(frozen=True)
class Mixture:
    """A published version.

    Attributes:
        budget: what the shares are of, in `unit` (cost-weighted where the spec gives costs).
        shares: of the budget, by domain, summing to 1; amounts: samples of each domain at the budget.
        status: `candidate` (nothing measured, or measured to be worse than a baseline, and nobody has vouched for it),
            `published` or `deprecated`.
        tags: set by people; `latest` is not among them.
        supersedes: number of the version before it; deprecation: None unless deprecated.
        facts: everything `mixture.yaml` says.
        folder: where the version lies.
    """

    name: str
    version: int
    budget: float
    unit: str
    shares: dict[str, float]
    amounts: dict[str, int]
    status: Status
    tags: tuple[str, ...]
    supersedes: int | None
    deprecation: Deprecation | None
    facts: Facts
    folder: Path

    @property
    def label(self) -> str:
        """`name@vK`."""
        return f"{self.name}@v{self.version}"

    def as_dict(self) -> Facts:
        """What `mixture.yaml` says, with status and tags as they are now."""
        gone = self.deprecation
        by = None if gone is None or gone.superseded_by is None else f"v{gone.superseded_by}"
        later = {} if gone is None else {"superseded_by": by, "reason": gone.reason, "deprecated": gone.date}
        return {**self.facts, "status": self.status, "tags": list(self.tags), **later}

    def warning(self) -> str:
        """That the version is deprecated, in words; empty where it is not."""
        if self.deprecation is None:
            return ""
        by, reason = self.deprecation.superseded_by, self.deprecation.reason
        instead = f"; use {self.name}@v{by}" if by else ""
        return f"{self.label} is deprecated{f' ({reason})' if reason else ''}{instead}"


def read_mixture(folder: Path, name: str, version: int, now: State) -> Mixture:
    """The version that lies in a folder.

    Raises:
        InputError: its mixture.yaml is missing or cannot be read.
    """
    path = folder / "mixture.yaml"
    try:
        facts = _facts(path, path.stat().st_mtime_ns)
        return Mixture(
            name,
            version,
            facts["budget"],
            facts.get("unit", "samples"),
            dict(facts["shares"]),
            dict(facts["amounts"]),
            now.status(version, facts.get("status", "candidate")),
            now.tags_of(version),
            version_number(str(facts.get("supersedes"))),
            now.deprecations.get(version),
            facts,
            folder,
        )
    except (OSError, yaml.YAMLError, UnicodeDecodeError, KeyError, TypeError, ValueError, AttributeError) as error:
        raise InputError(
            f"{path} cannot be read: {error}", "See what is damaged with 'mixlang registry verify'."
        ) from error


@functools.lru_cache(maxsize=4096)
def _parsed(path: Path, _changed: int) -> Facts:
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    value = yaml.load(path.read_text(encoding="utf-8"), loader)
    if not isinstance(value, dict):
        raise ValueError("it does not hold keys and values")
    return value


def _facts(path: Path, changed: int) -> Facts:
    """What a mixture.yaml says. A version never changes, so that it is parsed once; `changed` is when it did all the same."""
    return copy.deepcopy(_parsed(path, changed))
