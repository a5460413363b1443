"""Driving a workspace as a user does: git, edits, and what has been trained."""

import subprocess


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
