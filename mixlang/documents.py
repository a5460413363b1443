"""The documents that stages hand to each other, and what is read of a version: their forms, and reading them checked.

A document is what its JSON file holds. A form names its keys; `read` refuses a file that lacks one, or holds something else
there, before anything is computed from it.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NotRequired

from typing_extensions import TypedDict

from mixlang.errors import InputError
from mixlang.files import read_json

if TYPE_CHECKING:
    from pydantic import TypeAdapter

ByName = dict[str, float]
"""Numbers by domain, or by loss."""

Ends = list[float]
"""The two ends of an interval."""


# Plans


class ModelSizes(TypedDict):
    """A masked autoencoder."""

    patch: int
    width: int
    depth: int
    heads: int
    decoder_width: int
    decoder_depth: int
    decoder_heads: int
    mask_ratio: float


class Recipe(TypedDict):
    """How a run is trained."""

    batch_size: int
    learning_rate: float
    schedule: str
    warmup_steps: int
    decay_fraction: NotRequired[float]
    weight_decay: float
    betas: list[float]
    clip_norm: float
    precision: str
    flips: bool
    threads: int


class EvaluationSettings(TypedDict):
    """Validation crops of each volume, and the seed of their places."""

    crops: int
    seed: int


class ChosenDesign(TypedDict):
    """How good a design of kind `optimal` is.

    `samples`: trained in all; `candidates`: how many runs were chosen among; `deviation_over_least`: the standard deviation
    of its predictions over the least that any design of its cost can have (a bound, so never below 1), null where unknown.
    """

    samples: int
    candidates: int
    deviation_over_least: float | None


class Training(TypedDict):
    """What all runs of a plan have in common."""

    crop: list[int]
    model: ModelSizes
    recipe: Recipe


class Preprocessing(TypedDict):
    """What is done to a volume."""

    modality: str
    unit: str
    clip: list[float] | None
    spacing: NotRequired[list[float]]
    crop: NotRequired[list[int]]
    factor: NotRequired[float]
    offset: NotRequired[float]


class Volume(TypedDict):
    """A volume of a plan: where it is, and what is done to it; `phantom` where it is generated."""

    domain: str
    path: str
    content: str
    factor: float
    preprocessing: Preprocessing
    phantom: NotRequired[dict[str, Any]]


class VolumeFacts(TypedDict):
    """A prepared volume: shape, the part of its voxels that exists, their mean and deviation."""

    shape: list[int]
    real: float
    mean: float
    deviation: float
    histogram: NotRequired[list[float]]


# Settings


class Available(TypedDict):
    """What there is of a domain to train on."""

    volumes: float
    crops: float


class ObjectiveSettings(TypedDict):
    """What is minimised."""

    minimize: str
    weights: ByName
    relative_to: str
    tail: NotRequired[float]
    decide: NotRequired[str]


class ConstraintSettings(TypedDict):
    """What a mixture has to keep."""

    repetition: float | None
    floor: NotRequired[float]
    share: dict[str, Any]
    group: NotRequired[dict[str, Any]]
    prior: float
    worse: NotRequired[float]


class ProblemSettings(TypedDict):
    """What an allocation problem is made from, the laws and the budget apart."""

    costs: ByName
    available: dict[str, Available] | None
    objective: ObjectiveSettings
    constraints: ConstraintSettings


class AllocateSettings(ProblemSettings):
    """settings/allocate.json."""

    target: float
    holdout: list[int]
    baselines: list[str]
    mixtures: dict[str, ByName]
    grid: int


class FitSettings(TypedDict):
    """settings/fit.json."""

    family: str
    choose: Literal["each", "all"]
    fixed_total: bool
    draws: int


class PrepareSettings(TypedDict):
    """settings/prepare.json."""

    thumbnails: int


class VerifySettings(TypedDict):
    """settings/verify.json."""

    baselines: list[str]
    seeds: int
    grid_seeds: int
    published: NotRequired[Literal["largest", "all", "none"]]


class PublishSettings(TypedDict):
    """settings/publish.json."""

    name: str
    study: str
    description: str


# Tasks


class TaskRecipe(TypedDict):
    """How a head is trained."""

    steps: int
    batch_size: int
    learning_rate: float


class LabelFile(TypedDict):
    """A label map: its key in the store, its content, and where it is; None where it is generated."""

    key: str
    content: str
    path: str | None


Case = TypedDict(
    "Case",
    {
        "volume": str,
        "subject": str,
        "held_out": bool,
        "class": NotRequired[int],
        "holds": NotRequired[list[str]],
        "label": NotRequired[LabelFile],
    },
)
"""A labelled volume of a task: its class, or the label map it has and which classes are in it."""


class TaskSettings(TypedDict):
    """A downstream task, compiled."""

    kind: str
    domain: str
    classes: list[str]
    values: dict[str, list[int]]
    modes: list[str]
    folds: int | None
    seed: int
    recipe: TaskRecipe
    cases: list[Case]


class ProbeTask(TypedDict):
    """A task as a frozen probe sees it: what decides its loss beside the encoder."""

    kind: str
    domain: str
    classes: list[str]
    values: dict[str, list[int]]
    folds: int | None
    seed: int
    cases: list[Case]


class DownstreamSettings(TypedDict):
    """settings/downstream.json; a spec without tasks has `tasks` alone."""

    tasks: dict[str, TaskSettings]
    encoders: NotRequired[list[str]]
    budget: NotRequired[int | None]
    seeds: NotRequired[int]
    labels: NotRequired[list[float]]
    pretraining_seeds: NotRequired[int]


class EvaluateSettings(TypedDict):
    """settings/evaluate.json: the tasks whose losses are measured of every run, and the versions whose runs are kept."""

    tasks: dict[str, ProbeTask]
    reuse: list[str]


# Runs


class RunRow(TypedDict):
    """A run and its losses on each domain."""

    key: str
    kind: str
    budget: int
    seed: int
    amounts: dict[str, int]
    losses: ByName
    mean_losses: NotRequired[ByName]


class RunResult(TypedDict):
    """What the store keeps of a finished run: where and how long it was trained; what was measured of it is apart."""

    key: NotRequired[str]
    device: NotRequired[str]
    torch: NotRequired[str]
    seconds: NotRequired[ByName]
    crops_evaluated: NotRequired[int]
    resumed_at_step: NotRequired[int]
    curve: NotRequired[list[list[float]]]


class Score(TypedDict):
    """The record of one evaluation of a run.

    `mean_loss`: what predicting each crop's mean would have; a task's loss has none. The rest says how a task's loss came
    about.
    """

    loss: float
    mean_loss: NotRequired[float]
    classes: NotRequired[ByName]
    penalty: NotRequired[float]
    constant: NotRequired[float]
    seconds: NotRequired[float]
    device: NotRequired[str]


class KnownRun(RunRow):
    """A run of a study as it is shown: its row, and, where this store has trained it, its times."""

    seconds: NotRequired[ByName]
    resumed_at_step: NotRequired[int]
    crops_evaluated: NotRequired[int]


class HeldOutRow(RunRow):
    """A run of the verification: of which mixture, at which held-out budget, and whether of the grid."""

    mixture: str
    budget_asked: int
    grid: bool


class FailedRun(TypedDict):
    """A run that the table does without."""

    key: str
    run: str
    reason: str


class RunsTable(TypedDict):
    """runs.json; `evaluations`: the content address of each loss's evaluation, which tables of version 1 lack."""

    version: int
    domains: list[str]
    evaluations: NotRequired[dict[str, str]]
    runs: list[RunRow]
    failed: NotRequired[list[FailedRun]]


class Trained(TypedDict):
    """trained.json: the keys of the probe runs that are trained, and those the table does without."""

    version: int
    runs: list[str]
    failed: NotRequired[list[FailedRun]]


# Allocation


class Active(TypedDict):
    """A constraint that binds: at which share, why, and the price of a unit of share."""

    domain: str
    share: float
    why: str
    side: NotRequired[str]
    price: NotRequired[float]


class Proof(TypedDict):
    """What is recomputed of a solution apart from the solver."""

    gap: float
    kkt_residual: float
    convex: dict[str, bool]
    active: list[Active]
    shadow_prices: ByName


class Certificate(Proof):
    """What proves a solution, and what the solver said of it."""

    status: str
    solver: str


class Measure(TypedDict):
    """What an objective of measured losses takes."""

    minimize: str
    weights: ByName
    reference: ByName


class Compared(TypedDict):
    """A rival of a solution."""

    shares: ByName
    objective: float
    predicted: ByName
    feasible: bool
    breaks: NotRequired[list[str]]
    within_noise: list[str]
    noise_unknown: NotRequired[list[str]]


class Gain(TypedDict):
    """What bootstrap draws say of the gain over a rival."""

    apparent: float
    corrected: float
    interval: Ends
    probability: float


class Intervals(TypedDict):
    """What bootstrap draws say of a solution; empty without draws."""

    level: NotRequired[float]
    draws: NotRequired[int]
    shares: NotRequired[dict[str, Ends]]
    predicted: NotRequired[dict[str, Ends]]
    gains: NotRequired[dict[str, Gain]]


class Role(TypedDict):
    """A domain as hub, island or neither."""

    giving: float
    receiving: float | None
    kind: str | None
    says: str
    giving_interval: NotRequired[Ends]
    receiving_interval: NotRequired[Ends | None]


class Link(TypedDict):
    """The part of a loss's improvement that a domain's data bring."""

    part: float
    interval: Ends | None


class Structure(TypedDict):
    """Who helps whom."""

    domains: dict[str, Role]
    elasticity: dict[str, ByName]
    links: dict[str, dict[str, Link]]


class DroppedDomain(TypedDict):
    """A domain with next to nothing, and what keeping it would cost."""

    share: float
    cost: float | None


class Dropped(TypedDict):
    """The domains with next to nothing; empty where there are none."""

    domains: NotRequired[dict[str, DroppedDomain]]
    together: NotRequired[float | None]
    says: NotRequired[list[str]]


class Decision(TypedDict):
    """Which of the mixtures that cannot be told from the best was taken; see `mixlang.allocate.decide`.

    `worse`: by how much its expected objective is above the least, `error`: the standard error of that; `is_prior`:
    whether it is the prior mixture itself, `best`: the shares of the least, `moved`: the part of the budget that differs.
    """

    pull: float
    worse: float
    error: float
    is_prior: bool
    best: ByName
    moved: float


class Solution(TypedDict):
    """The optimal mixture of one budget."""

    budget: float
    shares: ByName
    amounts: ByName
    predicted: ByName
    objective: float
    status: str
    certificate: Certificate
    decision: NotRequired[Decision]


class Solved(Solution):
    """The same beside its rivals, with how sure it is."""

    baselines: dict[str, Compared]
    measure: NotRequired[Measure]
    binding: NotRequired[list[str]]
    intervals: NotRequired[Intervals]
    structure: NotRequired[Structure]
    dropped: NotRequired[Dropped]
    doubts: NotRequired[list[str]]
    grid: NotRequired[dict[str, ByName]]


class Step(TypedDict):
    """The allocation at one of several budgets, or the reason why there is none."""

    budget: float
    shares: NotRequired[ByName]
    predicted: NotRequired[ByName]
    objective: NotRequired[float]
    reason: NotRequired[str]


class Allocation(TypedDict):
    """allocation.json."""

    version: int
    domains: list[str]
    target: Solved
    holdout: dict[str, Solved]
    path: list[Step]
    costs: ByName
    weights: ByName


# Verification


class Change(TypedDict):
    """A relative change, paired by seed, with its 95 % interval: None with one seed."""

    mean: float
    low: float | None
    high: float | None
    seeds: int


class Equivalents(TypedDict):
    """How many times its samples a rival would need."""

    objective: float | None
    domains: dict[str, float | None]


class Improvement(TypedDict):
    """The changes from one rival to a solved mixture at one budget."""

    domains: dict[str, Change]
    overall: Change
    reducible: dict[str, Change | None]
    data: Equivalents


class Scores(TypedDict):
    """How well predictions agreed with what was measured."""

    pearson_r: float | None
    spearman: float | None
    mean_relative_error: float
    bias: float
    count: int
    coverage: dict[str, float]
    spread: NotRequired[float]
    noise: NotRequired[float | None]
    ceiling: NotRequired[float | None]


class DomainScores(Scores):
    """The same of one domain; `supported`: where its law says anything."""

    supported: Scores | None


class Point(TypedDict):
    """A prediction and what was measured."""

    mixture: str
    budget: int
    seed: int
    domain: str
    predicted: float
    low: float
    high: float
    measured: float
    supported: bool


class Agreement(TypedDict):
    """Predicted against measured losses."""

    pooled: Scores
    supported: Scores | None
    domains: dict[str, DomainScores]
    points: list[Point]


class Ranked(TypedDict):
    """A mixture and its measured objective."""

    mixture: str
    objective: float


class Regret(TypedDict):
    """A solved mixture against the best of many."""

    objectives: list[Ranked]
    rank: int
    best: str
    to_best: Change
    corrected: Change | None
    noise: float | None


class Finding(TypedDict):
    """What a verification means, in a sentence."""

    about: str
    finding: str
    says: str


Improvements = dict[str, dict[str, Improvement]]
"""By held-out budget and rival."""


class Verification(TypedDict):
    """verification.json; without held-out runs it has the first three keys alone."""

    version: int
    domains: list[str]
    evaluations: NotRequired[dict[str, str]]
    runs: list[HeldOutRow]
    agreement: NotRequired[Agreement]
    published: NotRequired[Improvements]
    improvements: NotRequired[Improvements]
    regret: NotRequired[dict[str, Regret]]
    verdict: NotRequired[list[Finding]]


# Downstream tasks


class Estimate(TypedDict):
    """A mean with its 95 % interval over test subjects; None where it cannot be told."""

    mean: float | None
    low: float | None
    high: float | None


class Result(TypedDict):
    """The scores of one encoder, mode and fraction of the labels."""

    encoder: str
    mode: str
    labels: float
    training_volumes: int
    seeds: list[float | None]
    auroc: NotRequired[Estimate]
    accuracy: NotRequired[Estimate]
    dice: NotRequired[Estimate]
    classes: NotRequired[dict[str, Any]]


class Difference(TypedDict):
    """One encoder against another."""

    encoder: str
    against: str
    mode: str
    labels: float
    mean: float | None
    low: float | None
    high: float | None


class TestSide(TypedDict):
    """The test volumes of a task."""

    volumes: int
    subjects: int
    seen_unlabelled: bool


class TaskResults(TypedDict):
    """A task with its results."""

    key: str
    kind: str
    domain: str
    classes: list[str]
    folds: int | None
    recipe: TaskRecipe
    test: TestSide
    results: list[Result]
    differences: list[Difference]
    sentences: list[str]


class Downstream(TypedDict):
    """downstream.json; a spec without tasks has no encoders."""

    version: int
    budget: NotRequired[int | None]
    seeds: NotRequired[int]
    encoders: NotRequired[list[str]]
    mixtures: NotRequired[list[str]]
    tasks: dict[str, TaskResults]
    sentences: list[str]


# Versions


class Verified(TypedDict):
    """What mixture.yaml says of the verification."""

    pearson_r: float | None
    mean_relative_error: float
    pairs: NotRequired[int]
    held_out: int
    published: NotRequired[dict[str, dict[str, Change]]]
    change: dict[str, dict[str, Change]]
    regret: dict[str, Any]
    findings: list[str]


class Published(TypedDict):
    """published.json: which version a study has become."""

    name: str
    version: int
    content: str


class GitState(TypedDict):
    """A commit, and whether anything had changed since; the commit is None outside git and before the first."""

    commit: str | None
    dirty: bool | None


class ScannedVolume(TypedDict):
    """A usable file of data.json."""

    path: str
    subject: str
    content: str
    shape: list[int]
    spacing: list[float]
    factor: NotRequired[float]
    offset: NotRequired[float]
    site: NotRequired[str]
    note: NotRequired[str]
    label: NotRequired[str]
    voxels: NotRequired[str]


class SetAside(TypedDict):
    """A file that cannot be used, and why."""

    path: str
    reason: str


class DomainFiles(TypedDict):
    """What the scan of a domain found."""

    volumes: list[ScannedVolume]
    quarantined: list[SetAside]


class DomainLook(TypedDict):
    """What the prepared volumes of a domain look like."""

    volumes: int
    padded: int
    shapes: dict[str, list[float]]
    histogram: dict[str, Any]
    thumbnails: list[dict[str, str]]


class Origin(TypedDict):
    """provenance.json of a version."""

    spec: dict[str, Any]
    resolved: NotRequired[Any]
    plan: dict[str, Any]
    git: GitState
    code: NotRequired[GitState]
    files: dict[str, str]
    dvc_lock: str | None
    data: dict[str, dict[str, Any]]
    environment: Environment
    hardware: dict[str, Any]
    reproduce: str


class Environment(TypedDict):
    """Versions of what computed a result."""

    mixlang: str
    python: str
    platform: str
    packages: dict[str, str | None]


class RunStatus(TypedDict):
    """How far a run is; what is not known is left out."""

    run: RunRow
    state: Literal["waiting", "running", "failed", "trained", "done"]
    progress: NotRequired[float]
    loss: NotRequired[float | None]
    samples_per_second: NotRequired[float | None]
    seconds_left: NotRequired[float | None]
    seconds: NotRequired[float | None]
    reason: NotRequired[str]


class StudyStatus(TypedDict):
    """How far a study is."""

    study: str
    planned: int
    done: int
    running: list[RunStatus]
    failed: list[RunStatus]
    runs: list[RunStatus]
    published: str | None


class Differing(TypedDict):
    """A leaf in which two documents differ."""

    what: str
    before: Any
    after: Any


class Moved(TypedDict):
    """The effect of one exchanged input on every share, or why there is none."""

    input: str
    effect: NotRequired[ByName]
    reason: NotRequired[str]


class ShareChange(TypedDict):
    """A share in two versions, and whether the new one is inside the interval of the old."""

    before: float | None
    after: float | None
    change: float | None
    interval: Ends | None
    inside: bool | None


class VersionDifference(TypedDict):
    """What changed between two versions."""

    before: str
    after: str
    same: bool
    shares: dict[str, ShareChange]
    losses: dict[str, dict[str, float | None]]
    inputs: dict[str, list[Differing]]
    laws_differ: str
    moved: list[Moved]
    remains: ByName | None


class NegativeTransfer(TypedDict):
    """A source that hurts a loss: its coefficient, which the fit holds at 0, and the coefficient's error."""

    source: str
    k: float
    error: float


class Skill(TypedDict):
    """What a law says of mixtures beyond their mean; see `mixlang.laws.stacking.skill`."""

    r2: float
    low: float
    high: float
    ceiling: float | None
    constant_error: float
    error: float


class Diagnosis(TypedDict):
    """How well the runs determine a law; see `mixlang.laws.diagnosis`."""

    rows: NotRequired[int]
    parameters: NotRequired[int]
    redundant: NotRequired[int]
    rank: NotRequired[int]
    condition: NotRequired[float | None]
    on_bounds: NotRequired[list[str]]
    negative_transfer: NotRequired[list[NegativeTransfer]]
    clamping_cost: NotRequired[ByName | None]


class EncoderOf(TypedDict):
    """Where an encoder comes from: a pretraining run, or a model initialised with a seed."""

    run: NotRequired[str]
    model: NotRequired[ModelSizes]
    seed: NotRequired[int]


FitCase = TypedDict("FitCase", {"volume": str, "class": NotRequired[int], "label": NotRequired[dict[str, str]]})
"""What a downstream fit sees of a case."""


class FitJob(TypedDict):
    """What decides a downstream fit: see `runners.downstream.train.fit`."""

    version: int
    kind: str
    mode: str
    classes: Any
    recipe: TaskRecipe
    crop: list[int]
    spacing: list[float]
    encoder: EncoderOf
    seed: int
    training: list[FitCase]
    test: list[FitCase]


class CaseScores(TypedDict):
    """The scores of a test case: Dice and HD95 by class, or the probability of each class."""

    dice: NotRequired[list[float | None]]
    hd95: NotRequired[list[float | None]]
    probability: NotRequired[list[float]]


class CheckpointConfig(TypedDict):
    """What a checkpoint says about itself."""

    size: dict[str, Any]
    study: str
    run: RunRow
    recipe: Recipe
    preprocessing: dict[str, Preprocessing]


FORMS: Mapping[str, Any] = {
    "trained.json": Trained,
    "runs.json": RunsTable,
    "allocation.json": Allocation,
    "verification.json": Verification,
    "downstream.json": Downstream,
    "published.json": Published,
    "volumes.json": dict[str, VolumeFacts],
    "settings/prepare.json": PrepareSettings,
    "settings/evaluate.json": EvaluateSettings,
    "settings/fit.json": FitSettings,
    "settings/allocate.json": AllocateSettings,
    "settings/verify.json": VerifySettings,
    "settings/downstream.json": DownstreamSettings,
    "settings/publish.json": PublishSettings,
}
"""The forms of the files of a build folder."""


def read(folder: Path, name: str) -> Any:
    """A document of a build folder, as its form says. Files without a form here are read as they are: plans, laws and data
    manifests have readers of their own.

    Raises:
        InputError: it is missing, damaged, or of another form; says where in it.
    """
    from pydantic import ValidationError

    path = folder / name
    value = read_json(path)
    if name not in FORMS:
        return value
    try:
        _adapter(name).validate_python(value)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = ".".join(map(str, first["loc"])) or "the whole"
        raise InputError(
            f"{path} is not of the form that this mixlang reads: {place}: {first['msg'].lower()}",
            "It is damaged, or another version of mixlang has written it. 'mixlang run' on its spec writes it again.",
        ) from error
    return value


@functools.cache
def _adapter(name: str) -> TypeAdapter[Any]:
    from pydantic import TypeAdapter

    return TypeAdapter(FORMS[name])
