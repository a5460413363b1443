"""The spec as data: every section, key and default of the language.

The words beside each key are the language's reference (docs/spec.md and the editor's hover are made from them); keep
them in a researcher's terms. `unit` and an example stand beside every key that has a value of its own.
"""

import re
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, WithJsonSchema, field_validator, model_validator

from mixlang.names import (
    BASELINES,
    OWN_ENCODERS,
    Baseline,
    DecideName,
    FamilyName,
    ObjectiveName,
    PublishedAt,
    TrackerName,
)
from mixlang.spec.quantities import Amount, Bytes, Fraction, WallTime

_NAME = r"^[A-Za-z][A-Za-z0-9_-]{0,62}$"

Name = Annotated[str, Field(pattern=_NAME)]
Share = Annotated[float, Field(ge=0, le=1)]
Weight = Annotated[float, Field(ge=0, le=1e6)]

LANGUAGE_VERSION = 1
"""What `mixlang:` says at the top of a spec this compiler reads."""


def _key(default: Any, doc: str, example: Any, unit: str = "", **limits: Any) -> Any:
    """A key of the language: default (`...` where it must be given), reference text, example, unit, limits."""
    extra = {"unit": unit} if unit else None
    return Field(default, description=doc, examples=[example], json_schema_extra=extra, **limits)


def _section() -> Any:
    """A section that may be left out: all its defaults then hold.

    An empty section is validated in place of a default instance, which would build every section's validator at import.
    """
    return Field(default_factory=dict, validate_default=True)


def _of_length_3(value: list[Any]) -> list[Any]:
    if len(value) != 3:
        raise ValueError(f"expected 3 numbers, one an axis, not {len(value)}")
    return value


def _three(item: dict[str, Any]) -> WithJsonSchema:
    return WithJsonSchema({"type": "array", "items": item, "minItems": 3, "maxItems": 3})


Spacing = Annotated[
    list[Annotated[float, Field(gt=0, le=100)]],
    AfterValidator(_of_length_3),
    _three({"type": "number", "exclusiveMinimum": 0, "maximum": 100}),
]
Size = Annotated[
    list[Annotated[int, Field(ge=4, le=1024)]],
    AfterValidator(_of_length_3),
    _three({"type": "integer", "minimum": 4, "maximum": 1024}),
]


class Section(BaseModel):
    """What all sections share: unknown keys and loose types are errors, and a parsed spec never changes."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, defer_build=True, allow_inf_nan=False)


class Split(Section):
    """How subjects are divided into training and validation."""

    by: Literal["subject"] = _key(
        "subject", "All volumes of one subject fall on the same side, in every domain.", "subject"
    )
    validation: float = _key(
        0.2, "Fraction of each domain's subjects kept for validation.", 0.2, "fraction", gt=0, lt=1
    )
    seed: int = _key(0, "Seed of the split, and of the fixed validation crops and masks.", 7, "seed", ge=0)
    hold_out: list[str] = _key(
        [],
        "Subjects that are validated on whatever the fraction, by name or pattern; those of a later validation set, for "
        "example. Others keep the side they have.",
        ["sub-9*"],
    )


class Data(Section):
    """What holds for the data of all domains."""

    split: Split = _section()
    validation_crops: int = _key(
        2, "Fixed crops evaluated in each validation volume, the same for every run.", 4, "crops a volume", ge=1, le=64
    )
    thumbnails: int = _key(
        3,
        "Volumes of each domain that the report shows as small slices; 0 where none may be published.",
        0,
        "volumes",
        ge=0,
        le=16,
    )
    max_quarantined: Share = _key(
        0.2, "Largest fraction of a domain's files that may be unusable before the work stops.", 0.1, "fraction"
    )


class Phantom(Section):
    """A generated domain: an anatomy model seen through the physics of the domain's modality."""

    count: int = _key(..., "Number of subjects, one volume each.", 360, "subjects", ge=2, le=100_000)
    shape: Size = _key([48, 48, 48], "Size along each axis.", [64, 64, 48], "voxels")
    spacing: Spacing = _key([1.0, 1.0, 1.0], "Size of a voxel along each axis.", [1.0, 1.0, 2.5], "mm")
    seed: int = _key(0, "Domains with equal seeds show the same subjects.", 1, "seed", ge=0)
    anatomy: Literal["trunk", "head", "texture", "patchwork"] = _key(
        "trunk",
        "What is seen; texture: no anatomy but a random field of the seed's own, which shares nothing with other seeds, "
        "for controls; patchwork: two such fields in regions of each volume's own, which are labels 1 and 2.",
        "head",
    )


_KINDS = ("nifti", "manifest", "nnunet", "monai_datalist", "bids", "dicom", "phantom")

_MEANT_FOR = {
    "where": ("manifest", "bids", "dicom"),
    "subject": ("nifti", "nnunet", "monai_datalist", "dicom"),
    "channel": ("nnunet", "monai_datalist"),
    "key": ("monai_datalist",),
    "suffix": ("bids",),
    "exclude": ("nifti", "manifest", "nnunet", "monai_datalist", "bids", "dicom"),
}
"""Kinds of source that an option of a source has a meaning for."""


class Source(Section):
    """Where a domain's volumes come from: one of `nifti`, `manifest`, `nnunet`, `monai_datalist`, `bids`, `dicom`, `phantom`."""

    nifti: str | None = _key(
        None,
        "Glob of NIfTI files (or .nrrd, .mha, .mhd, .mgz); `**` crosses folders. `${data_root}` comes from "
        "MIXLANG_DATA_ROOT or mixlang.local.yaml.",
        "${data_root}/mri/**/*.nii.gz",
    )
    manifest: str | None = _key(
        None,
        "CSV with a row a volume: columns path (relative to the CSV) and subject, and if you like label (a label map "
        "on the same grid) and unit.",
        "${data_root}/manifest.csv",
    )
    nnunet: str | None = _key(
        None,
        "nnU-Net raw data set (version 1 or 2): its folder, or the dataset.json in it.",
        "${data_root}/Dataset009_Spleen",
    )
    monai_datalist: str | None = _key(
        None,
        "JSON file of lists of {image, label, subject}, paths relative to it; label and subject optional.",
        "${data_root}/datalist.json",
    )
    bids: str | None = _key(None, "BIDS data set: the folder that holds its sub-* folders.", "${data_root}/ds000001")
    dicom: str | None = _key(
        None,
        "Folder of DICOM series, at any depth: those of the domain's modality, each a volume. The subject is the patient, "
        "named by folders. Needs pydicom (pip install 'mixlang[formats]').",
        "${data_root}/dicom",
    )
    phantom: Phantom | None = Field(None, description="Generated volumes, written as NIfTI.")
    where: dict[str, str] = _key(
        {},
        "Manifest: keep the rows whose columns have these values; BIDS: the files whose entities do, as {ses: '01'}; DICOM: "
        "the series whose tags do, which may be patterns, as {SeriesDescription: '*T1*'}.",
        {"modality": "CT"},
    )
    subject: str | None = _key(
        None,
        "nifti, nnunet, monai_datalist, dicom: a regular expression whose first group, found in a file's path, is the "
        "subject. Without it each file of a glob is a subject of its own.",
        r"(sub-\w+?)_",
    )
    channel: Annotated[int, Field(ge=0)] | str | None = _key(
        None, "Which channel of an nnU-Net or MONAI data set that has several: its name or its index.", "T1", "index"
    )
    key: str | None = _key(None, "Which list of a MONAI datalist; training if left out.", "training")
    suffix: list[str] | None = _key(
        None,
        "Suffixes of the BIDS files to use; left out, ct: ct, pet: pet, mri: T1w, T2w, T2starw, PDw, FLAIR.",
        ["T1w"],
        min_length=1,
    )
    exclude: list[str] = _key([], "File name patterns to leave out.", ["*_label.nii.gz"])

    @model_validator(mode="after")
    def _exactly_one(self) -> Self:
        given = [name for name in _KINDS if getattr(self, name) is not None]
        if len(given) != 1:
            found = " and ".join(given) if given else "none"
            raise ValueError(f"a source is exactly one of {', '.join(_KINDS)}; found {found}")
        for option, kinds in _MEANT_FOR.items():
            if getattr(self, option) not in (None, {}, []) and given[0] not in kinds:
                raise ValueError(f"'{option}' has no meaning for a {given[0]} source, only for {' or '.join(kinds)}")
        return self

    @property
    def kind(self) -> str:
        """Which of the kinds of source this is."""
        return next(name for name in _KINDS if getattr(self, name) is not None)

    @property
    def location(self) -> str:
        """The path or glob as the spec writes it; '' for a phantom, which lies nowhere."""
        return "" if self.phantom is not None else getattr(self, self.kind)


class Factor(Section):
    """Files whose stored values are converted (times `factor`, plus `offset`) before anything else."""

    files: str = _key(..., "File name pattern.", "sub-01_*_pet.nii.gz")
    factor: float = _key(1.0, "Multiplier of the stored values.", 2.429e-4, "the domain's unit per stored unit", gt=0)
    offset: float | None = _key(
        None, "Added after the factor; left out, that of the domain.", -1024, "the domain's unit"
    )

    @model_validator(mode="after")
    def _converts(self) -> Self:
        if not self.model_fields_set & {"factor", "offset"}:
            raise ValueError("a rule needs a 'factor', an 'offset', or both")
        return self


class Intensity(Section):
    """How stored values become network inputs; what is left out follows from the modality."""

    unit: Literal["hu", "suv", "arbitrary"] | None = _key(
        None, "Unit of the stored values; left out: hu for ct, suv for pet, arbitrary for mri.", "suv"
    )
    clip: list[float] | None = _key(
        None,
        "Lowest and highest value kept, for ct and pet; left out: [-1000, 1000] HU and [0, 20] SUV.",
        [-1000, 1000],
        "HU or SUV",
    )
    factors: list[Factor] = _key(
        [],
        "Conversions of files stored in another unit, such as PET in Bq/ml; of rules that fit a file the first counts.",
        [{"files": "*_bqml.nii.gz", "factor": 2.429e-4}],
    )
    offset: float = _key(
        0.0,
        "Added to the values of every file, after its factor: -1024 for CT stored with air at 0.",
        -1024,
        "HU or SUV",
    )

    @field_validator("clip")
    @classmethod
    def _ordered(cls, value: list[float] | None) -> list[float] | None:
        if value is not None and (len(value) != 2 or not value[0] < value[1]):
            raise ValueError("clip is [lowest, highest], in that order")
        return value


class Domain(Section):
    """One population of volumes: a modality, where it comes from, what a sample of it costs."""

    modality: Literal["ct", "mri", "pet"] = _key(..., "Decides how intensities are handled.", "ct")
    source: Source
    intensity: Intensity = _section()
    cost: float = _key(
        1.0,
        "Cost of one sample relative to the others, for example of acquiring or labelling it; budgets are then in cost.",
        1.4,
        "cost a sample",
        gt=0,
        le=1e6,
    )


class Volume(Section):
    """The grid the network sees."""

    spacing: Spacing = _key([1.5, 1.5, 1.5], "Size of a voxel after resampling, RAS order.", [1.5, 1.5, 1.5], "mm")
    crop: Size = _key(
        [96, 96, 96], "Size of a training crop; each axis divisible by the patch.", [96, 96, 96], "voxels"
    )


class Model(Section):
    """The masked autoencoder. `arch` names a preset; any size given beside it replaces the preset's."""

    arch: Literal["vit_micro", "vit_tiny", "vit_small", "vit_base"] = _key(
        "vit_small",
        "Preset of sizes: width x depth of encoder and decoder 96x4+48x1, 192x12+96x2, 384x12+192x4, 768x12+384x4.",
        "vit_base",
    )
    patch: int = _key(16, "Edge of a cubic patch.", 8, "voxels", ge=2, le=64)
    mask_ratio: float = _key(0.75, "Fraction of patches hidden from the encoder.", 0.75, "fraction", ge=0.1, le=0.95)
    width: int | None = _key(None, "Encoder width; the preset's if left out.", 384, "channels", ge=12, le=4096)
    depth: int | None = _key(None, "Encoder layers; the preset's if left out.", 12, "layers", ge=1, le=64)
    heads: int | None = _key(None, "Attention heads of the encoder; they divide its width.", 6, "heads", ge=1, le=64)
    decoder_width: int | None = _key(None, "Decoder width.", 192, "channels", ge=12, le=4096)
    decoder_depth: int | None = _key(None, "Decoder layers.", 4, "layers", ge=1, le=32)
    decoder_heads: int | None = _key(
        None, "Attention heads of the decoder; they divide its width.", 3, "heads", ge=1, le=64
    )


class Train(Section):
    """One recipe for every run, whatever its budget."""

    batch_size: int = _key(
        64, "Crops an optimizer step, over all processes; budgets are whole batches.", 64, "crops", ge=1, le=65_536
    )
    learning_rate: float = _key(
        3e-4, "Peak learning rate of AdamW, the same for every budget.", 3e-4, "1/step", gt=0, le=1
    )
    weight_decay: float = _key(0.05, "Weight decay of matrices.", 0.05, "1/step", ge=0, le=1)
    betas: list[Annotated[float, Field(ge=0, lt=1)]] = _key(
        [0.9, 0.95], "Decay rates of AdamW's moments.", [0.9, 0.95], "fraction", min_length=2, max_length=2
    )
    clip_norm: float = _key(1.0, "Largest gradient norm; larger ones are scaled down.", 1.0, "gradient norm", gt=0)
    warmup_steps: int = _key(50, "Steps of linear warmup; at most half of the smallest run.", 50, "steps", ge=0)
    schedule: Literal["wsd", "cosine"] = _key(
        "wsd",
        "Learning rate after the warmup. wsd: constant, then linear decay to zero; cosine: half a cosine.",
        "wsd",
    )
    decay_fraction: float = _key(
        0.2, "wsd only: last part of a run, decaying linearly to zero.", 0.2, "fraction of the run", ge=0, le=1
    )
    flips: bool = _key(True, "Random flips along each axis.", False)
    precision: Literal["fp32", "bf16", "fp16"] = _key("fp32", "Mixed precision of the training step.", "bf16")
    threads: int = _key(1, "CPU threads a process; part of a run's identity.", 1, "threads", ge=1, le=256)
    sampling: Literal["volume", "subject"] = _key(
        "volume",
        "What is drawn equally often within a domain. volume: each volume, so that a subject counts by its volumes; subject: "
        "each subject, whose volumes share its part.",
        "subject",
    )
    repetition: Literal["free", "match"] = _key(
        "free",
        "match: a run of budget N sees N / target of each domain's volumes, so that scarce domains repeat in the probe "
        "runs as they will at the target.",
        "match",
    )


class Budgets(Section):
    """How much training, in samples (crops seen), over all domains."""

    unit: Literal["samples"] = _key("samples", "What budgets count.", "samples")
    probe: list[Amount] = _key(
        ...,
        "Budgets the laws are fitted on: at least 4, each about 1.4 to 2 times the one before.",
        [16384, 24576, 32768, 49152],
        "samples",
        min_length=1,
        max_length=64,
    )
    holdout: list[Amount] = _key(
        [],
        "Budgets never fitted, at which the mixture is verified against its baselines.",
        [65536],
        "samples",
        max_length=16,
    )
    target: Amount = _key(..., "The budget the published mixture is for.", "200k", "samples")
    seeds: int = _key(
        2,
        "Runs of every probe point, with seeds 0, 1, ...; 2 or more tell the noise. Of a design of kind optimal, seeds of the "
        "tenth of the samples that repeats runs.",
        2,
        "runs",
        ge=1,
        le=100,
    )


class Mixtures(Section):
    """Mixed probe runs: the same mixtures at each of their budgets."""

    count: int = _key(12, "Number of mixtures; raising it keeps the earlier ones.", 24, "mixtures", ge=0, le=10_000)
    kind: Literal["sobol_simplex"] = _key(
        "sobol_simplex", "How they are chosen: spread evenly over all shares.", "sobol_simplex"
    )
    budgets: list[Amount] | None = _key(
        None, "Budgets they run at; all probe budgets if left out.", [16384, 32768], "samples"
    )


def _version(value: str) -> str:
    if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_-]{0,62}@v[1-9][0-9]*", value):
        raise ValueError(f"'{value[:80]}' is no version with its number, such as study@v1")
    return value


class Design(Section):
    """Which probe runs are trained."""

    kind: Literal["sobol", "optimal"] = _key(
        "sobol",
        "sobol: single domains and evenly spread mixtures, each at each of its budgets; optimal: those of many candidates "
        "after which predictions vary least for the samples they cost (docs/design.md).",
        "optimal",
    )
    samples: Amount | None = _key(
        None, "optimal: samples trained in all; the beginning that runs share counts once.", "400k", "samples"
    )
    single_domain: bool = _key(True, "Each domain alone at each probe budget; optimal: where it tells enough.", False)
    reuse: list[Annotated[str, AfterValidator(_version)]] = _key(
        [],
        "Published versions of this registry whose probe runs are kept, by name and number: of the same recipe, they are "
        "measured on what is new, and only runs that hold a new domain, or have a new budget, are trained.",
        ["ct-mri-pet@v1"],
        max_length=16,
    )
    mixtures: Mixtures = _section()


class Law(Section):
    """Which scaling law is fitted (docs/laws.md)."""

    family: FamilyName = _key(
        "stacked",
        "stacked: several families for each loss, weighed by what they predict of runs left out; auto: the one with the "
        "smallest cross-validated error; or the name of one.",
        "transfer",
    )
    choose: Literal["each", "all"] = _key(
        "each", "With auto: a family for each evaluated domain, or the best one for all of them.", "all"
    )
    draws: int = _key(100, "Bootstrap draws, from which all intervals come.", 200, "draws", ge=0, le=1000)


class Objective(Section):
    """What the allocation minimises, over losses relative to a reference."""

    minimize: ObjectiveName = _key(
        "weighted_loss",
        "Of the relative losses: weighted mean, weighted geometric mean, the largest, or (robust) the mean of the "
        "weighted loss over the worst part of the bootstrap draws of the laws.",
        "worst_case",
    )
    decide: DecideName = _key(
        "expected",
        "expected: the objective is its mean over draws of the laws, and of the mixtures within one standard error of the "
        "best the one nearest to the prior mixture is taken; best_guess: the optimum of the fitted laws. Of worst_case and "
        "robust there is only the optimum.",
        "best_guess",
    )
    tail: float = _key(0.2, "robust only: the fraction of draws that is the worst part.", 0.2, "fraction", gt=0, le=1)
    weights: dict[str, Weight | dict[Name, Weight]] = _key(
        {},
        "Weight of each domain's loss, 1 where left out; or {domains: ..., tasks: ...}: weights of domains (by name, or one "
        "number for all) and of the losses of tasks (0 where left out).",
        {"domains": 0, "tasks": {"organs": 1}},
        "weight",
    )
    relative_to: Literal["proportional", "specialist"] = _key(
        "proportional",
        "Each loss is divided by its prediction under this reference at the same budget: proportional sampling, or all "
        "of the budget on that domain.",
        "specialist",
    )

    @field_validator("weights")
    @classmethod
    def _of_one_form(cls, value: dict[str, Any]) -> dict[str, Any]:
        if not any(isinstance(item, dict) for item in value.values()):
            return value
        other = next((key for key in value if key not in ("domains", "tasks")), None)
        if other is not None:
            raise ValueError(f"'{other}' stands beside weights by group, and the groups are 'domains' and 'tasks'")
        if "tasks" in value and not isinstance(value["tasks"], dict):
            raise ValueError("the weights of tasks are by name, as {organs: 1}")
        if "domains" not in value:
            raise ValueError("say what the domains weigh too: domains: 0 where tasks alone count, or weights by name")
        return value

    @property
    def by_group(self) -> bool:
        """Whether weights are given as {domains, tasks}."""
        return any(isinstance(item, dict) for item in self.weights.values())

    @property
    def of_domains(self) -> dict[str, float] | float:
        """The weights of domains by name, 1 where left out; or one for all."""
        return self.weights["domains"] if self.by_group else self.weights  # type: ignore[return-value]

    @property
    def of_tasks(self) -> dict[str, float]:
        """The weights of the tasks that are named."""
        return self.weights.get("tasks", {}) if self.by_group else {}  # type: ignore[return-value]

    def weight(self, domain: str) -> float:
        """The weight of a domain's loss."""
        given = self.of_domains
        return given.get(domain, 1.0) if isinstance(given, dict) else given


class ShareBounds(Section):
    """Bounds on one domain's share of the budget."""

    min: Share = _key(0.0, "Smallest share.", 0.05, "fraction of the budget")
    max: Share = _key(1.0, "Largest share.", 0.5, "fraction of the budget")

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.min > self.max:
            raise ValueError(f"min {self.min:g} is above max {self.max:g}")
        return self


class GroupBounds(ShareBounds):
    """Bounds on the sum of the shares of some domains."""

    domains: list[Name] = _key(..., "The domains of the group.", ["mri", "pet"], min_length=1, max_length=64)


class Prior(Section):
    """A pull towards proportional sampling."""

    kl: float = _key(
        0.0, "Weight of KL(mixture || proportional) in the objective.", 0.1, "objective per nat", ge=0, le=1e6
    )


class Constraints(Section):
    """What a mixture must respect."""

    repetition: Annotated[float, Field(gt=0)] | Literal["unlimited"] = _key(
        32.0,
        "Largest number of times the target may show each distinct crop of a domain, or unlimited.",
        8,
        "times",
    )
    floor: Share = _key(
        0.0,
        "Smallest share of every domain, so that none is left with next to nothing.",
        0.01,
        "fraction of the budget",
    )
    worse: Fraction | None = _key(
        None,
        "No domain's expected loss may be above that of the prior mixture (proportional sampling) at the same budget by more "
        "than this part; no limit where left out.",
        "2%",
        "fraction of the loss",
    )
    share: dict[str, ShareBounds] = _key({}, "Bounds on shares, by domain.", {"pet": {"min": 0.05}})
    group: dict[Name, GroupBounds] = _key(
        {},
        "Bounds on the summed share of a group of domains.",
        {"rare": {"domains": ["mri", "pet"], "min": 0.3}},
    )
    prior: Prior = _section()


class Grid(Section):
    """Mixtures all over the simplex and near the allocated one, trained to measure its regret."""

    count: int = _key(0, "Mixtures, at the smallest holdout budget.", 16, "mixtures", ge=0, le=1000)
    seeds: int = _key(2, "Runs of each; at most verify.seeds.", 2, "runs", ge=1, le=100)


_MOST_MIXTURES = 32
"""Mixtures of one's own that a study may compare with."""


class Verify(Section):
    """What the allocated mixture is measured against at the holdout budgets."""

    baselines: list[Baseline] = _key(
        ["proportional", "uniform"],
        "Mixtures trained beside the allocated one: by what there is, equal shares, equal shares up to the "
        "repetition cap (UniMax), or the one domain that alone is predicted to be best.",
        list(BASELINES),
        min_length=1,
    )
    mixtures: dict[Name, dict[str, Share]] = _key(
        {},
        "Mixtures of your own to train beside them, shares by domain; a domain left out has none.",
        {"habit": {"ct": 0.7, "mri": 0.2, "pet": 0.1}},
        "fraction of the budget",
        max_length=_MOST_MIXTURES,
    )
    published: PublishedAt = _key(
        "largest",
        "Holdout budgets at which the published shares are trained, those solved for the target: the largest one, all, or "
        "none. At every holdout budget the mixture solved for that very budget is trained too.",
        "all",
    )
    grid: Grid = _section()
    seeds: int = _key(
        2,
        "Runs of each mixture at each holdout budget; 3 or more give an interval worth having.",
        3,
        "runs",
        ge=1,
        le=100,
    )


Label = Annotated[int, Field(ge=1, le=32_767)]


class Task(Section):
    """One task: what is predicted of which domain's volumes, from which labels."""

    kind: Literal["classification", "segmentation"] = _key(
        ..., "What is predicted: a class of each volume, or a class of each voxel.", "segmentation"
    )
    domain: Name = _key(..., "The domain whose volumes and labels are used.", "ct")
    classes: dict[Name, Label | Annotated[list[Label], Field(min_length=1)]] = _key(
        {},
        "segmentation: the classes by name, each the label or labels of the label map that it is; others are background.",
        {"liver": 2, "kidneys": [4, 5]},
        "label",
    )
    present: list[Label] = _key(
        [], "classification: a volume is positive where its label map holds any of these labels.", [8], "label"
    )
    larger_than: float = _key(
        0.0, "With 'present': the volume that those labels together must exceed for a positive.", 0.5, "ml", ge=0
    )
    column: str | None = _key(
        None,
        "classification: the column of the manifest that names each volume's class; rows where it is empty are not used.",
        "grade",
    )
    label_map: str | None = _key(
        None,
        "Where a volume's label map lies, for sources that name none: a path relative to the volume's folder, in which "
        "{stem} is the volume's file name up to its first dot.",
        "{stem}_label.nii.gz",
    )
    files: list[str] = _key(
        [],
        "File name patterns of the volumes used; left out, all of the domain that have labels.",
        ["sts*_fdg.nii.gz"],
    )
    modes: list[Literal["probe", "finetune"]] = _key(
        ["probe", "finetune"],
        "How it is measured at the end. probe: the encoder stays as it was pretrained and only the head is trained; finetune: "
        "both are trained; an empty list, []: it is a part of the objective alone.",
        ["finetune"],
        max_length=2,
    )
    folds: int | None = _key(
        None,
        "Subject-level cross-validation over all subjects with so many folds, for small sets; the encoder then has seen "
        "images of test subjects, unlabelled. Left out: trained on the training subjects, tested on the validation "
        "subjects, of whom pretraining has seen nothing.",
        4,
        "folds",
        ge=2,
        le=20,
    )
    steps: int = _key(200, "Optimizer steps of every fit.", 300, "steps", ge=1, le=1_000_000)
    batch_size: int = _key(
        4, "Crops (segmentation) or volumes (classification) a step.", 4, "crops or volumes", ge=1, le=1024
    )
    learning_rate: float = _key(
        3e-3, "Peak learning rate of AdamW, head and encoder alike; half a cosine after a short warmup.", 3e-3, "1/step",
        gt=0, le=1,
    )  # fmt: skip

    @model_validator(mode="after")
    def _labels_of_its_kind(self) -> Self:
        if self.kind == "segmentation":
            if not self.classes:
                raise ValueError("a segmentation task needs 'classes', such as {liver: 2}")
            meant = [name for name in ("present", "larger_than", "column") if getattr(self, name)]
            if meant:
                raise ValueError(f"'{meant[0]}' has no meaning for a segmentation task, only for a classification task")
        else:
            if self.classes:
                raise ValueError("'classes' has no meaning for a classification task, only for a segmentation task")
            if bool(self.present) == bool(self.column):
                raise ValueError("a classification task needs one of 'present' and 'column'")
            if self.larger_than and not self.present:
                raise ValueError("'larger_than' has a meaning only beside 'present'")
            if self.column and self.label_map:
                raise ValueError("'label_map' has no meaning for a task whose classes come from a column")
        return self

    @property
    def values(self) -> dict[str, list[int]]:
        """The labels each class of a segmentation task stands for."""
        return {name: [value] if isinstance(value, int) else list(value) for name, value in self.classes.items()}


Encoder = Annotated[
    Name, WithJsonSchema({"anyOf": [{"enum": list(OWN_ENCODERS)}, {"type": "string", "pattern": _NAME}]})
]
"""One of the names a study has anyway, or of its own mixtures."""


class Downstream(Section):
    """What the pretrained encoders are worth to tasks with labels; nothing is trained where no task is declared."""

    encoders: list[Encoder] | None = _key(
        None,
        "Encoders compared: of the published shares, of the mixture solved for the very budget (allocated), of baselines in "
        "verify.baselines or mixtures in verify.mixtures, and scratch (not pretrained). Left out: of the published shares "
        "where verify.published trains them at the budget, else the allocated one; every baseline; and scratch.",
        ["published", "proportional", "scratch"],
        min_length=1,
        max_length=len(OWN_ENCODERS) + _MOST_MIXTURES,
    )
    budget: Amount | None = _key(
        None,
        "The holdout budget whose verification runs give the encoders; the largest if left out.",
        65536,
        "samples",
    )
    seeds: int = _key(
        3,
        "Fits of each encoder. Seed s begins at the pretraining run with seed s, or s modulo verify.seeds; head, labelled "
        "subset and order of samples are the same for all encoders.",
        3,
        "fits",
        ge=1,
        le=100,
    )
    labels: list[Annotated[float, Field(gt=0, le=1)]] = _key(
        [1.0],
        "Parts of the labelled training subjects that are used, for a curve of label efficiency.",
        [0.1, 0.3, 1.0],
        "fraction",
        min_length=1,
        max_length=8,
    )


def _one_word(value: str) -> str:
    if not re.fullmatch(r"[^\s'\"`$\\]{1,200}", value):
        raise ValueError(f"'{value[:40]}' is not one word, as Slurm takes it")
    return value


_Word = Annotated[str, AfterValidator(_one_word)]


class Slurm(Section):
    """What each job asks Slurm for, in Slurm's own words; only with `executor: slurm`."""

    partition: _Word | None = _key(None, "Partition; the cluster's default if left out.", "gpu")
    account: _Word | None = _key(None, "Account that is charged.", "imaging")
    qos: _Word | None = _key(None, "Quality of service.", "normal")
    gres: _Word | None = _key(None, "Generic resources of each node of a job, such as its GPUs.", "gpu:a100:1")
    constraint: _Word | None = _key(None, "Features a node must have.", "a100")
    time: WallTime = _key(
        "4:00:00",
        "Time limit of a job, in Slurm's form; a run that takes longer leaves a checkpoint, and its job is requeued.",
        "1-00:00:00",
        "[D-]HH:MM:SS",
        validate_default=True,
    )
    cpus: Annotated[int, Field(ge=1, le=1024)] | Literal["auto"] = _key(
        "auto", "Cores of each node of a job; auto: those one run uses there.", 8, "cores"
    )
    memory: _Word | None = _key(None, "Memory of each node of a job, in Slurm's form.", "64G")
    nodes: int = _key(
        1, "Nodes one run spreads over; `processes_per_run` are divided among them.", 2, "nodes", ge=1, le=1024
    )
    jobs: int = _key(64, "Most jobs at once.", 16, "jobs", ge=1, le=10_000)
    runs_per_job: Annotated[int, Field(ge=1, le=10_000)] | Literal["auto"] = _key(
        "auto",
        "Runs of a job; auto: one ladder, or about 20 minutes of them where more jobs than may run at once would be "
        "needed and the store has timed a run of the study.",
        4,
        "runs",
    )
    warning: int = _key(
        120, "Time before its limit at which a job is told to leave checkpoints.", 300, "seconds", ge=10, le=3600
    )
    setup: list[str] = _key([], "Shell lines a job begins with.", ["module load cuda"], "shell lines")


class Launch(Section):
    """How runs are started. Never part of a run's identity: moving to another machine re-runs nothing.

    What the spec leaves out is taken from the `launch` section of mixlang.local.yaml, where there is one.
    """

    executor: Literal["local", "slurm"] = _key(
        "local", "Where runs are executed: on this machine, or as jobs of a Slurm cluster.", "slurm"
    )
    retries: int = _key(
        2,
        "Further attempts at a run that its machine ended (out of memory, a lost node, a full disk) before it got any "
        "further; a run that fails by itself is not tried again.",
        0,
        "attempts",
        ge=0,
        le=100,
    )
    max_failed: int = _key(
        0, "Probe runs that may fail; the laws are then fitted without them, if they can be.", 3, "runs", ge=0
    )
    start: Literal["auto", "fork", "accelerate"] = _key(
        "auto",
        "fork: from a warm process; accelerate: `accelerate launch`; auto: fork for small CPU runs.",
        "accelerate",
    )
    processes_per_run: int = _key(
        1, "Processes of one run, through Accelerate; they divide the batch.", 4, "processes", ge=1, le=1024
    )
    accumulate: int = _key(
        1,
        "Parts a process's batch is computed in, one after the other: less memory, the same result up to the order of "
        "sums.",
        4,
        "parts",
        ge=1,
        le=65_536,
    )
    ladder: Literal["branches", "independent"] = _key(
        "branches",
        "branches: of runs that differ in budget alone (train.schedule wsd), the longest trains the common beginning "
        "for all; independent: each trains all of it. The results are the same to the last bit.",
        "independent",
    )
    tracker: TrackerName = _key(
        "auto",
        "Where runs log: auto (TensorBoard where installed, below the run's folder), none, or a tracker of Accelerate, whose "
        "package must be installed.",
        "wandb",
    )
    max_parallel: Annotated[int, Field(ge=1)] | Literal["auto"] = _key(
        "auto", "Runs at once on one machine; auto: as many as cores or devices.", 2, "runs"
    )
    slurm: Slurm = _section()


class Limits(Section):
    """What a study may cost; `mixlang run` refuses to start what would exceed it. Never part of a run's identity."""

    max_device_hours: float | None = _key(
        None,
        "Most device-hours of training that may be left to do, as `mixlang plan` estimates them on this machine.",
        48,
        "device-hours",
        gt=0,
    )
    max_disk: Bytes | None = _key(
        None, "Most that prepared volumes and weights may take in the store.", "500 GB", "bytes"
    )


class Publish(Section):
    """How the mixture is published."""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        strict=True,
        defer_build=True,
        allow_inf_nan=False,
        validate_by_name=True,
        validate_by_alias=True,
    )

    as_: Name | None = Field(
        None,
        alias="as",
        description="Name in the registry; the study's name if left out.",
        examples=["ct-mri-pet"],
    )


class Spec(Section):
    """A whole spec, version 1 of the language."""

    mixlang: Literal[1] = _key(..., "Version of the language.", 1, "version")
    name: Name = _key(..., "Name of the study.", "ct-mri-pet")
    description: str = _key("", "What the study is about, for readers of the registry.", "Abdomen and brain, 3 sites.")
    data: Data = _section()
    domains: dict[Name, Domain] = _key(
        ...,
        "The populations to mix, by name; at least 2.",
        {"ct": {"modality": "ct", "source": {"nifti": "${data_root}/ct/*.nii.gz"}}},
        min_length=2,
        max_length=64,
    )
    volume: Volume = _section()
    model: Model = _section()
    train: Train = _section()
    budgets: Budgets
    design: Design = _section()
    law: Law = _section()
    objective: Objective = _section()
    constraints: Constraints = _section()
    verify: Verify = _section()
    tasks: dict[Name, Task] = _key(
        {},
        "Tasks with labels, by name. Those that objective.weights names are measured of every probe run, by a frozen probe; "
        "all are measured at the end of the encoders of the verification (downstream), in the modes they name.",
        {"organs": {"kind": "segmentation", "domain": "ct", "classes": {"liver": 2, "spleen": 3}}},
        max_length=32,
    )
    downstream: Downstream = _section()
    launch: Launch = _section()
    limits: Limits = _section()
    publish: Publish = _section()

    @property
    def registry_name(self) -> str:
        """The name the mixture is published under."""
        return self.publish.as_ or self.name
