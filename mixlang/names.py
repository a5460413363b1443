"""The names that a spec and the command line choose from, each list written once.

Whoever needs one of these lists takes it from here: the schema, the checks, the laws, the solver and the report.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

Baseline = Literal["proportional", "uniform", "unimax", "best_single"]
BASELINES: tuple[str, ...] = get_args(Baseline)
"""Mixtures that a solved one is compared with."""

PUBLISHED, ALLOCATED, SCRATCH = "published", "allocated", "scratch"
"""The shares solved for the target, which are published; those solved for a held-out budget itself; no pretraining."""

PublishedAt = Literal["largest", "all", "none"]
"""Held-out budgets at which the published shares are trained."""


def published_budgets(at: PublishedAt, holdout: Sequence[int]) -> list[int]:
    """Those of the held-out budgets at which the published shares are trained."""
    return {"largest": sorted(holdout)[-1:], "all": list(holdout), "none": []}[at]


OWN_MIXTURES = (PUBLISHED, ALLOCATED, *BASELINES, "best_observed", "no_transfer")
"""Names that mixlang gives to mixtures, which a mixture of verify.mixtures cannot have."""

OWN_ENCODERS = (PUBLISHED, ALLOCATED, *BASELINES, SCRATCH)
"""Encoders that a study can have without mixtures of its own; scratch is not pretrained."""

ObjectiveName = Literal["weighted_loss", "geometric_mean", "worst_case", "robust"]
OBJECTIVES: tuple[str, ...] = get_args(ObjectiveName)

EXPECTED, BEST_GUESS = "expected", "best_guess"
DecideName = Literal["expected", "best_guess"]
DECISIONS: tuple[str, ...] = get_args(DecideName)
"""What a mixture is decided by: the objective expected over draws of the laws, or the fitted laws alone."""

Unit = Literal["fractions", "percent", "amounts"]
UNITS: tuple[str, ...] = get_args(Unit)
"""What the shares of a table are written as: parts of 1, parts of 100, or amounts whose sum is the budget."""

AUTO, STACKED = "auto", "stacked"
FamilyName = Literal[
    "stacked",
    "auto",
    "power",
    "transfer",
    "transfer_nofloor",
    "transfer_common",
    "transfer_saturating",
    "transfer_tilted",
    "additive",
    "exponential",
    "log_additive",
]
FAMILY_NAMES: tuple[str, ...] = get_args(FamilyName)
"""The families of scaling laws (mixlang/laws/families.py), after `stacked`, several of them for each loss, and
`auto`, the best one of them."""

FIXED_TOTAL = ("transfer_tilted", "additive", "exponential", "log_additive")
"""Families that are convex only among mixtures of one total amount."""

TrackerName = Literal[
    "auto", "none", "aim", "clearml", "comet_ml", "dvclive", "mlflow", "swanlab", "tensorboard", "trackio", "wandb"
]


@dataclass(frozen=True)
class Package:
    """Where a tracker's code comes from: the modules of which one must be there, and what pip calls the package."""

    modules: tuple[str, ...]
    pip: str


TRACKERS = {
    "aim": Package(("aim",), "aim<4"),
    "clearml": Package(("clearml",), "clearml"),
    "comet_ml": Package(("comet_ml",), "comet-ml"),
    "dvclive": Package(("dvclive",), "dvclive"),
    "mlflow": Package(("mlflow",), "mlflow"),
    "swanlab": Package(("swanlab",), "swanlab"),
    "tensorboard": Package(("tensorboard", "tensorboardX"), "tensorboard"),
    "trackio": Package(("trackio",), "trackio"),
    "wandb": Package(("wandb",), "wandb"),
}
"""The trackers of Accelerate."""


def meant_or_known(word: str, known: Iterable[str], what: str) -> str:
    """Advice where a name is unknown: "Did you mean 'x'?", or all there are (`what` says of what kind)."""
    names = list(known)
    return meant(word, names) or f"The {what} are {', '.join(names)}."


def meant(word: str, known: Iterable[str]) -> str:
    """ "Did you mean 'x'?" for the known name that is closest to a word, or ''."""
    from mixlang.spec.suggest import closest  # only where something is wrong

    match = closest(word, known)
    return f"Did you mean '{match}'?" if match else ""
