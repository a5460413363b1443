"""Placing a version: built aside and renamed, so that it is there whole or not at all, whoever else publishes."""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

from mixlang.registry.sealed import MANIFEST, manifest_of

_ASIDE = ".publishing-"

_LEFT_BEHIND = 600.0
"""Seconds after which a folder that a publisher was writing, which takes it well under one, is swept away."""


def place(folder: Path, number: int, files: Mapping[str, bytes]) -> bool:
    """Write a version aside and rename it into place; False when the number is taken."""
    folder.mkdir(parents=True, exist_ok=True)
    _sweep(folder)
    aside = Path(tempfile.mkdtemp(prefix=_ASIDE, dir=folder))
    try:
        listed = {**files, MANIFEST: manifest_of(files)}
        for filename, data in listed.items():
            with (aside / filename).open("wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
        aside.chmod(0o755)
        try:
            aside.rename(folder / f"v{number}")
        except OSError:
            if (folder / f"v{number}").exists():
                return False
            raise
        return True
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def _sweep(folder: Path) -> None:
    """Remove what publishers that were killed have left half-written."""
    for path in folder.glob(f"{_ASIDE}*"):
        try:
            old = time.time() - path.stat().st_mtime > _LEFT_BEHIND
        except FileNotFoundError:
            continue
        if old:
            shutil.rmtree(path, ignore_errors=True)
