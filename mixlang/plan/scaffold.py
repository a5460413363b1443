"""A new workspace: git, DVC with analytics off, the pipeline, and a spec to start from. Never overwrites a file."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from importlib import resources
from pathlib import Path

from mixlang.errors import InputError, StageError
from mixlang.files import write_text
from mixlang.plan.pipeline import render
from mixlang.spec.locations import LOCAL_FILE
from mixlang.spec.lookup import schema_text

_IGNORE = "# made here, never committed\n.mixlang/\nmixlang.local.yaml\n"


def make_workspace(path: Path, specs: Mapping[str, str], data_root: Path | None = None) -> list[str]:
    """Make `path` a workspace, keeping what is there.

    Args:
        specs: the texts of the specs to start with, by name.
        data_root: what `${data_root}` stands for on this machine.

    Returns:
        What was done, in lines for people.

    Raises:
        InputError: the path is a file.
        StageError: git or DVC refused.
    """
    if path.exists() and not path.is_dir():
        raise InputError(f"{path} is a file", "Give the path of a folder; it is made if need be.")
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"cannot make {path}: {error.strerror}") from error
    root = path.resolve()
    if not (root / ".dvc").is_dir():
        # A folder inside another repository that ignores it, as a demo, becomes a repository of its own.
        if not _inside_git(root) or _ignored(root):
            _call("git", "init", "--quiet", cwd=root)
        whole = (root / ".git").exists()
        _call(sys.executable, "-m", "dvc", "init", "--quiet", *([] if whole else ["--subdir"]), cwd=root)
        for option in ("analytics", "check_update"):
            _call(sys.executable, "-m", "dvc", "config", f"core.{option}", "false", cwd=root)
    done = []
    for name, text in (
        ("dvc.yaml", render([])),
        (".gitignore", _IGNORE),
        *((f"specs/{name}.yaml", text) for name, text in specs.items()),
        *([(LOCAL_FILE, f"data_root: {json.dumps(str(data_root))}\n")] if data_root else []),
        ("specs/mixlang.schema.json", schema_text()),
        ("specs/bases/.gitkeep", ""),
        ("registry/.gitkeep", ""),
    ):
        if not (root / name).exists():
            write_text(root / name, text)
            done.append(f"wrote {path / name}")
    if ".mixlang" not in (root / ".gitignore").read_text(encoding="utf-8"):
        with (root / ".gitignore").open("a", encoding="utf-8") as file:
            file.write(_IGNORE)
    return [*done, f"{path} is a workspace; next: cd {path} && mixlang check specs/{next(iter(specs))}.yaml"]


def quickstart() -> str:
    """The spec to start with where there are no data: phantoms, on the CPU, in minutes."""
    return (resources.files("mixlang") / "templates" / "quickstart.yaml").read_text(encoding="utf-8")


def _inside_git(root: Path) -> bool:
    return _quiet("git", "rev-parse", "--is-inside-work-tree", cwd=root)


def _ignored(root: Path) -> bool:
    return _quiet("git", "check-ignore", "--quiet", ".", cwd=root)


def _quiet(*command: str, cwd: Path) -> bool:
    try:
        return subprocess.run(command, cwd=cwd, capture_output=True, check=False).returncode == 0
    except OSError as error:
        raise StageError(f"could not start {command[0]}: {error.strerror}", "mixlang needs git.") from error


def _call(*command: str, cwd: Path) -> None:
    env = {**os.environ, "DVC_NO_ANALYTICS": "1"}
    done = subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise StageError(f"'{' '.join(command[-3:])}' failed: {(done.stderr or done.stdout).strip()[-300:]}")
