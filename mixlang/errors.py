"""The errors mixlang ends with. Each carries the exit code the command line returns for it."""

from __future__ import annotations

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
    """A defect of mixlang as a message for people, with the traceback in a file they can send."""
    import tempfile
    import traceback

    with tempfile.NamedTemporaryFile("w", prefix="mixlang-crash-", suffix=".txt", delete=False) as file:
        traceback.print_exception(error, file=file)
    return StageError(
        f"{doing} failed unexpectedly: {type(error).__name__}: {error}",
        f"This is a defect of mixlang; please report it with {file.name}. What had finished is kept.",
    )
