"""Who asks for the runs of a store, so that nobody deletes what somebody else needs.

Every study notes in the store which runs it asks for before it looks for them: a file of `askers/` for each part of a
study (its probe runs, its held-out runs, what it has published). A note names the workspace. Whether that still asks is
read from its own files where they are seen from here; a workspace that is not seen, such as one on a disk of another
machine, counts as still asking.
"""

from __future__ import annotations

import contextlib
import csv
import json
import os
import socket
import uuid
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from mixlang.errors import InputError, MixlangError, WriteError
from mixlang.files import digest, read_json, write_json, write_text
from mixlang.plan.build import Plan
from mixlang.study.workspace import Study, Workspace
from runners.execute.store import RunStore

Part = Literal["probe", "verify", "downstream", "results", "published"]

_NAMED_IN = ("plan.json", "runs.json", "verification.json")
"""Files of a study's build folder whose `runs` it asks for."""


@dataclass(frozen=True)
class Note:
    """What one part of a study asks for.

    Attributes:
        path: the note's file.
        workspace: the folder of the workspace; '' for the one whose own `.mixlang/` the store is, wherever that moves.
        identity: tells two workspaces apart that have the same path on two machines; '' where it is not known.
        host: where it was written.
        study, part: of the workspace.
        keys: the runs it asks for.
        former: runs it asked for before.
    """

    path: Path
    workspace: str
    identity: str
    host: str
    study: str
    part: str
    keys: frozenset[str]
    former: frozenset[str]

    @property
    def words(self) -> str:
        """The study for people."""
        return f"{self.study} of {self.workspace}" if self.workspace else self.study


def ask(workspace: Workspace, study: Study, part: Part, keys: Iterable[str]) -> None:
    """Note that a study asks for runs, and take back from the trash what is there of them.

    Comes before the first look for a result: `gc` looks for notes once more after it has moved a run away.

    Raises:
        WriteError: the disk refused.
    """
    store, wanted = RunStore(workspace.store), frozenset(keys)
    place, identity = _place(workspace)
    path = store.root / "askers" / f"{digest([place, identity, study.item, part])[:24]}.json"
    before = _read(path) if path.exists() else None
    if wanted if before is None else before.keys != wanted:
        old = frozenset() if before is None else before.keys | before.former
        _write(Note(path, place, identity, socket.gethostname(), study.item, part, wanted, old - wanted))
    for key in wanted.intersection(store.trashed()):
        store.restore(key)


def ask_again(workspace: Workspace, study: Study) -> None:
    """Note what a study and its registry have asked for before: their stages need not run again, nor did this store know.

    Raises:
        WriteError: the disk refused.
    """
    with contextlib.suppress(InputError, KeyError, TypeError):  # not there, or damaged: what is noted stays
        ask(workspace, study, "results", {row["key"] for row in read_json(study.file("verification.json"))["runs"]})
    with contextlib.suppress(OSError, InputError, LookupError, ValueError):
        ask(workspace, study, "published", published_keys(workspace))


def notes(store: RunStore) -> list[Note]:
    """All notes of a store.

    Raises:
        InputError: one that cannot be read, so that it is not known which runs it asks for.
    """
    found = []
    for path in sorted((store.root / "askers").glob("*.json")):
        note = _read(path)
        if note is None:
            raise InputError(
                f"{path} cannot be read, so it is not known which runs it asks for",
                "Delete it if nobody needs the runs; the study that wrote it notes them again when it is run.",
            )
        found.append(note)
    return found


def release(store: RunStore, workspace: str) -> int:
    """Let a workspace that is not seen from here ask for nothing any more; returns how many runs it asked for.

    Raises:
        InputError: no such workspace asks, or it is there.
    """
    there = notes(store)
    chosen = [note for note in there if shown(store, note) == workspace and note.keys]
    if not chosen:
        asking = sorted({shown(store, note) for note in there if note.keys and where(store, note) is None})
        raise InputError(
            f"no workspace {workspace} asks for runs of {store.root}",
            f"Those that are not seen from here: {', '.join(asking) or 'none'}.",
        )
    away = [note for note in chosen if where(store, note) is None]
    if not away:
        raise InputError(
            f"the workspace {workspace} is there, and its files say what it asks for",
            "Take the study out of its build/ and registry/ if its runs are not needed any more.",
        )
    for note in away:
        _write(replace(note, keys=frozenset(), former=note.former | note.keys))
    return len(frozenset().union(*(note.keys for note in away)))


def shown(store: RunStore, note: Note) -> str:
    """The folder of the workspace that a note is of, for people."""
    return note.workspace or str(store.root.parent)


def where(store: RunStore, note: Note) -> Path | None:
    """The workspace that a note is of, as seen from here; None where it is not seen."""
    root = Path(shown(store, note))
    try:
        if not ((root / "dvc.yaml").is_file() and (root / ".dvc").is_dir()):
            return None
        if note.identity and _identity(root) != note.identity:
            return None
    except OSError:
        return None
    return root.resolve()


@dataclass
class Asked:
    """What the studies of one workspace ask for now.

    Attributes:
        keys: of runs.
        unclear: files that could not be read, so that the keys may be incomplete.
    """

    keys: set[str] = field(default_factory=set)
    unclear: list[Path] = field(default_factory=list)


def asked_by(root: Path) -> Asked:
    """The runs that the plans, tables, verifications and published versions of a workspace name."""
    found = Asked()
    try:
        studies = [Study(root, entry.name) for entry in os.scandir(root / "build") if entry.is_dir()]
    except FileNotFoundError:
        studies = []
    except OSError:
        found.unclear.append(root / "build")
        return found
    for study in studies:
        try:
            _add_study(found, study)
        except OSError:
            found.unclear.append(study.build)
    _add_published(found, Workspace(root))
    return found


def published_keys(workspace: Workspace) -> set[str]:
    """The runs of all versions of a workspace's registry that are not deprecated.

    Raises:
        OSError, MixlangError: a version that cannot be read.
    """
    from mixlang.registry import Registry

    registry, found = Registry(workspace.registry), set()
    for mixture in registry.all():
        if mixture.status != "deprecated":
            with (mixture.folder / "losses.csv").open(encoding="utf-8", newline="") as file:
                found |= {row["key"] for row in csv.DictReader(file)}
    return found


def _add_study(found: Asked, study: Study) -> None:
    for name in _NAMED_IN:
        path = study.file(name)
        try:
            found.keys |= {row["key"] for row in json.loads(path.read_text(encoding="utf-8"))["runs"]}
        except FileNotFoundError:
            continue
        except (OSError, ValueError, KeyError, TypeError):
            found.unclear.append(path)
    if study.file("allocation.json").exists() and study.file("plan.json") not in found.unclear:
        held_out = held_out_keys(study)
        if held_out is None:
            found.unclear.append(study.file("allocation.json"))
        else:
            found.keys |= held_out


def held_out_keys(study: Study) -> set[str] | None:
    """The held-out runs that the plan and the allocation on disk ask for; None where they do not go together."""
    from mixlang.verify.trials import trials

    try:
        plan = Plan.read(study.file("plan.json"))
        settings = read_json(study.file("settings/verify.json"))
        wanted = trials(plan, read_json(study.file("allocation.json")), settings)
        return {trial.run.key for trial in wanted}
    except (MixlangError, LookupError, TypeError, ValueError, ArithmeticError):
        return None


def _add_published(found: Asked, workspace: Workspace) -> None:
    try:
        found.keys |= published_keys(workspace)
    except (OSError, MixlangError, LookupError, ValueError):
        found.unclear.append(workspace.registry)


def _place(workspace: Workspace) -> tuple[str, str]:
    """How notes name a workspace: path and identity, both '' where the store is its own."""
    if workspace.store == workspace.root.resolve() / ".mixlang":  # not where that is a link, which others may have too
        return "", ""
    identity = _identity(workspace.root)
    if not identity:
        identity = uuid.uuid4().hex
        with contextlib.suppress(WriteError):  # a workspace that may only be read is known by its path alone
            write_text(_identity_file(workspace.root), identity + "\n")
        identity = _identity(workspace.root)
    return str(workspace.root), identity


def _identity_file(root: Path) -> Path:
    return root / ".dvc" / "tmp" / "mixlang-workspace"  # which git ignores: a clone is a workspace of its own


def _identity(root: Path) -> str:
    try:
        return _identity_file(root).read_text(encoding="utf-8").strip()
    except FileNotFoundError:
        return ""


def _read(path: Path) -> Note | None:
    """A note, or None where it cannot be read."""
    try:
        value: dict[str, Any] = read_json(path)
        if value["version"] != 1:
            return None
        texts = [str(value[name]) for name in ("workspace", "identity", "host", "study", "part")]
        return Note(path, *texts, frozenset(value["keys"]), frozenset(value["former"]))
    except (InputError, KeyError, TypeError):
        return None


def _write(note: Note) -> None:
    document = {name: getattr(note, name) for name in ("workspace", "identity", "host", "study", "part")}
    write_json(note.path, {"version": 1, **document, "keys": sorted(note.keys), "former": sorted(note.former)})
