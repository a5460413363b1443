"""How far studies are, read from the store and the committed tables; never asks DVC, which is locked while it
runs; and as a table for people, once or over again while runs train."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from mixlang.console import duration
from mixlang.documents import KnownRun, RunStatus, StudyStatus
from mixlang.errors import MixlangError
from mixlang.files import read_json
from mixlang.plan.build import Plan, Run
from mixlang.plan.evaluations import read_evaluations
from mixlang.study.known import known_scores, progress_of, trained_keys
from mixlang.study.workspace import Study, Workspace
from mixlang.terminal import line_width
from runners.execute.store import Heartbeat, RunStore


def planned_before(study: Study) -> Plan | None:
    """The plan written last; None where there is none that can be read."""
    try:
        return Plan.read(study.file("plan.json"))
    except MixlangError:
        return None


def study_status(workspace: Workspace, study: Study) -> StudyStatus:
    """Counts of a study's probe runs by state, every run with its state, and what the study has published.

    Returns:
        `study`, `planned`, `done`, `published`; `running` and `failed` runs; `runs`: all of them in the order of the plan,
        with `state` (waiting, running, failed, trained, done) and what is known: `loss` (mean over the domains once done, of
        training before), `progress`, `samples_per_second`, `seconds_left`, `seconds`, `reason`.
    """
    store = RunStore(workspace.store)
    status: StudyStatus = {
        "study": study.item,
        "planned": 0,
        "done": 0,
        "running": [],
        "failed": [],
        "runs": [],
        "published": None,
    }
    plan = planned_before(study)
    if plan is None:
        return status
    known, trained = known_scores(study, plan), trained_keys(study)
    found = progress_of(store, plan, plan.runs, read_evaluations(plan, study.file("plan.json")), known, trained)
    done = found.rows
    status["planned"] = len(plan.runs)
    for run in plan.runs:
        item: RunStatus = {"run": run.as_dict(), "state": "waiting"}
        if run.key in done:
            status["done"] += 1
            item |= {"state": "done", **_outcome(done[run.key])}
        elif store.held(run.key):
            item |= {"state": "running", **_progress(run, store.heartbeat(run.key))}
            status["running"].append(item)
        elif (fault := store.failure(run.key)) is not None:
            item |= {"state": "failed", "reason": fault.reason}
            status["failed"].append(item)
        elif run.key in found.unmeasured and store.has_weights(run.key):
            item |= {"state": "trained", "progress": 1.0}
        status["runs"].append(item)
    published = study.file("published.json")
    if published.exists():
        value = read_json(published)
        status["published"] = f"{value['name']}@v{value['version']}"
    return status


def _outcome(row: KnownRun) -> dict[str, float | None]:
    """What a finished run came to; seconds only where its record is in this store."""
    losses, seconds = list(row["losses"].values()), row.get("seconds")
    return {
        "progress": 1.0,
        "loss": sum(losses) / len(losses),
        "seconds": sum(seconds.values()) if seconds else None,
    }


def _progress(run: Run, beat: Heartbeat) -> dict[str, float | None]:
    """How a running run is doing, for programs: seconds left are of training alone."""
    left = run.budget * (1 - beat.fraction) / beat.speed if beat.speed else None
    return {"progress": beat.fraction, "loss": beat.loss, "samples_per_second": beat.speed, "seconds_left": left}


_MOST = 30
"""Rows of one study; what else there is, is counted. Running and failed runs come first, finished ones last."""

_ORDER = ("running", "failed", "trained", "waiting", "done")
_STYLES = {"running": "bold", "failed": "red", "trained": "", "waiting": "dim", "done": "green"}


def show_status(found: Sequence[StudyStatus]) -> None:
    """Print statuses."""
    _console().print(_page(found))


def watch_status(look: Callable[[], Sequence[StudyStatus]], every: float = 1.0) -> None:
    """Print statuses over again until no run of theirs is running or waiting."""
    with Live(console=_console(), auto_refresh=False, transient=False) as live:
        while True:
            found = look()
            live.update(_page(found), refresh=True)
            if all(item["state"] in ("done", "failed") for status in found for item in status["runs"]):
                return
            time.sleep(every)


def _console() -> Console:
    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = line_width()
    return console


def _page(found: Sequence[StudyStatus]) -> RenderableType:
    if not found:
        return Text("no study is registered in dvc.yaml; start one with 'mixlang run specs/NAME.yaml'")
    parts: list[RenderableType] = []
    for status in found:
        parts.append(Text(_summary(status), style="bold"))
        if status["runs"]:
            parts.append(_table(status))
    return Group(*parts)


def _summary(status: StudyStatus) -> str:
    waiting = sum(item["state"] == "waiting" for item in status["runs"])
    return (
        f"{status['study']}: {status['done']} of {status['planned']} probe runs done, {len(status['running'])} running, "
        f"{len(status['failed'])} failed, {waiting} waiting; published: {status['published'] or 'nothing yet'}"
    )


def _table(status: StudyStatus) -> RenderableType:
    table = Table(box=None, pad_edge=False, header_style="dim")
    table.add_column("state", no_wrap=True)
    table.add_column("run", overflow="fold", min_width=18)
    for name in ("done", "loss", "samples/s", "remaining"):
        table.add_column(name, justify="right", no_wrap=True)
    if status["failed"]:
        table.add_column("reason", overflow="fold", min_width=18)
    ordered = sorted(status["runs"], key=lambda item: _ORDER.index(item["state"]))
    for item in ordered[:_MOST]:
        table.add_row(*_cells(item)[: len(table.columns)], style=_STYLES[item["state"]])
    left = ordered[_MOST:]
    if not left:
        return table
    counts = {state: sum(one["state"] == state for one in left) for state in _ORDER}
    more = ", ".join(f"{count} {state}" for state, count in counts.items() if count)
    return Group(table, Text(f"{len(left)} more rows are not shown: {more} (--format json has all)"))


def _cells(item: RunStatus) -> list[str]:
    run, state = item["run"], item["state"]
    named = " + ".join(f"{name} {count:,}" for name, count in run["amounts"].items() if count)
    loss = "" if item.get("loss") is None else f"{item['loss']:.4f}"
    done = f"{item['progress']:.0%}" if "progress" in item else ""
    speed = f"{item['samples_per_second']:,.0f}" if item.get("samples_per_second") else ""
    left = "" if item.get("seconds_left") is None else duration(item["seconds_left"])
    if item.get("seconds") is not None:
        left = f"took {duration(item['seconds'])}"
    return [state, f"{named}, seed {run['seed']}", done, loss, speed, left, item.get("reason", "")]
