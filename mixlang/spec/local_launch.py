"""How this machine starts runs: the `launch` section of mixlang.local.yaml, which fills in what the spec leaves out."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ValidationError

from mixlang.errors import InputError
from mixlang.names import TRACKERS
from mixlang.spec.diagnostics import Diagnostic, SpecError
from mixlang.spec.loader import LoadedSpec
from mixlang.spec.locations import LOCAL_FILE
from mixlang.spec.positions import Path_, parse
from mixlang.spec.schema import Launch, Slurm, Spec

SECTION = "launch"


class _Site(BaseModel):
    """What of mixlang.local.yaml is not a path."""

    launch: Launch


def launch_here(spec: Spec, root: Path) -> Launch:
    """The launch settings of a spec on this machine: its own keys, then those of the site, then the defaults.

    Args:
        root: the workspace, where mixlang.local.yaml lies.

    Raises:
        SpecError: the section of mixlang.local.yaml is wrong, at its place there.
        InputError: what the two say does not go together.
    """
    site = _site(root)
    launch = Launch.model_validate(_over(_given(spec.launch), site)) if site else spec.launch
    if launch.processes_per_run % launch.slurm.nodes:  # of the spec alone, its checks have said so
        raise InputError(
            f"{launch.processes_per_run} processes a run do not divide over {launch.slurm.nodes} nodes",
            f"See launch.slurm.nodes in {LOCAL_FILE} and launch.processes_per_run.",
        )
    return launch


def absent_tracker(
    loaded: LoadedSpec, launch: Launch, severity: Literal["warning", "error"] = "warning"
) -> list[Diagnostic]:
    """What is to be said where the package of the tracker is not installed here; nothing is imported for that."""
    package = TRACKERS.get(launch.tracker)
    if package is None or any(find_spec(module) for module in package.modules):
        return []
    place: Path_ = ("launch", "tracker")
    where = "" if place in loaded.marked.keys else f" ({LOCAL_FILE} asks for it)"
    message = f"the tracker '{launch.tracker}' is not installed here{where}, so no run would start"
    help = f"pip install '{package.pip}', or set launch.tracker to auto or none"
    return [loaded.marked.diagnostic("MX0313", place, message, help, severity=severity)]


def _site(root: Path) -> dict[str, Any]:
    path = root / LOCAL_FILE
    if not path.exists():
        return {}
    marked = parse(path, LOCAL_FILE)
    value = marked.value.get(SECTION) if isinstance(marked.value, dict) else None
    if value is None:
        return {}
    try:
        _Site.model_validate({SECTION: value})
    except ValidationError as error:
        from mixlang.spec.validation import diagnose

        raise SpecError(diagnose(error, marked), [LOCAL_FILE]) from None
    return value


def _given(launch: Launch) -> dict[str, Any]:
    """What the spec itself says, without defaults."""
    given = {name: getattr(launch, name) for name in launch.model_fields_set}
    if isinstance(given.get("slurm"), Slurm):
        slurm = given["slurm"]
        given["slurm"] = {name: getattr(slurm, name) for name in slurm.model_fields_set}
    return given


def _over(first: dict[str, Any], second: dict[str, Any]) -> dict[str, Any]:
    """Two mappings in one, the first going before the second."""
    both = {**second, **first}
    if isinstance(first.get("slurm"), dict) and isinstance(second.get("slurm"), dict):
        both["slurm"] = {**second["slurm"], **first["slurm"]}
    return both
