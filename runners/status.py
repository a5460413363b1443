"""How far studies are, read from the store and the committed tables; never asks DVC, which is locked while it runs."""

from __future__ import annotations

from typing import Any

from mixlang.console import duration
from mixlang.errors import MixlangError
from mixlang.files import read_json
from mixlang.plan.build import Plan, Run
from mixlang.plan.workspace import Study, Workspace
from runners.store import Heartbeat, RunStore

_TABLES = ("runs.json", "verification.json")


def _rows(study: Study, name: str) -> list[dict[str, Any]]:
    try:
        rows = read_json(study.file(name))["runs"]
        return rows if isinstance(rows, list) else []
    except (MixlangError, KeyError, TypeError):
        return []


def results_of(workspace: Workspace, study: Study, plan: Plan | None = None) -> dict[str, dict[str, Any]]:
    """What is known of the runs of a study, by key: rows of its tables, and timings from the store.

    Args:
        plan: whose runs to look for; the one written last if left out.
    """
    store = RunStore(workspace.store)
    found = {row["key"]: row for name in _TABLES for row in _rows(study, name)}
    if plan is None:
        plan = planned_before(study)
    planned = {} if plan is None else {run.key: run for run in plan.runs}
    for key in {*found, *planned}:
        result = store.result(key)
        if result is not None:
            row = found.get(key) or planned[key].as_dict()
            found[key] = {**row, "seconds": result["seconds"], "resumed_at_step": result.get("resumed_at_step", 0)}
    return found


def planned_before(study: Study) -> Plan | None:
    """The plan written last; None where there is none that can be read."""
    try:
        return Plan.read(study.file("plan.json"))
    except MixlangError:
        return None


def study_status(workspace: Workspace, study: Study) -> dict[str, Any]:
    """Counts of a study's probe runs by state, its running runs, and what it has published."""
    store = RunStore(workspace.store)
    status: dict[str, Any] = {
        "study": study.item,
        "planned": 0,
        "done": 0,
        "running": [],
        "failed": [],
        "published": None,
    }
    plan = planned_before(study)
    if plan is None:
        return status
    done = results_of(workspace, study)
    status["planned"] = len(plan.runs)
    for run in plan.runs:
        if run.key in done:
            status["done"] += 1
        elif store.held(run.key):
            status["running"].append({"run": run.as_dict(), **_progress(run, store.heartbeat(run.key))})
        elif (reason := store.failure(run.key)) is not None:
            status["failed"].append({"run": run.as_dict(), "reason": reason})
    published = study.file("published.json")
    if published.exists():
        value = read_json(published)
        status["published"] = f"{value['name']}@v{value['version']}"
    return status


def _progress(run: Run, beat: Heartbeat) -> dict[str, float | None]:
    """How a running run is doing, for programs: seconds left are of training alone."""
    left = run.budget * (1 - beat.fraction) / beat.speed if beat.speed else None
    return {"progress": beat.fraction, "loss": beat.loss, "samples_per_second": beat.speed, "seconds_left": left}


def _doing(item: dict[str, Any]) -> str:
    if item["loss"] is None or item["seconds_left"] is None:
        return f"{item['progress']:.0%}"
    return (
        f"{item['progress']:.0%}, loss {item['loss']:.4f}, {item['samples_per_second']:,.0f} samples/s, "
        f"about {duration(item['seconds_left'])} left"
    )


def show_status(found: list[dict[str, Any]]) -> None:
    """Print statuses for people."""
    if not found:
        print("no study is registered in dvc.yaml; start one with 'mixlang run specs/NAME.yaml'")
    for status in found:
        waiting = status["planned"] - status["done"] - len(status["running"]) - len(status["failed"])
        print(
            f"{status['study']}: {status['done']} of {status['planned']} probe runs done, {len(status['running'])} running, "
            f"{len(status['failed'])} failed, {waiting} waiting; published: {status['published'] or 'nothing yet'}"
        )
        for item in status["running"]:
            amounts = " + ".join(f"{name} {count:,}" for name, count in item["run"]["amounts"].items() if count)
            print(f"  running  {amounts}, seed {item['run']['seed']}: {_doing(item)}")
        for item in status["failed"]:
            print(f"  failed   {item['run']['key'][:12]}: {item['reason']}")


def unnamed_runs(workspace: Workspace) -> list[str]:
    """Keys in the store that no plan and no table of results of the workspace names."""
    named: set[str] = set()
    for folder in (workspace.root / "build").glob("*"):
        study = Study(workspace.root, folder.name)
        named |= {row["key"] for name in (*_TABLES, "plan.json") for row in _rows(study, name)}
    return [key for key in RunStore(workspace.store).keys() if key not in named]  # noqa: SIM118
