"""The MANIFEST of a version: the hash of every other file and of itself, so that no byte can change unseen.

The lines are those of `sha256sum`, which checks them too; the last one is a comment to it, and seals the others. And
placing a version: built aside and renamed, so that it is there whole or not at all, whoever else publishes.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

from mixlang.files import file_digest

MANIFEST = "MANIFEST"

_CRLF = b"\r\n"

_SEAL = "# sha256 of the lines above: "
_LINE = re.compile(r"([0-9a-f]{64})  ([^/\n]+)")


def manifest_of(files: Mapping[str, bytes]) -> bytes:
    """The MANIFEST of the files of a version."""
    return _sealed({name: hashlib.sha256(data).hexdigest() for name, data in files.items()})


def _sealed(hashes: Mapping[str, str]) -> bytes:
    lines = "".join(f"{digest}  {name}\n" for name, digest in sorted(hashes.items())).encode()
    return lines + f"{_SEAL}{hashlib.sha256(lines).hexdigest()}\n".encode()


def read_manifest(path: Path) -> dict[str, str]:
    """Hashes by file name.

    Raises:
        ValueError: it is not, to the byte, what was written; says what is wrong.
        OSError: it cannot be read.
    """
    return _parsed(path.read_bytes())


def _parsed(data: bytes) -> dict[str, str]:
    text = data.decode("utf-8", errors="replace")
    *lines, seal = text.splitlines() or [""]
    found = {}
    for line in lines:
        match = _LINE.fullmatch(line)
        if match is None:
            raise ValueError(f"the line {line[:80]!r} is not a hash and a file name")
        found[match[2]] = match[1]
    if not seal.startswith(_SEAL):
        raise ValueError("it does not end with its own hash")
    if data != _sealed(found):
        raise ValueError("it does not agree with its own hash")
    return found


def damage(folder: Path) -> list[str]:
    """What is wrong with the files of a version, each item beginning with the file's name; empty when nothing is."""
    ends, found = compared(folder)
    if ends:
        others = f" and {len(ends) - 1} other files" if len(ends) > 1 else ""
        found.append(
            f"{ends[0]}{others}: as published but for their line ends (CRLF), which git changes with core.autocrlf; in a "
            "workspace 'mixlang compile SPEC' gives them back; elsewhere add 'v*/** -text' to a .gitattributes beside the "
            f"versions, delete {folder} and check it out again"
        )
    return found


def compared(folder: Path) -> tuple[list[str], list[str]]:
    """The files of a version whose line ends alone differ, as git changes them on a checkout, and what else is wrong."""
    ends: list[str] = []
    try:
        data = (folder / MANIFEST).read_bytes()
        if _CRLF in data:
            data = data.replace(_CRLF, b"\n")
            ends.append(MANIFEST)
        listed = _parsed(data)
    except (OSError, ValueError) as error:
        return [], [f"{MANIFEST}: changed since it was published: {error}"]
    found = []
    for name, digest in listed.items():
        file = folder / name
        try:
            if file_digest(file) == digest:
                continue
            if hashlib.sha256(file.read_bytes().replace(_CRLF, b"\n")).hexdigest() == digest:
                ends.append(name)
            else:
                found.append(f"{name}: changed since it was published")
        except FileNotFoundError:
            found.append(f"{name}: missing")
        except OSError as error:
            found.append(f"{name}: cannot be read ({error.strerror or error})")
    extra = sorted(file.name for file in folder.iterdir() if file.name not in {*listed, MANIFEST})
    return ends, found + [f"{name}: not part of the published version" for name in extra]


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
