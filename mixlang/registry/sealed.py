"""The MANIFEST of a version: the hash of every other file and of itself, so that no byte can change unseen.

The lines are those of `sha256sum`, which checks them too; the last one is a comment to it, and seals the others.
"""

from __future__ import annotations

import hashlib
import re
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
