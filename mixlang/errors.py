"""The errors mixlang ends with. Each carries the exit code the command line returns for it."""

from __future__ import annotations

import errno
from typing import ClassVar


class MixlangError(Exception):
    """Something a person has to act on: what is wrong, and what to do about it.

    Attributes:
        hint: what to do, in one or two sentences; may be empty.
        exit_code: what `mixlang` exits with when it ends on this error.
    """

    exit_code: ClassVar[int] = 3

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint


class InputError(MixlangError):
    """The input is wrong: a file, a table, a name. Nothing was trained or changed."""

    exit_code = 1


class StageError(MixlangError):
    """A run or a stage of the pipeline failed. What had finished is kept."""

    exit_code = 3


class WriteError(StageError):
    """The disk refused a file: full, read-only or not permitted. What stood there before still stands."""


class DiskFull(WriteError):
    """No space is left on a disk, or none of the user's quota. Whatever is written next would be refused too."""


_FULL = (errno.ENOSPC, errno.EDQUOT)

_FULL_WORDS = ("No space left on device", "Disk quota exceeded", "disk is full")
"""In messages of libraries that pass an error of the system on as text."""


def is_full(error: BaseException | None) -> bool:
    """Whether an error comes from a disk, or a quota, that is full; what caused it is looked at too."""
    while error is not None:
        if isinstance(error, DiskFull) or (isinstance(error, OSError) and error.errno in _FULL):
            return True
        if any(words in str(error) for words in _FULL_WORDS):
            return True
        error = error.__cause__ or error.__context__
    return False


def disk_full(what: str) -> DiskFull:
    """The error for people: what could not be done, and what to do."""
    return DiskFull(what, "Free some space, then run the same command again; finished work is kept.")


class SolveError(MixlangError):
    """The allocation has no optimal solution, or the solver could not prove one."""

    exit_code = 4


class Interrupted(MixlangError):
    """The user, or a signal, stopped the work. What had finished is kept."""

    exit_code = 130


class Detached(MixlangError):
    """The work goes on without us: it is with a scheduler, and nobody wanted to wait for it."""

    exit_code = 75


def crash(error: Exception, doing: str) -> StageError:
    """A defect of mixlang as a message for people, with the traceback in a file they can send; a full disk is none."""
    import tempfile
    import traceback

    if is_full(error):
        where = getattr(error, "filename", None)
        return disk_full(f"{doing} ended because a disk is full: {f'{where}: ' if where else ''}{error}")
    if "No usable temporary directory" in str(error):
        return StageError(
            f"{doing} failed: {error}", "Free some space there, or set TMPDIR to a folder that can be written."
        )
    said = f"{doing} failed unexpectedly: {type(error).__name__}: {error}"
    try:
        with tempfile.NamedTemporaryFile("w", prefix="mixlang-crash-", suffix=".txt", delete=False) as file:
            traceback.print_exception(error, file=file)
    except OSError:
        return StageError(said, "This is a defect of mixlang; please report it. What had finished is kept.")
    return StageError(
        said, f"This is a defect of mixlang; please report it with {file.name}. What had finished is kept."
    )
