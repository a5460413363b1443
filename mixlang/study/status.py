"""How far studies are, read from the store and the committed tables; never asks DVC, which is locked while it runs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mixlang.errors import MixlangError
from mixlang.files import read_json
from mixlang.plan.build import Plan, Run
from mixlang.study.workspace import Study, Workspace
from runners.execute.store import Heartbeat, RunStore

_TABLES = ("runs.json", "verification.json")


def _rows(study: Study, name: str) -> list[dict[str, Any]]:
    try:
        rows = read_json(study.file(name))["runs"]
        return rows if isinstance(rows, list) else []
    except (MixlangError, KeyError, TypeError):
        return []


def results_of(workspace: Workspace, study: Study, runs: Sequence[Run]) -> dict[str, dict[str, Any]]:
    """What is known of some runs, and of all in the tables of a study, by key: rows of tables, and timings from the store."""
    store = RunStore(workspace.store)
    found = {row["key"]: row for name in _TABLES for row in _rows(study, name)}
    planned = {run.key: run for run in runs}
    for key in {*found, *planned}:
        result = store.result(key)
        if result is not None:
            row = found.get(key) or planned[key].as_dict()
            found[key] = {
                **row,
                "losses": result["losses"],
                "seconds": result["seconds"],
                "resumed_at_step": result.get("resumed_at_step", 0),
            }
    return found


def planned_before(study: Study) -> Plan | None:
    """The plan written last; None where there is none that can be read."""
    try:
        return Plan.read(study.file("plan.json"))
    except MixlangError:
        return None


def study_status(workspace: Workspace, study: Study) -> dict[str, Any]:
    """Counts of a study's probe runs by state, every run with its state, and what the study has published.

    Returns:
        `study`, `planned`, `done`, `published`; `running` and `failed` runs; `runs`: all of them in the order of the plan,
        with `state` (waiting, running, failed, done) and what is known: `loss` (mean over the domains once done, of
        training before), `progress`, `samples_per_second`, `seconds_left`, `seconds`, `reason`.
    """
    store = RunStore(workspace.store)
    status: dict[str, Any] = {
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
    done = results_of(workspace, study, plan.runs)
    status["planned"] = len(plan.runs)
    for run in plan.runs:
        item: dict[str, Any] = {"run": run.as_dict(), "state": "waiting"}
        if run.key in done:
            status["done"] += 1
            item |= {"state": "done", **_outcome(done[run.key])}
        elif store.held(run.key):
            item |= {"state": "running", **_progress(run, store.heartbeat(run.key))}
            status["running"].append(item)
        elif (fault := store.failure(run.key)) is not None:
            item |= {"state": "failed", "reason": fault.reason}
            status["failed"].append(item)
        status["runs"].append(item)
    published = study.file("published.json")
    if published.exists():
        value = read_json(published)
        status["published"] = f"{value['name']}@v{value['version']}"
    return status


def _outcome(row: dict[str, Any]) -> dict[str, float | None]:
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
