"""Where a mixture comes from: code, environment, machine, data and inputs, gathered when it is published."""

from __future__ import annotations

import hashlib
import platform
import subprocess
import sys
from collections.abc import Iterable
from importlib import metadata
from pathlib import Path
from typing import Any

from mixlang import __version__
from mixlang.documents import Environment, GitState
from mixlang.files import file_digest
from mixlang.hardware import cores, processor

_PACKAGES = (
    *("accelerate", "clarabel", "cvxpy", "dvc", "monai", "nibabel", "numpy"),
    *("pydantic", "pyyaml", "safetensors", "scipy", "torch"),
)


def git_state(folder: Path) -> GitState:
    """Commit and cleanliness of the repository that holds `folder`; nulls outside one."""

    def ask(*command: str) -> str | None:
        try:
            done = subprocess.run(["git", *command], cwd=folder, capture_output=True, text=True, check=False)
        except OSError:
            return None
        return done.stdout.strip() if done.returncode == 0 else None

    changes = ask("status", "--porcelain")
    return {"commit": ask("rev-parse", "HEAD"), "dirty": None if changes is None else bool(changes)}


def code_state() -> GitState:
    """The same of mixlang itself where it runs from a checkout; nulls where it is installed, which its version names."""
    folder = Path(__file__).parent
    tracked = subprocess.run(
        ["git", "ls-files", "--error-unmatch", Path(__file__).name], cwd=folder, capture_output=True, check=False
    )
    return git_state(folder) if tracked.returncode == 0 else {"commit": None, "dirty": None}


def environment() -> Environment:
    """Python, mixlang and the packages that results depend on, and a hash over every installed package."""
    versions = {name: _version(name) for name in _PACKAGES}
    everything = sorted(f"{item.name}=={item.version}" for item in metadata.distributions() if item.name)
    return {
        "mixlang": __version__,
        "python": platform.python_version(),
        "platform": f"{platform.system()} {platform.machine()}",
        "packages": versions,
        "installed_hash": hashlib.sha256("\n".join(everything).encode()).hexdigest(),
    }


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def hardware() -> dict[str, Any]:
    """The publishing machine; training devices stand in the runs' own records."""
    return {"processor": processor(), "cores": cores(), "byteorder": sys.byteorder}


def hashes(paths: Iterable[Path], root: Path) -> dict[str, str]:
    """SHA-256 of each file that exists, by its path below `root`."""
    return {path.relative_to(root).as_posix(): file_digest(path) for path in paths if path.is_file()}
