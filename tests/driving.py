"""Driving a workspace as a user does: git, edits, and what has been trained; and sweeps of the `study` fixture."""

import os
import subprocess

from mixlang.spec.schema import Launch


def git(*arguments, cwd):
    return subprocess.run(["git", *arguments], cwd=cwd, capture_output=True, text=True, check=True).stdout


def results(root):
    """Modification time of every run's result: what has been trained, and when."""
    return {path.parent.name: path.stat().st_mtime_ns for path in (root / ".mixlang").glob("runs/*/*/result.json")}


def edit(root, old, new):
    path = root / "specs" / "small.yaml"
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def fresh(study, tmp_path):
    """A store with the study's volumes and no runs."""
    from runners.execute.store import RunStore

    (tmp_path / "store").mkdir(parents=True)
    os.symlink(study[2] / "volumes", tmp_path / "store" / "volumes")
    return RunStore(tmp_path / "store")


def losses_of(plan, store, run):
    """The losses of a run that the store has measured."""
    from mixlang.plan.evaluations import evaluations_of
    from runners.execute.scores import row_of

    return row_of(run, evaluations_of(plan), store, {})["losses"]


def sweep(study, store, runs, **launch):
    from runners.execute.batch import Batch

    return Batch(study[0], study[1], runs, store, Launch(**launch), "sweep")
