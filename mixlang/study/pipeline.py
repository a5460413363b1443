"""The DVC pipeline: a static dvc.yaml whose only changing line is the list of specs, and how it is run.

Coarse stages over a content-addressed run store: a DVC stage for each run costs with the square of their number,
and a dvc.yaml that depended on the spec's contents could drift from it.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import psutil

from mixlang.environment import for_tools
from mixlang.errors import Detached, InputError, Interrupted, SolveError, StageError, disk_full
from mixlang.files import takes_nothing, write_text
from mixlang.hardware import place
from mixlang.plan.stages import STAGES
from mixlang.study.workspace import Study, Workspace

METRICS = ("metrics.json",)
"""Outputs that `dvc metrics show` shows."""

PLOTS = {
    "curves.csv": "template: scatter, x: samples, y: loss, title: Probe runs",
    "heldout.csv": "template: scatter, x: predicted, y: measured, title: Held-out runs",
}
"""Outputs that `dvc plots show` draws, and how."""

_TOUCH, _STALE_AFTER = 10.0, 60.0
"""Seconds between signs of life in the note that a study is run, and without one until it counts as left behind."""

_SPECS_LINE = re.compile(r"^(\s*-\s*specs:\s*)\[([^\]]*)\]", re.MULTILINE)


def render(specs: list[str]) -> str:
    """The text of dvc.yaml for a list of specs (file stems in specs/)."""

    def place(name: str) -> str:
        return name if "/" in name and not name.startswith("settings/") else "build/${item}/" + name

    lines = [
        "# The mixlang pipeline. `mixlang compile` edits the list of specs, and with a new version of mixlang the stages.",
        "vars:",
        f"  - specs: [{', '.join(specs)}]",
        "stages:",
    ]
    for stage in STAGES:
        lines += [f"  {stage}:", "    foreach: ${specs}", "    do:", f"      cmd: mixlang stage {stage} ${{item}}"]
        lines += ["      deps:", *(f"        - {place(name)}" for name in STAGES[stage].reads)]
        shown = {"metrics": [], "plots": []}
        lines += ["      outs:"]
        for name in STAGES[stage].writes:
            kind = "metrics" if name in METRICS else "plots" if name in PLOTS else None
            more = f", {PLOTS[name]}" if kind == "plots" else ""
            line = f"        - {place(name)}: {{cache: false, persist: true{more}}}"
            (shown[kind] if kind else lines).append(line)
        for kind, listed in shown.items():
            lines += [f"      {kind}:", *listed] if listed else []
    return "\n".join(lines) + "\n"


def register(workspace: Workspace, study: Study) -> bool:
    """Add a study to the list of specs in dvc.yaml, and bring the stages of another version of mixlang up to this one;
    True when something changed.

    Raises:
        InputError: dvc.yaml has no such list any more.
    """
    path = workspace.root / "dvc.yaml"
    text = path.read_text(encoding="utf-8")
    match = _SPECS_LINE.search(text)
    if match is None:
        raise InputError(
            f"{path} has no line '  - specs: [...]' under vars", "Restore it; mixlang edits only that line."
        )
    specs = [name.strip() for name in match[2].split(",") if name.strip()]
    listed = ", ".join(specs if study.item in specs else [*specs, study.item])
    changed = with_stages(text[: match.start()] + f"{match[1]}[{listed}]" + text[match.end() :])
    if changed != text:
        write_text(path, changed)
    return changed != text


def with_stages(text: str) -> str:
    """The text of a dvc.yaml with this version's stages in place of those that mixlang wrote; others are kept.

    A stage of ours is one that calls `mixlang stage` for each spec of the list. Where there is none, nothing changes.
    """
    ours = _blocks(render([]))
    current = {name: block for name, block in _blocks(text).items() if _OURS in block}
    if not current or current == ours:
        return text
    first, *others = current.values()
    for block in others:
        text = text.replace(block, "", 1)
    return text.replace(first, "".join(ours.values()), 1)


_OURS = "      cmd: mixlang stage "


def _blocks(text: str) -> dict[str, str]:
    """The text of each stage of a dvc.yaml, by its name."""
    _, _, stages = text.partition("\nstages:\n")
    return {match[1]: match[0] for match in re.finditer(r"^  ([\w-]+):\n(?:(?:    .*)?\n)+", stages, re.MULTILINE)}


def environment() -> dict[str, str]:
    """The environment DVC and its stages run in: this Python's scripts first, no analytics, whom to end with."""
    me = psutil.Process()
    return {
        **for_tools(os.environ),
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")]),
        "DVC_NO_ANALYTICS": "1",
        "PYTHONUNBUFFERED": "1",
        "MIXLANG_PARENT": f"{me.pid}:{me.create_time()}",
    }


def reproduce(workspace: Workspace, study: Study, jobs: int | None = None, detach: bool = False) -> None:
    """Bring a study's pipeline up to date through DVC, in a process group of its own.

    The stages are named one by one: that lets several specs run at once, which one target with its upstream
    stages does not. SIGINT and SIGTERM are passed on, and nothing is left running when this returns.

    Args:
        jobs: runs at once.
        detach: leave as soon as all runs of a stage are with a scheduler.

    Raises:
        MixlangError: what the failing stage reported, with its exit code.
        Detached: runs are with a scheduler now.
        StageError: DVC itself failed, or the study is run from another machine or container.
        Interrupted: stopped by a signal.
    """
    targets = [f"{stage}@{study.item}" for stage in STAGES]
    command = [sys.executable, "-m", "dvc", "--wait-for-lock", "repro", "-q", "-s", *targets]
    busy = workspace.root / ".dvc" / "tmp"
    with (
        _announced(busy / "mixlang", study.item) as (note, others),
        tempfile.TemporaryDirectory(prefix="mixlang-") as folder,
    ):
        if not others:  # the pids of another machine or container would look dead from here
            _clear_dead_locks(busy / "rwlock")
        outcome = Path(folder) / "outcome.json"
        env = {**environment(), "MIXLANG_OUTCOME": str(outcome)}
        if jobs is not None:
            env["MIXLANG_JOBS"] = str(jobs)
        if detach:
            env["MIXLANG_DETACH"] = "1"
        child = subprocess.Popen(command, cwd=workspace.root, env=env, start_new_session=True)
        with _signals_to_group(child.pid) as received:
            code = _wait(child, note)
            _end_group(child.pid)
        if received:
            raise Interrupted(
                "interrupted; every finished run is kept", f"Go on with: mixlang run specs/{study.item}.yaml"
            )
        if code != 0:
            _raise_outcome(workspace, outcome, code, targets)


@contextlib.contextmanager
def _announced(folder: Path, item: str) -> Iterator[tuple[Path, list[str]]]:
    """Note, while the block lasts, that a study is run from here; yields the note and the hosts of runs elsewhere.

    DVC knows who is at work by pids alone, and takes those of another machine or container for dead.

    Raises:
        StageError: the study is being run elsewhere.
    """
    note = folder / f"{item}@{uuid.uuid4().hex[:12]}.json"
    write_text(note, json.dumps({**place(), "study": item}))
    try:
        others = [found for path in folder.glob("*.json") if (found := _elsewhere(path, note)) is not None]
        for host in (found["host"] for found in others if found.get("study") == item):
            raise StageError(
                f"another mixlang run is at work on this study, on {host} or in a container of that name",
                "Wait for it: mixlang status shows it. If it was killed, try again in a minute.",
            )
        yield note, [found["host"] for found in others]
    finally:
        note.unlink(missing_ok=True)


def _elsewhere(path: Path, note: Path) -> dict[str, str] | None:
    """Who noted that a study is run, if that is where we cannot see processes, and not long ago by the disk's clock."""
    try:
        owner = json.loads(path.read_text(encoding="utf-8"))
        fresh = note.stat().st_mtime - path.stat().st_mtime < _STALE_AFTER
        if fresh:
            return None if place().items() <= owner.items() else {"host": "another machine", **owner}
        path.unlink(missing_ok=True)
    except (OSError, ValueError, AttributeError, TypeError):
        pass
    return None


def _wait(child: subprocess.Popen[bytes], note: Path) -> int:
    """Wait for DVC to end, keeping the note of it fresh."""
    while True:
        try:
            return child.wait(_TOUCH)
        except subprocess.TimeoutExpired:
            with contextlib.suppress(OSError):
                os.utime(note)


def _clear_dead_locks(path: Path) -> None:
    """Drop from DVC's table of busy paths what processes that are gone have left there.

    DVC does so itself, but takes a killed process that nobody has reaped yet for a living one.
    """
    try:
        table = json.loads(path.read_text(encoding="utf-8"))
        kept = {
            "read": {
                name: living
                for name, holders in table.get("read", {}).items()
                if (living := [item for item in holders if _runs(item["pid"])])
            },
            "write": {name: item for name, item in table.get("write", {}).items() if _runs(item["pid"])},
        }
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return  # absent, or of another form: DVC's own business
    if kept["read"] != table.get("read", {}) or kept["write"] != table.get("write", {}):
        write_text(path, json.dumps({name: part for name, part in kept.items() if part}))


def _runs(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _raise_outcome(workspace: Workspace, outcome: Path, code: int, targets: list[str]) -> None:
    if outcome.exists():
        report = json.loads(outcome.read_text(encoding="utf-8"))
        kinds = {kind.exit_code: kind for kind in (InputError, SolveError, Interrupted, Detached)}
        raise kinds.get(report["exit_code"], StageError)(report["message"], report["hint"])
    if code < 0:
        name = signal.Signals(-code).name
        raise StageError(f"DVC was ended by {name}; every finished run is kept", "Run the same command to go on.")
    if takes_nothing(workspace.root):
        raise disk_full(f"DVC could not go on: the disk of {workspace.root} is full")
    # DVC is run quietly, so its own complaint has to be asked for.
    command = [sys.executable, "-m", "dvc", "repro", "--dry", "-s", targets[0]]
    asked = subprocess.run(command, cwd=workspace.root, env=environment(), capture_output=True, text=True, check=False)
    said = [line for line in asked.stderr.splitlines() if line.startswith("ERROR")]
    if any("is busy" in line for line in said):
        raise StageError(
            "another mixlang run, or DVC, is at work on this study", "Wait for it: mixlang status shows it."
        )
    raise StageError(f"DVC could not run the pipeline. {' '.join(said)}".strip(), "See the whole story with: dvc repro")


@contextlib.contextmanager
def _signals_to_group(group: int) -> Iterator[list[int]]:
    """Pass SIGINT and SIGTERM on to a process group while the block runs; yields the signals received."""
    received: list[int] = []

    def forward(number: int, _frame: object) -> None:
        received.append(number)
        with contextlib.suppress(ProcessLookupError):
            # The stage finishes tidily on SIGTERM; DVC ignores SIGINT when it is not from a terminal.
            os.killpg(group, signal.SIGTERM if len(received) < 3 else signal.SIGKILL)

    previous = {number: signal.signal(number, forward) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield received
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def _end_group(group: int, patience: float = 15.0) -> None:
    """Wait until a process group is empty; ask it to end, and kill what does not."""
    deadline = time.monotonic() + patience
    asked = False
    while time.monotonic() < deadline:
        try:
            os.killpg(group, 0 if asked else signal.SIGTERM)
        except (ProcessLookupError, PermissionError):
            return
        asked = True
        time.sleep(0.05)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(group, signal.SIGKILL)
