"""Commands that execute: run, stage, status, worker, gc."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from mixlang.console import print_json, say
from mixlang.documents import StudyStatus
from mixlang.errors import Detached, InputError, Interrupted, StageError

if TYPE_CHECKING:
    from mixlang.study.workspace import Study, Workspace


def run(arguments: argparse.Namespace) -> None:
    """Compile, reproduce through DVC, publish."""
    import time

    from mixlang.spec.local_launch import launch_here
    from mixlang.study.compile import compile_study
    from mixlang.study.estimate import refuse_over_limits, refuse_without_room
    from mixlang.study.outcome import show_outcome
    from mixlang.study.pipeline import reproduce

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
    from runners.execute.engines import squeue
    from runners.execute.engines.jobs import noted
    from runners.execute.store import RunStore

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
    from mixlang.plan.stages import STAGES
    from mixlang.study.stage_work import run_stage

    if arguments.name not in STAGES:
        raise StageError(f"there is no stage '{arguments.name}'; the stages are {', '.join(STAGES)}")
    run_stage(arguments.name, arguments.item)


def status(arguments: argparse.Namespace) -> None:
    """How far each study is."""
    from mixlang.study.committed import left_out
    from mixlang.study.status import study_status
    from mixlang.study.workspace import Workspace

    workspace = Workspace.find(arguments.spec.resolve().parent if arguments.spec else Path.cwd())
    studies = [workspace.study(arguments.spec)] if arguments.spec else workspace.studies()
    for line in left_out(workspace, studies):
        say(line)

    def look() -> list[StudyStatus]:
        return [study_status(workspace, study) for study in studies]

    if arguments.format == "json":
        print_json(look())
        return
    from mixlang.study.status import show_status, watch_status

    if arguments.watch:
        watch_status(look)
    else:
        show_status(look())


def worker(arguments: argparse.Namespace) -> None:
    """Train one shard of a plan."""
    from mixlang.study.worker import work

    work(arguments.plan, *arguments.shard)


def gc(arguments: argparse.Namespace) -> int:
    """Move runs that nobody asks for to the trash, or empty that; shows what first, and asks."""
    from mixlang.study.askers import release
    from mixlang.study.collect import runs_in_words
    from mixlang.study.workspace import Workspace
    from runners.execute.store import RunStore

    workspace = Workspace.find(Path.cwd())
    if arguments.release:
        count = release(RunStore(workspace.store), arguments.release)
        say(f"{arguments.release} asks for nothing any more; it asked for {runs_in_words(count)}")
    return _empty_trash(workspace, arguments) if arguments.empty_trash else _collect(workspace, arguments)


def _collect(workspace: Workspace, arguments: argparse.Namespace) -> int:
    from mixlang.study.collect import discard, runs_in_words, size_of, survey, survey_in_words
    from mixlang.study.leftovers import delete, leftovers
    from runners.execute.engines.jobs import forget
    from runners.execute.store import RunStore

    store, found = RunStore(workspace.store), survey(workspace)
    keys = [*found.former, *(found.unknown if arguments.unknown else [])]
    for line in survey_in_words(store, found, arguments.unknown):
        say(line)
    rest = leftovers(workspace, found, keys)
    if keys:
        say("with their weights goes what could still be measured of them: a later evaluation would train them again")
    if rest.files:
        say(f"no plan names {rest}; they are made again where they are needed")
    if keys or found.over or rest.files:
        parts = [f"{size_of(store, keys)} move to the trash"] if keys else []
        parts += [f"{rest} are deleted"] if rest.files else []
        parts += [f"the notes of {len(found.over)} submissions to a scheduler are deleted"] if found.over else []
        if not _agreed(arguments, ", and ".join(parts)):
            return _kept(arguments, keys)
        moved = discard(workspace, keys)
        rest = leftovers(workspace, survey(workspace), moved)  # somebody may have asked for one since
        deleted = str(rest)  # with the size that it has now
        delete(rest)
        for submission in found.over:
            forget(submission)
        for key in moved:
            print(key)
        if moved:
            say(
                f"{runs_in_words(len(moved))} moved to {store.root / 'trash'}; running the study again brings them back"
            )
        if rest.files:
            say(f"{deleted} deleted")
    else:
        say("nothing to move")
    if store.trashed():
        say(f"in the trash: {size_of(store, store.trashed())}; to delete them for good: mixlang gc --empty-trash")
    return 0


def _empty_trash(workspace: Workspace, arguments: argparse.Namespace) -> int:
    from mixlang.study.collect import in_trash, size_of
    from runners.execute.store import RunStore

    store, keys = RunStore(workspace.store), in_trash(workspace)
    if not keys:
        say("the trash is empty")
        return 0
    if not _agreed(arguments, f"{size_of(store, keys)} in the trash are deleted for good"):
        return _kept(arguments, keys)
    size = size_of(store, keys)
    for key in in_trash(workspace):  # somebody may have asked for one since
        if key in keys:
            store.delete_trashed(key)
    say(f"{size} were deleted")
    return 0


def _agreed(arguments: argparse.Namespace, what: str) -> bool:
    """Whether the user wants it: by --yes, or by an answer where somebody can give one."""
    if arguments.dry_run:
        say(f"without --dry-run: {what}")
        return False
    if arguments.yes:
        return True
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        say(f"{what}, if you give --yes; nothing was touched, as there is no terminal to ask on")
        return False
    print(f"{what}. Do it? [y/N] ", end="", file=sys.stderr, flush=True)
    return sys.stdin.readline().strip().lower() in ("y", "yes")


def _kept(arguments: argparse.Namespace, keys: list[str]) -> int:
    """After a no: a dry run lists the runs; who could not be asked has used the command wrongly."""
    if arguments.dry_run:
        for key in keys:
            print(key)
        return 0
    if sys.stdin.isatty() and sys.stderr.isatty():
        say("nothing was touched")
        return 0
    return 2
