"""The registry: `registry/NAME/vK/`, append-only. A version is a folder that appears whole and never changes.

What happens to it later, its status and its tags, is kept beside it (mixlang.registry.lifecycle); `README.md` lists
it all (mixlang.registry.index).
"""

from __future__ import annotations

import contextlib
import re
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from mixlang.errors import InputError, StageError
from mixlang.names import meant
from mixlang.registry.index import refresh, stale
from mixlang.registry.lifecycle import LATEST, Lifecycle, State, version_number, wrong_tag
from mixlang.registry.mixture import Deprecated, Mixture, NotPublished, read_mixture
from mixlang.registry.sealed import damage, place

_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_-]*")


@dataclass(frozen=True)
class Registry:
    """The published mixtures below a folder.

    Example:
        `Registry("registry").get("ct-mri-pet@stable").shares`
    """

    folder: Path | str

    @property
    def root(self) -> Path:
        """The folder as a path."""
        return Path(self.folder)

    def names(self) -> list[str]:
        """Mixtures that have a version."""
        if not self.root.is_dir():
            return []
        found = (path.name for path in self.root.iterdir() if path.is_dir() and _NAME.fullmatch(path.name))
        return sorted(name for name in found if self.versions(name))

    def versions(self, name: str) -> list[int]:
        """Version numbers of a mixture, oldest first."""
        folder = self.root / name
        if not _NAME.fullmatch(name) or not folder.is_dir():
            return []
        numbers = (version_number(path.name) for path in folder.iterdir())
        return sorted(number for number in numbers if number is not None)

    def all(self, name: str | None = None) -> list[Mixture]:
        """Every version of a mixture, or of all of them, oldest first."""
        found = []
        for item in self.names() if name is None else [name]:
            state = self.lifecycle(item).state()
            found += [self._read(item, version, state) for version in self.versions(item)]
        return found

    def readable(self, name: str) -> list[Mixture]:
        """The versions of a mixture whose mixture.yaml can be read: a damaged one must not keep others from going on."""
        state, found = self.lifecycle(name).state(), []
        for version in self.versions(name):
            with contextlib.suppress(InputError):
                found.append(self._read(name, version, state))
        return found

    def lifecycle(self, name: str) -> Lifecycle:
        """Status files and tags of a mixture."""
        return Lifecycle(self.root / name)

    def get(self, reference: str) -> Mixture:
        """The mixture a reference names: `name` or `name@latest` (the newest version that is not deprecated; the newest
        of all where all are), `name@stable` (whatever people have tagged so), or `name@v2`.

        Raises:
            NotPublished: nothing of that name, version or tag; says what there is.
            InputError: the version's mixture.yaml cannot be read.

        Warns:
            Deprecated: it is not to be used any more; says what to use instead.
        """
        name, version = self.resolve(reference)
        found = self._read(name, version)
        if found.deprecation is not None:
            warnings.warn(found.warning(), Deprecated, stacklevel=2)
        return found

    def get_version(self, name: str, version: int) -> Mixture:
        """A version by its number, whatever has become of it.

        Raises:
            InputError: its mixture.yaml is missing or cannot be read.
        """
        return self._read(name, version)

    def resolve(self, reference: str) -> tuple[str, int]:
        """Name and version number of a reference.

        Raises:
            NotPublished: as `get`.
        """
        name, _, wanted = reference.partition("@")
        versions = self.versions(name)
        if not versions:
            known = ", ".join(self.names()) or "nothing"
            hint = meant(name, self.names())
            raise NotPublished(f"there is no mixture '{name}' in {self.root}; it holds {known}", hint)
        state = self.lifecycle(name).state()
        if wanted in ("", LATEST):
            return name, state.latest(versions)
        number = version_number(wanted) or state.tags.get(wanted)
        if number not in versions:
            shown = ", ".join([*(f"v{version}" for version in versions), LATEST, *state.tags])
            hint = meant(wanted, shown.split(", "))
            raise NotPublished(f"'{name}' has no version or tag '{wanted}'; it has {shown}", hint)
        return name, number

    def _read(self, name: str, version: int, state: State | None = None) -> Mixture:
        return read_mixture(self.folder_of(name, version), name, version, state or self.lifecycle(name).state())

    def publish(self, name: str, content: str, render: Callable[[int], Mapping[str, bytes]]) -> tuple[Mixture, bool]:
        """Add a version, unless the newest one has the same content.

        Safe with several publishers at once: a version is built aside and renamed into place, and a rename onto a
        version that somebody else has just published fails, upon which the next number is taken.

        Args:
            content: the hash of what the version says; equal hashes are one result.
            render: the files of a version, given its number; called again when the number was taken.

        Returns:
            The version, and whether it is new.

        Raises:
            StageError: the disk refused; the registry is as it was.
        """

        folder = self.root / name
        while True:
            versions = self.versions(name)
            if versions:
                newest = self._read(name, versions[-1])
                if newest.facts.get("content") == content:
                    refresh(self)  # a publisher that was killed may have left it as it was before
                    return newest, False
            number = versions[-1] + 1 if versions else 1
            try:
                if place(folder, number, render(number)):
                    refresh(self)
                    return self._read(name, number), True
            except OSError as error:
                hint = "Free disk space or mend the permissions, then run the same command again."
                raise StageError(f"could not publish to {folder}: {error.strerror or error}", hint) from error

    def tag(self, reference: str, tag: str) -> Mixture:
        """Let a tag name a version, whatever it named before. A candidate becomes a published version by it.

        Raises:
            NotPublished: there is no such version.
            InputError: the tag has the wrong form, or the version is deprecated.
        """

        wrong = wrong_tag(tag)
        if wrong:
            raise InputError(wrong)
        name, version = self.resolve(reference)
        if version in self.lifecycle(name).state().deprecations:
            raise InputError(f"{name}@v{version} is deprecated; no tag can name it", "Tag another version.")
        self.lifecycle(name).tag(version, tag)
        refresh(self)
        return self._read(name, version)

    def untag(self, name: str, tag: str) -> None:
        """Remove a tag.

        Raises:
            NotPublished: there is no such mixture or tag.
        """

        name, _ = self.resolve(name)
        if not self.lifecycle(name).untag(tag):
            there = ", ".join(self.lifecycle(name).state().tags) or "none"
            raise NotPublished(f"'{name}' has no tag '{tag}'; it has {there}")
        refresh(self)

    def deprecate(self, reference: str, superseded_by: str | None = None, reason: str = "") -> Mixture:
        """Say that a version is not to be used any more. It stays, and so do its files; there is no way back.

        Args:
            reference: with its version, as `name@v1`.
            superseded_by: the version to use instead, as `v2`.

        Raises:
            NotPublished: there is no such version.
            InputError: the version is not named, or supersedes itself.
        """

        if "@" not in reference:
            raise InputError(f"which version of '{reference}' is deprecated?", f"Name it, as in {reference}@v1.")
        name, version = self.resolve(reference)
        by = None if superseded_by is None else self.resolve(f"{name}@{superseded_by}")[1]
        if by == version:
            raise InputError(f"{name}@v{version} cannot be superseded by itself")
        if version in self.lifecycle(name).state().deprecations:
            raise InputError(f"{name}@v{version} is deprecated already")
        self.lifecycle(name).deprecate(version, by, reason)
        refresh(self)
        return self._read(name, version)

    def problems(self) -> list[str]:
        """What is wrong around the versions: numbers that are missing, status files and tags that make no sense, an index
        that does not say what there is (the next change writes it anew)."""

        found = []
        for name in self.names():
            versions = self.versions(name)
            gone = sorted(set(range(1, versions[-1])) - set(versions))
            found += [f"{name}/v{version}: missing" for version in gone]
            found += self.lifecycle(name).problems(versions)
        return found + [
            f"{name}: does not say what the registry holds" for name in stale(self) if (self.root / name).exists()
        ]

    def folder_of(self, name: str, version: int) -> Path:
        """Where a version lies."""
        return self.root / name / f"v{version}"

    def damage(self, mixture: Mixture) -> list[str]:
        """What is wrong with a version's files: changed, missing, not listed; empty when it is as published."""
        return damage(mixture.folder)
