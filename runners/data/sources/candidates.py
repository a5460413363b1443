"""What a source finds, and what all sources share: subjects from paths, exclusions, reading JSON that people wrote."""

from __future__ import annotations

import fnmatch
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mixlang.errors import InputError


@dataclass(frozen=True)
class Candidate:
    """A file named by a source, not looked at yet.

    Attributes:
        path: where it lies on this machine; `portable`: the same with the spec's `${variables}`.
        subject: whose volume it is.
        label: portable path of a label map on the same grid, if the source names one.
        site: where it was acquired; '' when the source says nothing.
        unit: what the source says of the unit of its values, as written there; '' when it says nothing.
    """

    path: Path
    portable: str
    subject: str
    label: str | None = None
    unit: str = ""
    site: str = ""


def is_excluded(portable: str, patterns: list[str]) -> bool:
    """Whether a file name pattern of `source.exclude` fits a file, by its portable path: where the data are on this
    machine decides nothing."""
    return any(fits(portable, pattern) for pattern in patterns)


def fits(path: str, pattern: str) -> bool:
    """Whether a file name pattern of a spec fits a file's name or its whole path, or is one of them letter for letter."""
    name = path.rsplit("/", 1)[-1]
    return pattern in (name, path) or fnmatch.fnmatch(name, pattern) or fnmatch.fnmatch(path, pattern)


def subject_in(portable: str, pattern: str) -> str:
    """The subject a regular expression finds in a path: its first group, or all it matches.

    Raises:
        InputError: it matches nothing there.
    """
    match = re.search(pattern, portable)
    if match is None:
        raise InputError(
            f"the subject pattern {pattern!r} matches nothing in {portable}",
            "Mend source.subject, or exclude the file.",
        )
    found = match[1] if match.groups() else match[0]
    if not (found or "").strip():
        raise InputError(
            f"the subject pattern {pattern!r} finds an empty subject in {portable}",
            "Fix source.subject: its first group must match something in every path.",
        )
    return found


def stem(path: Path) -> str:
    """A file's name up to its first dot."""
    return path.name.split(".")[0]


def read_object(path: Path, what: str) -> dict[str, Any]:
    """A JSON file that holds an object; `what` names it in messages, for example 'the datalist'.

    Raises:
        InputError: it cannot be read, is not JSON, or holds something else.
    """
    try:
        value = json.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise InputError(f"cannot read {what} {path}: {error.strerror or error}") from error
    except ValueError as error:
        raise InputError(f"{what} {path} is not valid JSON: {error}") from error
    if not isinstance(value, dict):
        raise InputError(f"{what} {path} holds {_kind(value)}; expected an object {{...}}")
    return value


def _kind(value: Any) -> str:
    names = {list: "a list", str: "a text", bool: "a truth value", type(None): "null"}
    return names.get(type(value), "a number")
