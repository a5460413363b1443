"""A new workspace: git, DVC with analytics off, the pipeline, and a spec to start from. Never overwrites a file."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from collections.abc import Mapping
from importlib import resources
from pathlib import Path

from mixlang.environment import for_tools
from mixlang.errors import InputError, StageError
from mixlang.files import write_text
from mixlang.spec.locations import LOCAL_FILE
from mixlang.spec.lookup import schema_text
from mixlang.study.committed import IGNORE, keep_line_ends
from mixlang.study.pipeline import render
from mixlang.study.workspace import Workspace


def make_workspace(path: Path, specs: Mapping[str, str], data_root: Path | None = None) -> list[str]:
    """Make `path` a workspace, keeping what is there.

    Args:
        specs: the texts of the specs to start with, by name.
        data_root: what `${data_root}` stands for on this machine.

    Returns:
        What was done, in lines for people.

    Raises:
        InputError: the path is a file or lies in another workspace, or the spec for these data would replace one.
        StageError: git or DVC refused.
    """
    if path.exists() and not path.is_dir():
        raise InputError(f"{path} is a file", "Give the path of a folder; it is made if need be.")
    around = _workspace_around(path.resolve())
    if around is not None:
        raise InputError(f"{path} is inside the workspace {around}", "Give a folder outside it.")
    taken = [name for name, text in specs.items() if _differs(path / "specs" / f"{name}.yaml", text)]
    if data_root is not None and taken:
        raise InputError(
            f"{path / 'specs' / (taken[0] + '.yaml')} is there already, and is not what these data would give",
            "Move it away, or give another folder.",
        )
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
        (".gitignore", IGNORE),
        *((f"specs/{name}.yaml", text) for name, text in specs.items()),
        *([(LOCAL_FILE, f"data_root: {json.dumps(str(data_root))}\n")] if data_root else []),
        ("specs/mixlang.schema.json", schema_text()),
        ("specs/bases/.gitkeep", ""),
        ("registry/.gitkeep", ""),
    ):
        if not (root / name).exists():
            write_text(root / name, text)
            done.append(f"wrote {path / name}")
        elif name.startswith("specs/") and name.endswith(".yaml"):
            done.append(f"kept {path / name}, which was there")
    if ".mixlang" not in (root / ".gitignore").read_text(encoding="utf-8"):
        with (root / ".gitignore").open("a", encoding="utf-8") as file:
            file.write(IGNORE)
    if not (root / ".gitattributes").exists():
        done.append(f"wrote {path / '.gitattributes'}")
    keep_line_ends(Workspace(root))
    return [
        *done,
        f"{path} is a workspace; next: cd {shlex.quote(str(path))} && mixlang check specs/{next(iter(specs))}.yaml",
    ]


def quickstart() -> str:
    """The spec to start with where there are no data: phantoms, on the CPU, in minutes."""
    return (resources.files("mixlang") / "templates" / "quickstart.yaml").read_text(encoding="utf-8")


def _workspace_around(root: Path) -> Path | None:
    """The workspace that a folder lies in, other than itself; a folder that git ignores there, as a demo, lies outside."""
    for folder in root.parents:
        if (folder / "dvc.yaml").is_file() and (folder / ".dvc").is_dir():
            made = next(part for part in (root, *root.parents) if part.exists())
            return None if _ignored_path(root, made) else folder
    return None


def _ignored_path(path: Path, inside: Path) -> bool:
    # The slash says that it is a folder, which need not exist yet.
    return _quiet("git", "check-ignore", "--quiet", f"{path}/", cwd=inside)


def _differs(path: Path, text: str) -> bool:
    return path.exists() and path.read_text(encoding="utf-8", errors="replace") != text


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
    env = {**for_tools(os.environ), "DVC_NO_ANALYTICS": "1"}
    done = subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise StageError(f"'{' '.join(command[-3:])}' failed: {(done.stderr or done.stdout).strip()[-300:]}")
