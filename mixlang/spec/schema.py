"""The spec as data: every section, field and default of the language.

Field docs are the language's reference; keep them in a researcher's words, with units.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, field_validator, model_validator

from mixlang.spec.quantities import Amount

_NAME = r"^[A-Za-z][A-Za-z0-9_-]{0,62}$"

Name = Annotated[str, Field(pattern=_NAME)]
Share = Annotated[float, Field(ge=0, le=1)]


def _of_length_3(value: list[Any]) -> list[Any]:
    if len(value) != 3:
        raise ValueError(f"expected 3 numbers, one an axis, not {len(value)}")
    return value


Spacing = Annotated[list[Annotated[float, Field(gt=0, le=100)]], AfterValidator(_of_length_3)]
Size = Annotated[list[Annotated[int, Field(ge=4, le=1024)]], AfterValidator(_of_length_3)]


class Section(BaseModel):
    """What all sections share: unknown keys and loose types are errors, and a parsed spec never changes."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Split(Section):
    """How subjects are divided into training and validation."""

    by: Literal["subject"] = Field("subject", description="All volumes of one subject fall on the same side.")
    validation: float = Field(0.2, gt=0, lt=1, description="Fraction of each domain's subjects kept for validation.")
    seed: int = Field(0, ge=0, description="Seed of the split.")


class Data(Section):
    """What holds for the data of all domains."""

    split: Split = Split()
    validation_crops: int = Field(
        2, ge=1, le=64, description="Fixed crops evaluated in each validation volume, the same for every run."
    )
    max_quarantined: Share = Field(
        0.2, description="Largest fraction of a domain's files that may be unusable before the work stops."
    )


class Phantom(Section):
    """A generated domain: one anatomy model seen through the physics of the domain's modality."""

    count: int = Field(ge=2, le=100_000, description="Number of subjects, one volume each.")
    shape: Size = Field([48, 48, 48], description="Voxels along each axis.")
    spacing: Spacing = Field([1.0, 1.0, 1.0], description="Millimetres along each axis.")
    seed: int = Field(0, ge=0, description="Domains with equal seeds show the same subjects.")


class Source(Section):
    """Where a domain's volumes come from: exactly one of `nifti`, `manifest`, `phantom`."""

    nifti: str | None = Field(None, description="Glob of NIfTI files, for example ${data_root}/mri/**/*.nii.gz.")
    manifest: str | None = Field(
        None,
        description="CSV with a row a volume: path (relative to the CSV), subject, and optionally label.",
    )
    phantom: Phantom | None = Field(None, description="Generated volumes, written as NIfTI.")
    where: dict[str, str] = Field({}, description="Manifest only: keep rows whose columns have these values.")
    subject: str | None = Field(
        None,
        description="NIfTI glob only: a regular expression whose first group, found in the path, is the subject.",
    )
    exclude: list[str] = Field([], description="File name patterns to leave out, for example '*_label.nii.gz'.")

    @model_validator(mode="after")
    def _exactly_one(self) -> Source:
        given = [name for name in ("nifti", "manifest", "phantom") if getattr(self, name) is not None]
        if len(given) != 1:
            found = " and ".join(given) if given else "none"
            raise ValueError(f"a source is exactly one of nifti, manifest, phantom; found {found}")
        if self.where and self.manifest is None:
            raise ValueError("'where' filters the rows of a manifest; this source has none")
        if self.subject is not None and self.nifti is None:
            raise ValueError("'subject' reads the subject from a NIfTI path; this source is not a nifti glob")
        return self


class Factor(Section):
    """Files whose stored values are multiplied by a factor before anything else."""

    files: str = Field(description="File name pattern, for example 'sub-01_*_pet.nii.gz'.")
    factor: float = Field(gt=0, description="Multiplier, for example SUV per Bq/ml.")


class Intensity(Section):
    """How stored values become network inputs; what is left out follows from the modality."""

    unit: Literal["hu", "suv", "arbitrary"] | None = Field(
        None, description="Unit of the stored values; ct: hu, pet: suv, mri: arbitrary."
    )
    clip: list[float] | None = Field(None, description="Lowest and highest value kept, in the unit; ct and pet.")
    factors: list[Factor] = Field([], description="Conversions for files stored in another unit, such as Bq/ml.")

    @field_validator("clip")
    @classmethod
    def _ordered(cls, value: list[float] | None) -> list[float] | None:
        if value is not None and (len(value) != 2 or not value[0] < value[1]):
            raise ValueError("clip is [lowest, highest], in that order")
        return value


class Domain(Section):
    """One population of volumes: a modality, where it comes from, what a sample of it costs."""

    modality: Literal["ct", "mri", "pet"] = Field(description="Decides the intensity preset.")
    source: Source
    intensity: Intensity = Intensity()
    cost: float = Field(1.0, gt=0, le=1e6, description="Cost of one sample, against 1 for the others.")


class Volume(Section):
    """The grid the network sees."""

    spacing: Spacing = Field([1.5, 1.5, 1.5], description="Millimetres a voxel after resampling.")
    crop: Size = Field([96, 96, 96], description="Voxels of a training crop; each axis divisible by the patch.")


class Model(Section):
    """The masked autoencoder. `arch` names a preset; any size given beside it replaces the preset's."""

    arch: Literal["vit_micro", "vit_tiny", "vit_small", "vit_base"] = Field("vit_small", description="Preset.")
    patch: int = Field(16, ge=2, le=64, description="Edge of a cubic patch in voxels.")
    mask_ratio: float = Field(0.75, ge=0.1, le=0.95, description="Fraction of patches hidden from the encoder.")
    width: int | None = Field(None, ge=12, le=4096, description="Encoder width.")
    depth: int | None = Field(None, ge=1, le=64, description="Encoder layers.")
    heads: int | None = Field(None, ge=1, le=64, description="Attention heads of the encoder.")
    decoder_width: int | None = Field(None, ge=12, le=4096, description="Decoder width.")
    decoder_depth: int | None = Field(None, ge=1, le=32, description="Decoder layers.")
    decoder_heads: int | None = Field(None, ge=1, le=64, description="Attention heads of the decoder.")


class Train(Section):
    """One recipe for every run, whatever its budget."""

    batch_size: int = Field(64, ge=1, le=65_536, description="Crops an optimizer step, over all processes.")
    learning_rate: float = Field(3e-4, gt=0, le=1, description="Peak learning rate of AdamW.")
    weight_decay: float = Field(0.05, ge=0, le=1)
    betas: list[Annotated[float, Field(ge=0, lt=1)]] = Field([0.9, 0.95], min_length=2, max_length=2)
    clip_norm: float = Field(1.0, gt=0, description="Largest gradient norm.")
    warmup_steps: int = Field(50, ge=0, description="Steps of linear warmup.")
    schedule: Literal["wsd", "cosine"] = Field(
        "wsd",
        description="Learning rate after the warmup. wsd: constant, then linear decay to zero; cosine: half a cosine.",
    )
    decay_fraction: float = Field(
        0.2, ge=0, le=1, description="wsd only: last part of a run, decaying linearly to zero."
    )
    flips: bool = Field(True, description="Random flips along each axis.")
    precision: Literal["fp32", "bf16", "fp16"] = Field("fp32", description="Mixed precision of the training step.")
    threads: int = Field(1, ge=1, le=256, description="CPU threads a process; part of a run's identity.")
    repetition: Literal["free", "match"] = Field(
        "free",
        description="match: a run of budget N sees N / target of each domain's volumes, so that scarce domains "
        "repeat in the probe runs as they will at the target.",
    )


class Budgets(Section):
    """How much training, in samples (crops seen)."""

    unit: Literal["samples"] = "samples"
    probe: list[Amount] = Field(min_length=1, max_length=64, description="Budgets the laws are fitted on.")
    holdout: list[Amount] = Field([], max_length=16, description="Budgets never fitted, used to verify.")
    target: Amount = Field(description="The budget the published mixture is for.")
    seeds: int = Field(2, ge=1, le=100, description="Runs of every probe point, with seeds 0, 1, ...")


class Mixtures(Section):
    """Mixed probe runs: the same mixtures at each of their budgets."""

    count: int = Field(12, ge=0, le=10_000, description="Number of mixtures; raising it keeps the earlier ones.")
    kind: Literal["sobol_simplex"] = Field("sobol_simplex", description="Evenly spread over all shares.")
    budgets: list[Amount] | None = Field(None, description="Budgets they run at; all probe budgets if left out.")


class Design(Section):
    """Which probe runs are trained."""

    single_domain: bool = Field(True, description="Each domain alone at each probe budget.")
    mixtures: Mixtures = Mixtures()


class Law(Section):
    """Which scaling law is fitted."""

    family: Literal[
        "auto",
        "power",
        "transfer",
        "transfer_nofloor",
        "transfer_common",
        "transfer_saturating",
        "transfer_shared",
        "transfer_tilted",
        "additive",
        "exponential",
    ] = Field("auto", description="auto: the family with the smallest cross-validated error.")
    choose: Literal["each", "all"] = Field(
        "each", description="With auto: a family for each evaluated domain, or the best one for all of them."
    )
    draws: int = Field(100, ge=0, le=1000, description="Bootstrap draws, from which all intervals come.")


class Objective(Section):
    """What the allocation minimises, over losses relative to a reference."""

    minimize: Literal["weighted_loss", "geometric_mean", "worst_case", "robust"] = Field(
        "weighted_loss",
        description="Of the relative losses: weighted mean, weighted geometric mean, the largest, or (robust) the mean "
        "of the weighted loss over the worst part of the bootstrap draws of the laws.",
    )
    tail: float = Field(0.2, gt=0, le=1, description="robust only: the fraction of draws that is the worst part.")
    weights: dict[str, Annotated[float, Field(ge=0, le=1e6)]] = Field(
        {}, description="Weight of each domain's loss; 1 where left out."
    )
    relative_to: Literal["proportional", "specialist"] = Field(
        "proportional",
        description="Each loss is divided by its prediction under this reference at the same budget.",
    )


class ShareBounds(Section):
    """Bounds on one domain's share of the budget."""

    min: Share = 0.0
    max: Share = 1.0

    @model_validator(mode="after")
    def _ordered(self) -> ShareBounds:
        if self.min > self.max:
            raise ValueError(f"min {self.min:g} is above max {self.max:g}")
        return self


class GroupBounds(ShareBounds):
    """Bounds on the sum of the shares of some domains."""

    domains: list[Name] = Field(min_length=1, max_length=64)


class Prior(Section):
    """A pull towards proportional sampling."""

    kl: float = Field(0.0, ge=0, le=1e6, description="Weight of KL(mixture || proportional) in the objective.")


class Constraints(Section):
    """What a mixture must respect."""

    repetition: float | None = Field(
        32.0, gt=0, description="Largest number of times the target may show each distinct crop of a domain."
    )
    share: dict[str, ShareBounds] = Field({}, description="Bounds on shares, by domain.")
    group: dict[Name, GroupBounds] = Field({}, description="Bounds on the summed share of a group of domains.")
    prior: Prior = Prior()


class Verify(Section):
    """What the allocated mixture is measured against at the holdout budgets."""

    baselines: list[Literal["proportional", "uniform", "unimax"]] = Field(["proportional", "uniform"], min_length=1)
    seeds: int = Field(2, ge=1, le=100, description="Runs of each mixture at each holdout budget.")


class Launch(Section):
    """How runs are started. Never part of a run's identity: moving to another machine re-runs nothing."""

    executor: Literal["local"] = "local"
    start: Literal["auto", "fork", "accelerate"] = Field(
        "auto",
        description="fork: from a warm process; accelerate: `accelerate launch`; auto: fork for small CPU runs.",
    )
    processes_per_run: int = Field(1, ge=1, le=1024)
    accumulate: int = Field(
        1,
        ge=1,
        le=65_536,
        description="Parts a process's batch is computed in, one after the other: less memory, the same result up to "
        "the order of sums.",
    )
    ladder: Literal["branches", "independent"] = Field(
        "branches",
        description="branches: of runs that differ in budget alone (train.schedule wsd), the longest trains the common "
        "beginning for all; independent: each trains all of it. The results are the same to the last bit.",
    )
    tracker: str = Field(
        "auto",
        pattern=r"^[a-z_]+$",
        description="Where runs log: auto (TensorBoard where installed, below the run's folder), none, or the name of "
        "any tracker of Accelerate, for example wandb.",
    )
    max_parallel: int | Literal["auto"] = Field("auto", description="Runs at once; auto: as many as cores or devices.")

    @field_validator("max_parallel")
    @classmethod
    def _positive(cls, value: int | str) -> int | str:
        if isinstance(value, int) and value < 1:
            raise ValueError("expected at least 1, or auto")
        return value


class Publish(Section):
    """How the mixture is published."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, populate_by_name=True)

    as_: Name | None = Field(None, alias="as", description="Name in the registry; the spec's name if left out.")


class Spec(Section):
    """A whole spec, version 1 of the language."""

    mixlang: Literal[1] = Field(description="Version of the language.")
    name: Name = Field(description="Name of the study.")
    description: str = ""
    data: Data = Data()
    domains: dict[Name, Domain] = Field(min_length=2, max_length=64)
    volume: Volume = Volume()
    model: Model = Model()
    train: Train = Train()
    budgets: Budgets
    design: Design = Design()
    law: Law = Law()
    objective: Objective = Objective()
    constraints: Constraints = Constraints()
    verify: Verify = Verify()
    launch: Launch = Launch()
    publish: Publish = Publish()

    @property
    def registry_name(self) -> str:
        """The name the mixture is published under."""
        return self.publish.as_ or self.name
