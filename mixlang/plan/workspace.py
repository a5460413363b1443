"""A workspace: a git repository with specs/, registry/, dvc.yaml and .dvc, and the paths inside it."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from mixlang.errors import InputError


@dataclass(frozen=True)
class Study:
    """The paths of one spec in a workspace; `item` is its name in dvc.yaml (the file's stem)."""

    root: Path
    item: str

    @property
    def spec(self) -> Path:
        """The spec file."""
        return self.root / "specs" / f"{self.item}.yaml"

    @property
    def build(self) -> Path:
        """The folder of the study's small committed results."""
        return self.root / "build" / self.item

    def file(self, name: str) -> Path:
        """A file of the build folder, such as `plan.json`."""
        return self.build / name


@dataclass(frozen=True)
class Workspace:
    """A repository prepared by `mixlang init`."""

    root: Path

    @classmethod
    def find(cls, start: Path) -> Workspace:
        """The workspace that `start` lies in.

        Raises:
            InputError: no parent folder holds both dvc.yaml and .dvc.
        """
        start = start.resolve()
        for folder in (start, *start.parents):
            if (folder / "dvc.yaml").is_file() and (folder / ".dvc").is_dir():
                return cls(folder)
        raise InputError(
            f"{start} is not inside a mixlang workspace (no dvc.yaml and .dvc here or above)",
            "Make one with 'mixlang init PATH', or change to one.",
        )

    @property
    def store(self) -> Path:
        """Runs, prepared volumes and caches; MIXLANG_STORE moves it, for example to a shared file system."""
        return Path(os.environ.get("MIXLANG_STORE") or self.root / ".mixlang").resolve()

    @property
    def registry(self) -> Path:
        """The published mixtures."""
        return self.root / "registry"

    def studies(self) -> list[Study]:
        """The studies that have been compiled here."""
        built = sorted((self.root / "build").glob("*/plan.json"))
        return [Study(self.root, path.parent.name) for path in built]

    def study(self, spec: Path) -> Study:
        """The study of a spec file of this workspace.

        Raises:
            InputError: the file is not `specs/NAME.yaml` of this workspace.
        """
        path = spec.resolve()
        if path.parent != self.root / "specs" or path.suffix != ".yaml":
            raise InputError(
                f"{spec} is not a spec of the workspace {self.root}",
                f"Put it at {self.root / 'specs' / (path.stem + '.yaml')}.",
            )
        return Study(self.root, path.stem)
