"""Commands that execute: run, stage, status, worker, gc."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from mixlang.console import print_json, say
from mixlang.errors import StageError


def run(arguments: argparse.Namespace) -> None:
    """Compile, reproduce through DVC, publish."""
    import time

    from mixlang.plan.pipeline import reproduce
    from runners.compiler import compile_study
    from runners.estimate import refuse_over_limits
    from runners.overview import show_outcome

    begun = time.monotonic()
    compiled = compile_study(arguments.spec, write=True, overrides=arguments.set)
    refuse_over_limits(compiled.workspace, compiled.study, compiled.loaded, compiled.compiled.plan, compiled.manifest)
    reproduce(compiled.workspace, compiled.study, arguments.jobs)
    show_outcome(compiled.workspace, compiled.study, time.monotonic() - begun)


def stage(arguments: argparse.Namespace) -> None:
    """One stage, as dvc.yaml calls it."""
    from mixlang.plan.pipeline import STAGES
    from runners.stages import run_stage

    if arguments.name not in STAGES:
        raise StageError(f"there is no stage '{arguments.name}'; the stages are {', '.join(STAGES)}")
    run_stage(arguments.name, arguments.item)


def status(arguments: argparse.Namespace) -> None:
    """How far each study is."""
    from mixlang.plan.workspace import Workspace
    from runners.status import study_status

    workspace = Workspace.find(arguments.spec.resolve().parent if arguments.spec else Path.cwd())
    studies = [workspace.study(arguments.spec)] if arguments.spec else workspace.studies()

    def look() -> list[dict[str, Any]]:
        return [study_status(workspace, study) for study in studies]

    if arguments.format == "json":
        print_json(look())
        return
    from runners.status_table import show_status, watch_status

    if arguments.watch:
        watch_status(look)
    else:
        show_status(look())


def worker(arguments: argparse.Namespace) -> None:
    """Train one shard of a plan."""
    from runners.worker import work

    work(arguments.plan, *arguments.shard)


def gc(arguments: argparse.Namespace) -> None:
    """Delete runs that nothing names."""
    from mixlang.plan.workspace import Workspace
    from runners.status import unnamed_runs
    from runners.store import RunStore

    workspace = Workspace.find(Path.cwd())
    keys = unnamed_runs(workspace)
    for key in keys:
        print(key)
        if not arguments.dry_run:
            RunStore(workspace.store).forget(key)
    say(f"{len(keys)} runs {'would be' if arguments.dry_run else 'were'} deleted")
