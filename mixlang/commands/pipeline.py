"""Commands that execute: run, stage, status, worker, gc."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mixlang.console import print_json, say
from mixlang.errors import Detached, InputError, Interrupted, StageError

if TYPE_CHECKING:
    from mixlang.plan.workspace import Study, Workspace


def run(arguments: argparse.Namespace) -> None:
    """Compile, reproduce through DVC, publish."""
    import time

    from mixlang.plan.pipeline import reproduce
    from mixlang.spec.site import launch_here
    from runners.compiler import compile_study
    from runners.estimate import refuse_over_limits, refuse_without_room
    from runners.overview import show_outcome

    begun = time.monotonic()
    compiled = compile_study(arguments.spec, write=True, overrides=arguments.set)
    refuse_over_limits(compiled.workspace, compiled.study, compiled.loaded, compiled.compiled.plan, compiled.manifest)
    refuse_without_room(
        compiled.workspace, compiled.study, compiled.loaded.spec, compiled.compiled.plan, compiled.manifest
    )
    if arguments.detach and launch_here(compiled.loaded.spec, compiled.workspace.root).executor == "local":
        raise InputError(
            "--detach leaves runs with a scheduler, and launch.executor is local",
            "Set launch.executor to slurm in the spec or in mixlang.local.yaml, or run this in tmux.",
        )
    try:
        reproduce(compiled.workspace, compiled.study, arguments.jobs, arguments.detach)
    except Detached as left:
        say(f"{left}; leaving them to it")
        say(f"go on with them, and see how far they are: mixlang run {arguments.spec}; mixlang status {arguments.spec}")
        return
    except Interrupted:
        _settle_jobs(compiled.workspace, compiled.study)
        raise
    show_outcome(compiled.workspace, compiled.study, time.monotonic() - begun)


def _settle_jobs(workspace: Workspace, study: Study) -> None:
    """After a Ctrl-C: ask whether the study's jobs shall go on; where nobody can answer, they do."""
    from runners.engines import squeue
    from runners.engines.jobs import noted
    from runners.store import RunStore

    names = {submission.name for submission in noted(RunStore(workspace.store), study.item)}
    queued = squeue.queue() or {} if names else {}
    living = sorted({name for name, _ in queued if name in names})
    if not living:
        return
    count = sum(name in names for name, _ in queued)
    leave = True
    if sys.stdin.isatty() and sys.stderr.isatty():
        print(f"{count} jobs are with Slurm. Leave them there? [Y/n] ", end="", file=sys.stderr, flush=True)
        try:
            leave = not sys.stdin.readline().strip().lower().startswith("n")
        except KeyboardInterrupt:
            say("")
    if leave:
        say(
            f"{count} jobs go on; the next 'mixlang run' takes them over. To end them: scancel --name={','.join(living)}"
        )
    else:
        squeue.cancel(living)
        say(f"{count} jobs were cancelled; their runs leave checkpoints to go on from")


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
    from runners.engines.jobs import forget, is_over, noted
    from runners.status import unnamed_runs
    from runners.store import RunStore

    workspace = Workspace.find(Path.cwd())
    store = RunStore(workspace.store)
    keys = unnamed_runs(workspace)
    for key in keys:
        print(key)
        if not arguments.dry_run:
            store.forget(key)
    over = [item for item in noted(store) if is_over(item)]
    for submission in [] if arguments.dry_run else over:
        forget(submission)
    also = f", and the notes of {len(over)} submissions to a scheduler" if over else ""
    say(f"{len(keys)} runs{also} {'would be' if arguments.dry_run else 'were'} deleted")
