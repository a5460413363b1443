"""Files written whole or not at all, and the canonical JSON that identities are hashed from."""

from __future__ import annotations

import contextlib
import json
import math
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

from mixlang.errors import InputError, WriteError, disk_full, is_full


@contextlib.contextmanager
def atomic_open(path: Path) -> Iterator[BinaryIO]:
    """Open a temporary file beside `path` that becomes `path` when the block ends well.

    The data reach the disk before the rename, so a reader sees the old file or the new one, never a part.

    Raises:
        WriteError: the disk refused (full, read-only, not permitted); `path` is as it was.
        DiskFull: it is full.
    """
    import tempfile  # costs commands that only read more than all of this module

    temporary = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".tmp", dir=path.parent)
        temporary = Path(name)
        with os.fdopen(handle, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.chmod(0o666 & ~_umask())
        temporary.replace(path)
    except OSError as error:
        if is_full(error):
            raise disk_full(f"could not write {path}: {error.strerror or error}") from error
        raise WriteError(
            f"could not write {path}: {error.strerror or error}",
            "Free disk space or mend the permissions, then run the same command again; finished work is kept.",
        ) from error
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def free_bytes(folder: Path) -> int | None:
    """Bytes that may still be written below a folder, which need not exist yet; None where its disk does not say."""
    existing = next((path for path in (folder, *folder.parents) if path.exists()), None)
    try:
        found = os.statvfs(existing or "/")
    except OSError:
        return None
    return found.f_bavail * found.f_frsize if found.f_blocks else None


_PROBE = bytes(64 * 1024)


def takes_nothing(folder: Path) -> bool:
    """Whether a disk is full: it refuses a small file for want of space. A quota is known by trying alone."""
    import tempfile

    try:
        with tempfile.TemporaryFile(dir=folder, buffering=0) as file:
            return file.write(_PROBE) < len(_PROBE)
    except OSError as error:
        return is_full(error)


def refuse_unwritable(path: Path, *inputs: Path) -> None:
    """Say before the work, not after it, that its result could not be written.

    Raises:
        InputError: something else than a file in its place, one of the inputs, or a folder that is missing or not
            writable.
    """
    folder = path.parent
    if any(path.exists() and item.exists() and path.samefile(item) for item in inputs):
        raise InputError(f"{path} is also what is read; give the result another name")
    if path.is_dir():
        raise InputError(f"{path} is a folder; expected the name of a file to write")
    if path.exists() and not path.is_file():
        raise InputError(f"{path} is not a file that could be replaced")
    if not folder.is_dir():
        raise InputError(f"cannot write {path}: there is no folder {folder}", "Make it first.")
    if not os.access(folder, os.W_OK):
        raise InputError(f"cannot write {path}: the folder {folder} is not writable")


def write_bytes(path: Path, data: bytes) -> None:
    """Write `data` to `path` whole or not at all."""
    with atomic_open(path) as file:
        file.write(data)


def write_text(path: Path, text: str) -> None:
    """Write `text` as UTF-8 to `path` whole or not at all."""
    write_bytes(path, text.encode())


def write_json(path: Path, value: Any) -> None:
    """Write `value` as `json_text` to `path` whole or not at all."""
    write_text(path, json_text(value))


def json_text(value: Any) -> str:
    """Indented JSON with sorted keys, for people and diffs; NaN and infinity are refused."""
    return json.dumps(value, indent=1, sort_keys=True, allow_nan=False, ensure_ascii=False) + "\n"


def read_json(path: Path) -> Any:
    """Read a JSON file that mixlang wrote.

    Raises:
        InputError: the file is missing or is not JSON; the message names it.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror or error}") from error
    except ValueError as error:
        raise InputError(f"{path} is not valid JSON: {error}", "Delete it and run again to rebuild it.") from error


def canonical_json(value: Any) -> str:
    """One text for one value: sorted keys, no spaces, floats in shortest exact form, integral floats as integers.

    Raises:
        TypeError: a value without a stable identity (a path, an object, a set).
        ValueError: NaN or infinity.
    """
    return json.dumps(_canonical(value), sort_keys=True, separators=(",", ":"), ensure_ascii=True)


def canonical_object(members: Mapping[str, str]) -> str:
    """The `canonical_json` of a dict, from the canonical JSON of each value: what many share is written out once."""
    return "{" + ",".join(f"{json.dumps(key)}:{members[key]}" for key in sorted(members)) + "}"


def _canonical(value: Any) -> Any:
    if isinstance(value, bool) or value is None or isinstance(value, str | int):
        return value
    if isinstance(value, float):
        if not math.isfinite(value):
            raise ValueError(f"{value} has no place in an identity; give a finite number")
        return int(value) if value.is_integer() and abs(value) < 2**53 else value
    if isinstance(value, dict):
        if not all(isinstance(key, str) for key in value):
            raise TypeError("an identity needs string keys; convert them first")
        return {key: _canonical(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_canonical(item) for item in value]
    raise TypeError(f"{type(value).__name__} has no stable identity; convert it to text, numbers, lists or dicts")


def digest(value: Any) -> str:
    """SHA-256 of the canonical JSON of `value`, as 64 hex digits."""
    return text_digest(canonical_json(value))


def text_digest(text: str) -> str:
    """SHA-256 of a text, as 64 hex digits."""
    import hashlib

    return hashlib.sha256(text.encode()).hexdigest()


def file_digest(path: Path) -> str:
    """SHA-256 of a file's bytes, as 64 hex digits."""
    import hashlib

    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
