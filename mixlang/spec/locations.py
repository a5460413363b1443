"""Where a spec's data lie on this machine: `${variables}`, and whether the sources are there at all.

A spec never holds a path of one machine: `${data_root}` comes from the environment (MIXLANG_DATA_ROOT) or from
the git-ignored `mixlang.local.yaml` beside dvc.yaml (whose `launch` section is mixlang.spec.local_launch's).
"""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from mixlang.errors import InputError
from mixlang.spec.diagnostics import Diagnostic, SpecError
from mixlang.spec.loader import LoadedSpec
from mixlang.spec.positions import parse
from mixlang.spec.suggest import closest

_BYTE = re.compile(r"\\x([89a-f][0-9a-f])")
"""A byte of a file name that is no UTF-8, as portable paths write it."""

_VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")
LOCAL_FILE = "mixlang.local.yaml"


class UndefinedVariable(InputError):
    """A `${variable}` that neither the environment nor mixlang.local.yaml defines."""

    def __init__(self, name: str, known: Iterable[str] = ()) -> None:
        near = closest(name, known)
        meant = f"{LOCAL_FILE} defines '{near}': is that it? Else " if near else ""
        where = f"{meant}set MIXLANG_{name.upper()} or write '{name}: PATH' in {LOCAL_FILE} beside dvc.yaml"
        super().__init__(f"${{{name}}} is not defined", where)


@dataclass(frozen=True)
class Locations:
    """Turns a spec's paths into paths of this machine.

    Attributes:
        root: what relative paths are relative to: the workspace.
        variables: from mixlang.local.yaml; the environment goes before them.
    """

    root: Path
    variables: Mapping[str, str]

    @classmethod
    def of(cls, root: Path) -> Locations:
        """The locations of a workspace; reads its mixlang.local.yaml if there is one.

        Raises:
            SpecError: that file is not valid YAML, or not a flat mapping of names to texts.
        """
        path = root / LOCAL_FILE
        if not path.exists():
            return cls(root, {})
        marked = parse(path, LOCAL_FILE)
        values = {} if marked.value is None else marked.value
        problems = list(marked.problems)
        help = "write lines such as 'data_root: /path/of/the/data'"
        if not isinstance(values, dict):
            problems.append(marked.diagnostic("MX0103", (), f"{LOCAL_FILE} must hold names and paths", help))
        else:
            problems += [
                marked.diagnostic("MX0103", (name,), f"'{name}' must be a path", help, key=value is None)
                for name, value in values.items()
                if not isinstance(value, str) and name != "launch"
            ]
        if problems:
            raise SpecError(problems)
        return cls(root, {name: value for name, value in values.items() if isinstance(value, str)})

    def expand(self, text: str) -> Path:
        """The path `text` stands for here.

        Raises:
            UndefinedVariable: a variable has no value.
        """
        path = self.root / _VARIABLE.sub(lambda match: self._value(match[1]), text)
        return Path(_BYTE.sub(lambda match: chr(0xDC00 + int(match[1], 16)), str(path))) if "\\x" in text else path

    def pattern(self, text: str) -> str:
        """The glob that `text` stands for here. Only what the spec writes as a pattern is one: the workspace's folder
        and the values of variables are literal, and so is a part that names a file or folder which is there.

        The endings of scans are found in capitals too.

        Raises:
            UndefinedVariable: a variable has no value.
        """
        place: Path | None = self.root
        written = glob.escape(str(self.root))
        for part in Path(text).parts:
            value, bare = _VARIABLE.sub(lambda match: self._value(match[1]), part), _VARIABLE.sub("", part)
            if not glob.has_magic(bare) or (place is not None and _is_there(place, value)):
                written = os.path.join(written, glob.escape(value))
                place = None if place is None else place / value
            else:
                escaped = _VARIABLE.sub(lambda match: glob.escape(self._value(match[1])), _in_any_case(part))
                written, place = os.path.join(written, escaped), None
        return written

    def matches(self, text: str) -> list[Path]:
        """The paths that a glob of a spec finds, in no order."""
        return [Path(name) for name in glob.glob(self.pattern(text), recursive=True)]

    def _value(self, name: str) -> str:
        value = os.environ.get(f"MIXLANG_{name.upper()}") or self.variables.get(name)
        if not value:
            raise UndefinedVariable(name, self.variables)
        return os.path.expanduser(value)

    def portable(self, path: Path, template: str) -> str:
        """`path`, found by expanding `template`, written so that it holds on any machine.

        A leading variable of the template is put back; other paths become relative to the workspace.
        """
        match = _VARIABLE.match(template)
        base, prefix = (Path(self._value(match[1])), f"{match[0]}/") if match else (self.root, "")
        base = self.root / base
        return prefix + path.relative_to(base).as_posix() if path.is_relative_to(base) else path.as_posix()


def _is_there(folder: Path, name: str) -> bool:
    """Whether something is called letter for letter what could also be a set of characters, as in `[2021] trial`."""
    return not set("*?") & set(name) and os.path.lexists(folder / name)


def _in_any_case(part: str) -> str:
    """A pattern whose ending, that of a scan, fits capitals too."""
    found = re.search(r"\.(nii(\.gz)?|nrrd|nhdr|mha|mhd|mgz|mgh)\*?$", part)
    if found is None:
        return part
    either = "".join(f"[{letter}{letter.upper()}]" if letter.isalpha() else letter for letter in found[0])
    return part[: found.start()] + either


def check_sources(loaded: LoadedSpec, locations: Locations) -> list[Diagnostic]:
    """Say which sources are not there: an undefined variable, a missing folder or file, a glob without a match."""
    found = []
    for name, domain in loaded.spec.domains.items():
        source = domain.source
        if source.kind == "phantom":
            continue
        path = ("domains", name, "source", source.kind)
        foreign = _foreign(source.location)
        if foreign:
            found.append(loaded.marked.diagnostic("MX0301", path, *foreign))
            continue
        try:
            expanded = locations.expand(source.location)
        except UndefinedVariable as error:
            found.append(loaded.marked.diagnostic("MX0301", path, str(error), error.hint))
            continue
        problem = _missing(expanded, source.kind) if source.nifti is None else _unmatched(locations, source.nifti)
        if problem:
            found.append(loaded.marked.diagnostic("MX0302", path, f"domain '{name}': {problem}"))
    return found


def absent_data(missing: Iterable[Diagnostic]) -> list[Diagnostic]:
    """Warnings in place of the errors of `check_sources`, where an earlier scan of the same sources is committed."""
    help = "bring the data, or define the variable, to train or to scan again; planning and solving need neither"
    return [
        replace(
            item,
            code="MX0316",
            severity="warning",
            message=f"{item.message}: what an earlier scan found is used as it is",
            help=help,
        )
        for item in missing
    ]


def _foreign(text: str) -> tuple[str, str] | None:
    """What of a path would be taken literally although another system expands it: message and help, or None."""
    left = _VARIABLE.sub("", text)
    if "${" in left:
        return "a variable is not closed, or has no name", "write ${data_root}/..."
    if match := re.search(r"\$\w+|(?<!\$)\{(\w+)\}|%(\w+)%", left):
        name = (match[1] or match[2] or match[0].lstrip("$")).lower()
        return f"'{match[0]}' is no variable here", f"write ${{{name}}} and give MIXLANG_{name.upper()} a value"
    if left.startswith("~"):
        return (
            "'~' is another folder for everybody",
            "write ${data_root}/... and 'data_root: ~/...' in mixlang.local.yaml",
        )
    if "\\" in left or re.match(r"[A-Za-z]:[/\\]", left):
        return (
            "this looks like a path of Windows",
            "write forward slashes, and ${data_root} for the folder of this machine",
        )
    return None


def _missing(path: Path, kind: str) -> str:
    """What of a source is not there, or ''."""
    if kind in ("manifest", "monai_datalist"):
        what = "manifest" if kind == "manifest" else "datalist"
        return "" if path.is_file() else f"there is no {what} {path}"
    if kind == "nnunet" and path.suffix == ".json":
        return "" if path.is_file() else f"there is no file {path}"
    if not path.is_dir():
        return f"there is no folder {path}"
    if kind == "nnunet" and not (path / "dataset.json").is_file():
        return f"{path} has no dataset.json, which an nnU-Net data set has beside imagesTr"
    if kind == "bids" and not any(path.glob("sub-*/")):
        return f"{path} has no folder sub-*, of which a BIDS data set has one for each subject"
    return ""


def _unmatched(locations: Locations, template: str) -> str:
    """Why a glob finds nothing, or ''."""
    path = locations.expand(template)
    if path.is_dir():
        return f"{path} is a folder; name its files, as in {path.name}/**/*.nii.gz"
    if any(True for _ in glob.iglob(locations.pattern(template), recursive=True)):
        return ""
    fixed = Path(path.parts[0])
    for part in path.parts[1:]:
        if glob.has_magic(part) and not (fixed / part).exists():
            break
        fixed /= part
    return f"no file matches {path}" if fixed.exists() else f"there is no folder {fixed}"
