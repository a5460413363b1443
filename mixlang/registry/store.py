"""The registry: `registry/NAME/vK/`, append-only. A version is a folder that appears whole and never changes.

`MANIFEST` lists the SHA-256 of every other file in the format of `sha256sum -c`.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from mixlang.errors import InputError, StageError
from mixlang.files import file_digest

_VERSION = re.compile(r"^v([1-9][0-9]*)$")


class NotPublished(InputError, KeyError):
    """There is no such mixture or version."""

    def __str__(self) -> str:
        return str(self.args[0])


@dataclass(frozen=True)
class Mixture:
    """A published version.

    Attributes:
        shares: of the budget, by domain; amounts: samples of each domain at the budget.
        facts: everything `mixture.yaml` says.
        folder: where the version lies.
    """

    name: str
    version: int
    budget: float
    shares: dict[str, float]
    amounts: dict[str, int]
    facts: dict[str, Any]
    folder: Path

    @property
    def label(self) -> str:
        """`name@vK`."""
        return f"{self.name}@v{self.version}"


@dataclass(frozen=True)
class Registry:
    """The published mixtures below a folder.

    Example:
        `Registry("registry").get("ct-mri-pet@latest").shares`
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
        return sorted(path.name for path in self.root.iterdir() if path.is_dir() and self.versions(path.name))

    def versions(self, name: str) -> list[int]:
        """Version numbers of a mixture, oldest first."""
        folder = self.root / name
        if not folder.is_dir():
            return []
        return sorted(int(match[1]) for path in folder.iterdir() if (match := _VERSION.match(path.name)))

    def get(self, reference: str) -> Mixture:
        """The mixture a reference names: `name`, `name@latest` or `name@v2`.

        Raises:
            NotPublished: nothing of that name or version; says what there is.
            InputError: the version's mixture.yaml cannot be read.
        """
        name, _, wanted = reference.partition("@")
        versions = self.versions(name)
        if not versions:
            known = ", ".join(self.names()) or "nothing"
            raise NotPublished(f"there is no mixture '{name}' in {self.root}; it holds {known}")
        if wanted in ("", "latest"):
            return self._read(name, versions[-1])
        match = _VERSION.match(wanted)
        if not match or int(match[1]) not in versions:
            shown = ", ".join(f"v{version}" for version in versions)
            raise NotPublished(f"'{name}' has no version '{wanted}'; it has {shown}")
        return self._read(name, int(match[1]))

    def _read(self, name: str, version: int) -> Mixture:
        folder = self.root / name / f"v{version}"
        path = folder / "mixture.yaml"
        try:
            facts = yaml.safe_load(path.read_text(encoding="utf-8"))
            return Mixture(name, version, facts["budget"], facts["shares"], facts["amounts"], facts, folder)
        except (OSError, yaml.YAMLError, KeyError, TypeError) as error:
            raise InputError(
                f"{path} cannot be read: {error}", "See what is damaged with 'mixlang registry verify'."
            ) from error

    def publish(self, name: str, content: str, render: Callable[[int], Mapping[str, bytes]]) -> tuple[Mixture, bool]:
        """Add a version, unless the latest one has the same content.

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
                latest = self._read(name, versions[-1])
                if latest.facts.get("content") == content:
                    return latest, False
            number = versions[-1] + 1 if versions else 1
            try:
                if self._place(folder, number, render(number)):
                    return self._read(name, number), True
            except OSError as error:
                hint = "Free disk space or mend the permissions, then run the same command again."
                raise StageError(f"could not publish to {folder}: {error.strerror or error}", hint) from error

    @staticmethod
    def _place(folder: Path, number: int, files: Mapping[str, bytes]) -> bool:
        """Write a version aside and rename it into place; False when the number is taken."""
        folder.mkdir(parents=True, exist_ok=True)
        aside = Path(tempfile.mkdtemp(prefix=".publishing-", dir=folder))
        try:
            listed = {**files, "MANIFEST": _manifest(files)}
            for filename, data in listed.items():
                with (aside / filename).open("wb") as file:
                    file.write(data)
                    file.flush()
                    os.fsync(file.fileno())
            aside.chmod(0o755)
            try:
                aside.rename(folder / f"v{number}")
            except OSError:
                if (folder / f"v{number}").exists():
                    return False
                raise
            return True
        finally:
            shutil.rmtree(aside, ignore_errors=True)

    def damage(self, mixture: Mixture) -> list[str]:
        """What is wrong with a version's files: changed, missing, not listed; empty when it is as published."""
        path = mixture.folder / "MANIFEST"
        try:
            lines = path.read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            return [f"MANIFEST: cannot be read ({error})"]
        listed = {}
        for line in lines:
            digest, _, filename = line.partition("  ")
            if not re.fullmatch(r"[0-9a-f]{64}", digest) or not filename or "/" in filename:
                return [f"MANIFEST: the line {line[:80]!r} is not a hash and a file name"]
            listed[filename] = digest
        found = []
        for filename, digest in listed.items():
            file = mixture.folder / filename
            if not file.is_file():
                found.append(f"{filename}: missing")
            elif file_digest(file) != digest:
                found.append(f"{filename}: changed since it was published")
        extra = sorted(file.name for file in mixture.folder.iterdir() if file.name not in {*listed, "MANIFEST"})
        return found + [f"{filename}: not part of the published version" for filename in extra]


def _manifest(files: Mapping[str, bytes]) -> bytes:
    return "".join(f"{hashlib.sha256(data).hexdigest()}  {name}\n" for name, data in sorted(files.items())).encode()
