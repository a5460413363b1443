"""What `mixlang gc` does: find the runs that nobody asks for any more, and move them to the store's trash."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from mixlang.console import duration
from mixlang.spec.quantities import show_bytes
from mixlang.study.askers import asked_by, notes, shown, where
from mixlang.study.workspace import Workspace
from runners.execute.engines import squeue
from runners.execute.engines.jobs import Submission, noted
from runners.execute.store import RunStore


@dataclass
class Survey:
    """The runs of a store by who asks for them.

    Attributes:
        asked: somebody asks for them.
        former: nobody does any more; by key, who did.
        unknown: nobody is known to have asked for them: mixlang did not note it before.
        held: nobody asks for them, but they are being trained.
        away: by workspace that is not seen from here, the runs kept because it may still ask.
        unclear: files that could not be read, or do not go together; what their workspace once asked for is kept.
        over: submissions to a scheduler, of this user, none of whose jobs lives.
        roots: the workspaces that are seen.
    """

    asked: set[str] = field(default_factory=set)
    former: dict[str, str] = field(default_factory=dict)
    unknown: list[str] = field(default_factory=list)
    held: list[str] = field(default_factory=list)
    away: dict[str, set[str]] = field(default_factory=dict)
    unclear: list[Path] = field(default_factory=list)
    over: list[Submission] = field(default_factory=list)
    roots: list[Path] = field(default_factory=list)


def survey(workspace: Workspace) -> Survey:
    """Look at a workspace's store.

    Raises:
        InputError: a note in the store cannot be read.
    """
    store, found = RunStore(workspace.store), Survey()
    once: dict[str, str] = {}
    noted_by: dict[Path, set[str]] = {workspace.root: set()}
    for note in notes(store):
        once |= dict.fromkeys(note.keys | note.former, note.words)
        root = where(store, note)
        if root is None:
            found.asked |= note.keys
            found.away.setdefault(shown(store, note), set()).update(note.keys)
        else:
            noted_by.setdefault(root, set()).update(note.keys)
    found.roots = sorted(noted_by)
    for root, keys in noted_by.items():
        asked = asked_by(root)
        found.asked |= asked.keys
        if asked.unclear:
            found.asked |= keys
            found.unclear += asked.unclear
    found.over = _add_jobs(store, found.asked)
    for key in store.keys():  # noqa: SIM118
        if key in found.asked:
            continue
        if store.held(key):
            found.held.append(key)
        elif key in once:
            found.former[key] = once[key]
        else:
            found.unknown.append(key)
    return found


def _add_jobs(store: RunStore, asked: set[str]) -> list[Submission]:
    """Add what living jobs train; returns the submissions that are over. Only its own user sees whether one is."""
    submissions = noted(store)
    queued = squeue.queue() if submissions else {}
    names = None if queued is None else {name for name, _ in queued}
    over = []
    for submission in submissions:
        mine = submission.folder.stat().st_uid == os.getuid()
        if mine and names is not None and submission.name not in names:
            over.append(submission)
        else:
            asked.update(run.key for batch in submission.batches for run in batch)
    return over


def discard(workspace: Workspace, keys: Iterable[str]) -> list[str]:
    """Move runs to the trash, but for those that are held or that somebody asks for by now; returns the moved ones."""
    store = RunStore(workspace.store)
    moved = [key for key in keys if store.discard(key)]
    asked = survey(workspace).asked if moved else set()  # who has asked since we looked first
    for key in asked.intersection(moved):
        store.restore(key)
    return [key for key in moved if key not in asked]


def in_trash(workspace: Workspace) -> list[str]:
    """The runs in the trash that nobody asks for; what somebody asks for is put back."""
    store = RunStore(workspace.store)
    keys = store.trashed()
    asked = survey(workspace).asked if keys else set()
    for key in asked.intersection(keys):
        store.restore(key)
    return [key for key in keys if key not in asked]


@dataclass(frozen=True)
class Size:
    """What runs take.

    Attributes:
        size: bytes on disk.
        seconds: of training and evaluation, of those that are finished.
    """

    runs: int
    size: int
    seconds: float

    def __str__(self) -> str:
        return f"{runs_in_words(self.runs)} ({show_bytes(self.size)}, {duration(self.seconds)} of training)"


def runs_in_words(count: int) -> str:
    """`1 run`, `3 runs`."""
    return f"{count:,} run{'s' * (count != 1)}"


def size_of(store: RunStore, keys: Iterable[str]) -> Size:
    """What runs of the store, or of its trash, take."""
    runs, size, seconds = 0, 0, 0.0
    for key in keys:
        result = store.result(key) or {}
        runs += 1
        size += sum(_bytes(path) for folder in (store.folder(key), store.trash(key)) for path in folder.glob("*"))
        seconds += sum(result.get("seconds", {}).values())
    return Size(runs, size, seconds)


def _bytes(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


def survey_in_words(store: RunStore, found: Survey, take_unknown: bool) -> list[str]:
    """What there is, and what is kept and why, in lines for people."""
    lines = [f"{runs_in_words(len(found.asked.intersection(store.keys())))} of {store.root} are asked for and kept"]
    groups: dict[str, list[str]] = {}
    for key, who in found.former.items():
        groups.setdefault(who, []).append(key)
    if take_unknown and found.unknown:
        groups["nobody that is known"] = found.unknown
    if groups:
        lines.append("nobody asks for these any more:")
    lines += [f"  {size_of(store, keys)}, once asked for by {who}" for who, keys in groups.items()]
    if found.held:
        lines.append(f"{runs_in_words(len(found.held))} that nobody asks for are kept: they are being trained")
    for workspace, keys in found.away.items():
        there = keys.intersection(store.keys())
        if there:
            lines.append(
                f"kept for {workspace}, which is not seen from here and may still ask: {size_of(store, there)}; if it is "
                f"gone: mixlang gc --release {workspace}"
            )
    lines += [
        f"{path} cannot be read, or does not go with its plan: what its workspace has noted is kept"
        for path in found.unclear
    ]
    if found.unknown and not take_unknown:
        lines.append(
            f"kept, although nobody is known to ask for them (older versions did not note it): "
            f"{size_of(store, found.unknown)}; once every workspace of this store has been compiled again, "
            "'mixlang gc --unknown' takes what is left of them"
        )
    return lines
