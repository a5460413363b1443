"""A workspace: a git repository with specs/, registry/, dvc.yaml and .dvc, and the paths inside it."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from mixlang.errors import InputError
from mixlang.files import read_json

if TYPE_CHECKING:
    from mixlang.spec import Diagnostic, LoadedSpec


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

    @property
    def overrides(self) -> tuple[str, ...]:
        """What the last `mixlang run` or `compile` set on the command line, as given.

        Raises:
            InputError: overrides.json is damaged.
        """
        path = self.file("overrides.json")
        if not path.exists():
            return ()
        value = read_json(path)
        if not (isinstance(value, dict) and isinstance(value.get("set"), list)):
            raise InputError(f"{path} is damaged", f"Run 'mixlang compile specs/{self.item}.yaml' to write it again.")
        return tuple(str(text) for text in value["set"])

    def load(self) -> LoadedSpec:
        """The spec as it was compiled: with what was set on the command line.

        Raises:
            SpecError: it does not compile (any more).
        """
        from mixlang.spec import load_spec  # light commands that need no spec do not pay for it

        return load_spec(self.spec, overrides=self.overrides)


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
    def bases(self) -> Path:
        """Where the files lie that specs may extend; the pipeline depends on the folder as a whole."""
        return self.root / "specs" / "bases"

    def misplaced(self, loaded: LoadedSpec) -> list[Diagnostic]:
        """What a spec extends outside specs/bases, where the pipeline would not notice that it changed."""
        return [said for base, said in loaded.bases.items() if not base.resolve().is_relative_to(self.bases)]

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
