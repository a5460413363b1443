"""What happens to a version after it was published: its status and its tags, in small files beside the versions.

`NAME/lifecycle/v2.deprecated.json` and the like say that something has happened; `NAME/tags/stable.json` says which
version a tag names. Every file is written whole or not at all, none is read to be written, and a status only ever
moves on, so that writers at once need no lock: of two that set one tag the last one counts.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from mixlang.files import write_json

Status = Literal["candidate", "published", "deprecated"]

LATEST = "latest"

_TAG = re.compile(r"[a-z][a-z0-9_-]{0,62}[a-z0-9]")
_NUMBER = re.compile(r"v([1-9][0-9]*)")


def version_number(text: str) -> int | None:
    """2 of `v2`; None of anything else."""
    match = _NUMBER.fullmatch(text)
    return int(match[1]) if match else None


def wrong_tag(tag: str) -> str | None:
    """Why a text cannot be a tag, or None. Tags are names that DVC accepts for the stages of an artifact."""
    if tag == LATEST:
        return "'latest' is always the newest version that is not deprecated, and cannot be set"
    if version_number(tag) is not None:
        return f"'{tag}' is the name of a version"
    if not _TAG.fullmatch(tag):
        return (
            f"'{tag}' is no tag: expected small letters, digits, '-' and '_', beginning with a letter, as in 'stable'"
        )
    return None


@dataclass(frozen=True)
class Deprecation:
    """That a version is not to be used any more.

    Attributes:
        superseded_by: number of the version to use instead, or None.
        reason: in words; may be empty.
        date: when, as YYYY-MM-DD.
    """

    superseded_by: int | None
    reason: str
    date: str


@dataclass(frozen=True)
class State:
    """Where the versions of a mixture stand, as read at one moment.

    Attributes:
        vouched: versions that somebody has vouched for; deprecations, by version; tags: the version each one names.
    """

    vouched: frozenset[int]
    deprecations: dict[int, Deprecation]
    tags: dict[str, int]

    def status(self, version: int, initial: str) -> Status:
        """Of a version: as it was published, unless something has happened since."""
        if version in self.deprecations:
            return "deprecated"
        return "published" if initial == "published" or version in self.vouched else "candidate"

    def tags_of(self, version: int) -> tuple[str, ...]:
        """The tags that name a version."""
        return tuple(tag for tag, number in self.tags.items() if number == version)

    def latest(self, versions: list[int]) -> int:
        """The newest version that is not deprecated; the newest of all where all are."""
        return ([version for version in versions if version not in self.deprecations] or versions)[-1]


@dataclass(frozen=True)
class Lifecycle:
    """The status files and tags of one mixture; `folder` is `registry/NAME`."""

    folder: Path

    def state(self) -> State:
        """How it all stands now."""
        vouched, deprecations, tags = set(), {}, {}
        for path in sorted((self.folder / "lifecycle").glob("v*.json")):
            number, _, what = path.stem.partition(".")
            version = version_number(number)
            if version is not None and what == "published":
                vouched.add(version)
            elif version is not None and what == "deprecated":
                said = _read(path)
                by = version_number(str(said.get("superseded_by")))
                deprecations[version] = Deprecation(by, str(said.get("reason", "")), str(said.get("date", "")))
        for path in sorted((self.folder / "tags").glob("*.json")):
            named = version_number(str(_read(path).get("version")))
            if named is not None:
                tags[path.stem] = named
        return State(frozenset(vouched), deprecations, tags)

    def tag(self, version: int, tag: str) -> None:
        """Let a tag name a version; who sets one vouches for it, which makes a candidate a published version."""
        self._write(self._happened(version, "published"), {})
        self._write(self.folder / "tags" / f"{tag}.json", {"version": f"v{version}"})

    def untag(self, tag: str) -> bool:
        """Remove a tag; False where there was none."""
        try:
            (self.folder / "tags" / f"{tag}.json").unlink()
        except FileNotFoundError:
            return False
        return True

    def deprecate(self, version: int, superseded_by: int | None, reason: str) -> None:
        """Say that a version is not to be used any more."""
        by = None if superseded_by is None else f"v{superseded_by}"
        self._write(self._happened(version, "deprecated"), {"superseded_by": by, "reason": reason})

    def problems(self, versions: list[int]) -> list[str]:
        """Files that cannot be read, or that speak of versions that are not there."""
        found = []
        for path in sorted([*self.folder.glob("tags/*"), *self.folder.glob("lifecycle/*")]):
            shown = path.relative_to(self.folder.parent).as_posix()
            if path.name.endswith(".tmp"):
                continue  # what a killed writer has left, which nobody reads
            said = _read(path)
            about = [version_number(path.name.split(".")[0])] if path.parent.name == "lifecycle" else []
            about += [version_number(str(said[key])) for key in ("version", "superseded_by") if said.get(key)]
            if not said or not about:
                found.append(f"{shown}: cannot be read")
            elif any(number not in versions for number in about):
                found.append(f"{shown}: speaks of a version that is not there")
        return found

    def _happened(self, version: int, what: str) -> Path:
        return self.folder / "lifecycle" / f"v{version}.{what}.json"

    @staticmethod
    def _write(path: Path, value: dict[str, Any]) -> None:
        write_json(path, {**value, "date": datetime.now(UTC).strftime("%Y-%m-%d")})


def _read(path: Path) -> dict[str, Any]:
    """A small file's contents; empty where it is gone or damaged, which `problems` reports."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return value if isinstance(value, dict) else {}
