"""The stages of a study, what each reads and writes: the one graph from which dvc.yaml, what changed and `plan` derive.

Files are in the build folder unless a path is given. Results are small, committed to git, and kept by DVC when a stage
fails.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Stage:
    """One stage.

    Attributes:
        reads, writes: files; settings: whether the plan writes settings of its own for it, settings/NAME.json.
    """

    name: str
    reads: tuple[str, ...]
    writes: tuple[str, ...]
    settings: bool = False


_RESULTS = (
    "data.json",
    "statistics.json",
    "runs.json",
    "fit.json",
    "allocation.json",
    "verification.json",
    "downstream.json",
    "settings/allocate.json",
    "settings/publish.json",
)

_WITH_SETTINGS = ("prepare", "evaluate", "fit", "allocate", "verify", "downstream", "publish")

STAGES = {
    stage.name: stage
    for stage in (
        Stage(
            "plan",
            ("specs/${item}.yaml", "specs/bases", "overrides.json", "data.json"),
            ("plan.json", *(f"settings/{name}.json" for name in _WITH_SETTINGS)),
        ),
        Stage("prepare", ("plan.json", "settings/prepare.json"), ("volumes.json", "statistics.json"), True),
        Stage("sweep", ("plan.json", "volumes.json"), ("trained.json",)),
        Stage(
            "evaluate",
            ("plan.json", "volumes.json", "trained.json", "settings/evaluate.json"),
            ("runs.json",),
            True,
        ),
        Stage("fit", ("runs.json", "settings/fit.json"), ("fit.json",), True),
        Stage("allocate", ("fit.json", "settings/allocate.json"), ("allocation.json",), True),
        Stage(
            "verify",
            ("plan.json", "fit.json", "allocation.json", "settings/evaluate.json", "settings/verify.json"),
            ("verification.json",),
            True,
        ),
        Stage("downstream", ("plan.json", "verification.json", "settings/downstream.json"), ("downstream.json",), True),
        Stage("report", _RESULTS, ("report.html", "metrics.json", "curves.csv", "heldout.csv")),
        Stage("publish", _RESULTS, ("published.json",), True),
    )
}
"""In the order in which they run."""

RESULTS = tuple(name for stage in STAGES.values() for name in stage.writes)
"""All files that stages write."""


def sources(name: str) -> list[str]:
    """The stages whose results a stage reads."""
    return [other for other, stage in STAGES.items() if set(stage.writes) & set(STAGES[name].reads)]


def directly_before(name: str) -> list[str]:
    """The stages that come directly before a stage: whose results it reads, less those that come before another."""
    reads = sources(name)
    return [other for other in reads if not any(other in _all_before(later) for later in reads)]


def _all_before(name: str) -> set[str]:
    reads = set(sources(name))
    return reads.union(*(_all_before(other) for other in reads))
