"""The plan: the ordered list of runs, each with a content address, and the settings each later stage depends on.

A function of the resolved spec and the data manifest alone. `plan.json` holds what decides the probe runs and what is
measured of them on each domain, and nothing else, so that a changed constraint or comment leaves it untouched.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from mixlang.documents import ChosenDesign, EvaluationSettings, RunRow, TaskSettings, Training, Volume
from mixlang.errors import InputError
from mixlang.files import canonical_json, canonical_object, digest, read_json, text_digest
from mixlang.names import BEST_GUESS
from mixlang.plan.data_manifest import DataManifest, VolumeRecord
from mixlang.plan.design import probe_points
from mixlang.plan.split import order_key, split_subjects
from mixlang.plan.tasks import compile_tasks, downstream_settings, probe_tasks
from mixlang.plan.whole_samples import stable_steps
from mixlang.spec.presets import resolve_intensity, resolve_model
from mixlang.spec.schema import Spec

# Raised when the same inputs would give other results; part of every identity. Not a file hash: a renamed
# variable must not retrain a study.
PREPROCESSING_VERSION = 2
TRAINING_VERSION = 2
EVALUATION_VERSION = 2

_FORMER_VERSIONS = [2, 2, 2]
"""Of preprocessing, training and evaluation when a run's identity still held what is measured of it."""


@dataclass(frozen=True)
class Run:
    """One training run: samples of each domain (zeros included), and the seed of everything random in it."""

    key: str
    kind: str
    amounts: dict[str, int]
    seed: int

    @property
    def budget(self) -> int:
        """Samples in all."""
        return sum(self.amounts.values())

    def as_dict(self) -> dict[str, Any]:
        """The run as it stands in plan.json and in the tables of results."""
        return {
            "key": self.key,
            "kind": self.kind,
            "amounts": self.amounts,
            "budget": self.budget,
            "seed": self.seed,
        }

    @classmethod
    def from_dict(cls, value: RunRow) -> Run:
        """Read what `as_dict` gave."""
        return cls(value["key"], value["kind"], value["amounts"], value["seed"])


@dataclass(frozen=True)
class Plan:
    """What the sweep needs, and nothing else.

    Attributes:
        training: model sizes, recipe and crop shared by all runs.
        evaluation: validation crops of each volume, and the seed of their places.
        domains: for each domain, prepared-volume keys: `train` in the order nested subsets take them, `validation`; and
            with `sampling: subject` alone `subjects`, whose each volume of `train` is, numbered from 0.
        volumes: for each prepared-volume key, the file it comes from and how it is preprocessed.
        target: the budget that `repetition: match` matches, or None.
        runs: the probe runs.
        design: of a design of kind `optimal` how good it is, else None.
    """

    training: Training
    evaluation: EvaluationSettings
    domains: dict[str, dict[str, list[Any]]]
    volumes: dict[str, Volume]
    target: int | None
    runs: list[Run]
    design: ChosenDesign | None = None

    def as_dict(self) -> dict[str, Any]:
        """The plan as JSON."""
        return {
            "version": 2,
            "training": self.training,
            "evaluation": self.evaluation,
            "domains": self.domains,
            "volumes": self.volumes,
            "target": self.target,
            "runs": [run.as_dict() for run in self.runs],
            **({} if self.design is None else {"design": self.design}),
        }

    @classmethod
    def read(cls, path: Path) -> Plan:
        """Read a plan.json. One of version 1 has the keys of its time: see `former_key`.

        Raises:
            InputError: missing, damaged, or of another version.
        """
        value = read_json(path)
        try:
            if value["version"] not in (1, 2):
                raise InputError(f"{path} is a plan of version {value['version']}; this mixlang reads versions 1 and 2")
            runs = [Run.from_dict(item) for item in value["runs"]]
            training = {name: value["training"][name] for name in ("crop", "model", "recipe")}
            evaluation = value["evaluation"] if value["version"] == 2 else value["training"]["evaluation"]
            design = value.get("design")
            return cls(training, evaluation, value["domains"], value["volumes"], value["target"], runs, design)
        except (KeyError, TypeError) as error:
            raise InputError(f"{path} is damaged ({error})", "Delete it and run 'mixlang compile SPEC'.") from error

    def volumes_for(self, domain: str, budget: int) -> list[str]:
        """The prepared volumes a run of `budget` draws from: all, or the nested subset of `repetition: match`."""
        return self.domains[domain]["train"][: self.volume_count(domain, budget)]

    def subjects_for(self, domain: str, budget: int) -> list[int] | None:
        """Whose each of `volumes_for` is, numbered from 0; None where volumes are drawn whatever their subjects."""
        subjects = self.domains[domain].get("subjects")
        return None if subjects is None else subjects[: self.volume_count(domain, budget)]

    def volume_count(self, domain: str, budget: int) -> int:
        """How many volumes a run of `budget` draws from; subsets are nested, so equal numbers are equal volumes."""
        count = len(self.domains[domain]["train"])
        if self.target is None:
            return count
        return min(count, max(1, math.ceil(count * budget / self.target)))

    def ladder(self, run: Run) -> tuple[Run, ...]:
        """The runs of the plan with a run's seed and exactly its proportions, longest first."""
        return self._ladders.get(_proportions(run), ())

    @cached_property
    def _ladders(self) -> dict[tuple[Any, ...], tuple[Run, ...]]:
        found: dict[tuple[Any, ...], list[Run]] = {}
        for run in sorted(self.runs, key=lambda run: -run.budget):
            found.setdefault(_proportions(run), []).append(run)
        return {proportions: tuple(runs) for proportions, runs in found.items()}

    def run(self, kind: str, amounts: Mapping[str, int], seed: int) -> Run:
        """A run of this plan with its content address, for example one of a mixture to verify.

        The address holds what decides the weights: recipe, model, crop, amounts, the volumes drawn from, seed. What is
        measured of the run has addresses of its own (`mixlang.plan.evaluations`).

        Args:
            kind: what the run is for; not part of its identity.
            amounts: samples by domain name; names that are left out get none.
        """
        named = {name: int(amounts.get(name, 0)) for name in self.domains}
        identity = {**self._shared_identity, **self._own_identity(named, seed)}
        return Run(text_digest(canonical_object(identity)), kind, named, seed)

    def former_key(self, run: Run) -> str:
        """The address that a run had when it still held the validation volumes of all domains of its plan."""
        identity = {**self._former_identity, **self._own_identity(run.amounts, run.seed)}
        return text_digest(canonical_object(identity))

    def _own_identity(self, amounts: Mapping[str, int], seed: int) -> dict[str, str]:
        budget = sum(amounts.values())
        domains = {
            name: {"amount": amount, "volumes": self._subset_digest(name, budget)}
            for name, amount in amounts.items()
            if amount
        }
        return {"seed": canonical_json(seed), "domains": canonical_json(domains)}

    @cached_property
    def _shared_identity(self) -> dict[str, str]:
        """What is the same in the identity of all runs, as canonical JSON: a plan may have thousands."""
        shared = {"versions": [PREPROCESSING_VERSION, TRAINING_VERSION], "training": self.training}
        return {name: canonical_json(value) for name, value in shared.items()}

    @cached_property
    def _former_identity(self) -> dict[str, str]:
        shared = {
            "versions": _FORMER_VERSIONS,
            "training": {**self.training, "evaluation": self.evaluation},
            "evaluation": {name: digest(data["validation"]) for name, data in self.domains.items()},
        }
        return {name: canonical_json(value) for name, value in shared.items()}

    @cached_property
    def _subset_digests(self) -> dict[tuple[str, int], str]:
        return {}

    def _subset_digest(self, domain: str, budget: int) -> str:
        """Digest of the volumes a run draws from; nested subsets of one size are the same."""
        place = (domain, self.volume_count(domain, budget))
        if place not in self._subset_digests:
            volumes, subjects = self.volumes_for(domain, budget), self.subjects_for(domain, budget)
            self._subset_digests[place] = digest(volumes if subjects is None else [volumes, subjects])
        return self._subset_digests[place]


def _proportions(run: Run) -> tuple[Any, ...]:
    """What runs that differ in budget alone have in common."""
    part = math.gcd(*run.amounts.values()) or 1
    return (run.seed, *sorted((name, amount // part) for name, amount in run.amounts.items() if amount))


@dataclass(frozen=True)
class Compiled:
    """A plan and, by stage, the settings that stage depends on; and the tasks, all of them."""

    plan: Plan
    settings: dict[str, dict[str, Any]]
    tasks: dict[str, TaskSettings]


def compile_plan(spec: Spec, manifest: DataManifest, reuse: Callable[[Plan], list[Run]] | None = None) -> Compiled:
    """Compile a spec and its data into runs and settings.

    Args:
        reuse: the runs of earlier studies that are to be kept, from a plan without runs: see `mixlang.study.reuse`.

    Raises:
        InputError: a domain cannot be split, or a constraint cannot hold with the data there are.
    """
    validation = set(split_subjects(manifest, spec.data.split, manifest.sides).validation)
    volumes: dict[str, Volume] = {}
    domains: dict[str, dict[str, list[Any]]] = {}
    available: dict[str, dict[str, float]] = {}
    places: dict[tuple[str, str], str] = {}
    for name, data in sorted(manifest.domains.items()):
        ordered = sorted(
            data.volumes, key=lambda volume: (order_key(spec.data.split.seed, volume.subject), volume.path)
        )
        keys = {id(volume): _volume_key(spec, name, volume, volumes) for volume in ordered}
        places |= {(name, volume.path): keys[id(volume)] for volume in ordered}
        train = [volume for volume in ordered if volume.subject not in validation]
        domains[name] = {
            "train": [keys[id(volume)] for volume in train],
            "validation": [keys[id(volume)] for volume in ordered if volume.subject in validation],
        }
        if spec.train.sampling == "subject":
            numbers: dict[str, int] = {}
            domains[name]["subjects"] = [numbers.setdefault(volume.subject, len(numbers)) for volume in train]
        crops = sum(volume.crops(spec.volume.spacing, spec.volume.crop) for volume in train)
        available[name] = {"volumes": len(train), "crops": round(crops, 3)}
    match = spec.budgets.target if spec.train.repetition == "match" else None
    evaluation: EvaluationSettings = {"crops": spec.data.validation_crops, "seed": spec.data.split.seed}
    bare = Plan(training_of(spec), evaluation, domains, volumes, match, [])
    kept = reuse(bare) if reuse is not None else []
    points, design = _points(spec, kept)
    runs = [*kept, *(bare.run(kind, amounts, seed) for kind, amounts, seed in points)]
    plan = replace(bare, runs=list({run.key: run for run in runs}.values()), design=design)
    settings = _settings(spec, available)
    tasks = compile_tasks(spec, manifest, places, validation)
    settings["evaluate"] = {"tasks": probe_tasks(spec, tasks), "reuse": spec.design.reuse}
    settings["downstream"] = downstream_settings(spec, tasks)
    return Compiled(plan, settings, tasks)


def _points(spec: Spec, kept: Sequence[Run]) -> tuple[list[tuple[str, dict[str, int], int]], ChosenDesign | None]:
    """The probe runs to train as (kind, samples of each domain, seed), and of an optimal design how good it is."""
    if spec.design.kind == "optimal":
        from mixlang.plan.chosen_runs import optimal_points

        batch, recipe = spec.train.batch_size, training_of(spec)["recipe"]
        # With `repetition: match` runs of one mixture draw from different volumes, so none begins like another.
        alike = spec.train.repetition == "free"
        stable = [alike * stable_steps(budget // batch, recipe) * batch for budget in sorted(set(spec.budgets.probe))]
        chosen = optimal_points(spec, stable, [run.amounts for run in kept])
        return chosen.points, chosen.found
    points = [(kind, amounts) for kind, amounts in probe_points(spec) if not _taught(amounts, kept)]
    return [(kind, amounts, seed) for kind, amounts in points for seed in range(spec.budgets.seeds)], None


def _taught(amounts: Mapping[str, int], kept: Sequence[Run]) -> bool:
    """Whether runs that are kept teach what a point of the design would: their domains alone, at one of their budgets."""
    seen = {name for run in kept for name, amount in run.amounts.items() if amount}
    budgets = {run.budget for run in kept}
    return sum(amounts.values()) in budgets and all(name in seen for name, amount in amounts.items() if amount)


def _volume_key(spec: Spec, name: str, volume: VolumeRecord, volumes: dict[str, Volume]) -> str:
    preprocessing = {
        **resolve_intensity(spec.domains[name]),
        "spacing": spec.volume.spacing,
        "crop": spec.volume.crop,
    }
    if volume.offset:
        preprocessing["offset"] = volume.offset
    identity = {
        "version": PREPROCESSING_VERSION,
        "content": volume.content,
        "factor": volume.factor,
        "preprocessing": preprocessing,
    }
    key = digest(identity)
    volumes[key] = {
        "domain": name,
        "path": volume.path,
        "content": volume.content,
        "factor": volume.factor,
        "preprocessing": preprocessing,
    }
    phantom = spec.domains[name].source.phantom
    if phantom is not None:
        index = int(volume.path.rsplit("/", 1)[1])
        volumes[key]["phantom"] = {**phantom.model_dump(mode="json", exclude={"count"}), "index": index}
    return key


def training_of(spec: Spec) -> Training:
    """What all runs of a spec have in common."""
    recipe = spec.train.model_dump(mode="json", exclude={"repetition", "sampling"})  # both show in what runs draw from
    return {
        "model": resolve_model(spec.model),
        "crop": spec.volume.crop,
        "recipe": recipe,
    }


def _settings(spec: Spec, available: dict[str, dict[str, float]]) -> dict[str, dict[str, Any]]:
    objective = spec.objective.model_dump(mode="json")
    objective["weights"] = {name: spec.objective.weight(name) for name in spec.domains} | spec.objective.of_tasks
    if objective["decide"] == BEST_GUESS:  # which is what settings of before there was a choice mean
        del objective["decide"]
    constraints = spec.constraints.model_dump(mode="json")
    constraints["prior"] = constraints["prior"]["kl"]
    if constraints["worse"] is None:
        del constraints["worse"]
    if constraints["repetition"] == "unlimited":
        constraints["repetition"] = None
    constraints["group"] = {
        name: {"members": bound.domains, "min": bound.min, "max": bound.max}
        for name, bound in spec.constraints.group.items()
    }
    one_cost = len({domain.cost for domain in spec.domains.values()}) == 1
    problem = {
        "costs": {name: domain.cost for name, domain in spec.domains.items()},
        "available": available,
        "objective": objective,
        "constraints": constraints,
    }
    return {
        "prepare": {"thumbnails": spec.data.thumbnails},
        "fit": {**spec.law.model_dump(mode="json"), "fixed_total": one_cost},
        "allocate": {
            **problem,
            "target": spec.budgets.target,
            "holdout": sorted(spec.budgets.holdout),
            "baselines": list(dict.fromkeys(["proportional", "uniform", *spec.verify.baselines])),
            "mixtures": spec.verify.mixtures,
            "grid": spec.verify.grid.count,
        },
        "verify": {
            "baselines": [*dict.fromkeys(spec.verify.baselines), *spec.verify.mixtures],
            "published": spec.verify.published,
            "seeds": spec.verify.seeds,
            "grid_seeds": spec.verify.grid.seeds,
        },
        "publish": {"name": spec.registry_name, "study": spec.name, "description": spec.description},
    }


def unusable(manifest: DataManifest, limit: float) -> dict[str, str]:
    """The domains that lost too much to quarantine, with what to say of each: how many files, and the first reasons."""
    found = {}
    for name, data in manifest.domains.items():
        total = len(data.volumes) + len(data.quarantined)
        if not data.volumes or len(data.quarantined) > limit * total:
            reasons = "; ".join(f"{path}: {why}" for path, why in data.quarantined[:3])
            found[name] = f"domain '{name}': {len(data.quarantined)} of {total} files are unusable ({reasons})"
    return found
