"""What a spec leaves to its presets, made explicit: model sizes and intensity handling by modality."""

from __future__ import annotations

from typing import Any

from mixlang.documents import ModelSizes, Preprocessing
from mixlang.spec.quantities import exact_bytes
from mixlang.spec.schema import Domain, Model, Spec

_ARCH = {
    "vit_micro": {"width": 96, "depth": 4, "heads": 3, "decoder_width": 48, "decoder_depth": 1, "decoder_heads": 3},
    "vit_tiny": {
        "width": 192,
        "depth": 12,
        "heads": 3,
        "decoder_width": 96,
        "decoder_depth": 2,
        "decoder_heads": 3,
    },
    "vit_small": {
        "width": 384,
        "depth": 12,
        "heads": 6,
        "decoder_width": 192,
        "decoder_depth": 4,
        "decoder_heads": 3,
    },
    "vit_base": {
        "width": 768,
        "depth": 12,
        "heads": 12,
        "decoder_width": 384,
        "decoder_depth": 4,
        "decoder_heads": 6,
    },
}

_INTENSITY: dict[str, dict[str, Any]] = {
    "ct": {"unit": "hu", "clip": [-1000.0, 1000.0]},
    "mri": {"unit": "arbitrary", "clip": None},
    "pet": {"unit": "suv", "clip": [0.0, 20.0]},
}

_BIDS_SUFFIX = {"ct": ["ct"], "mri": ["T1w", "T2w", "T2starw", "PDw", "FLAIR"], "pet": ["pet"]}


def resolve_model(model: Model) -> ModelSizes:
    """The sizes a model section stands for; `arch` is dropped, since the sizes say it all."""
    sizes = dict(_ARCH[model.arch])
    sizes.update({name: value for name in sizes if (value := getattr(model, name)) is not None})
    return {"patch": model.patch, "mask_ratio": model.mask_ratio, **sizes}


def resolve_intensity(domain: Domain) -> Preprocessing:
    """Unit and clip range of a domain, from its modality where the spec is silent."""
    preset = _INTENSITY[domain.modality]
    given = domain.intensity
    return {
        "modality": domain.modality,
        "unit": given.unit or preset["unit"],
        "clip": [float(edge) for edge in given.clip] if given.clip else preset["clip"],
    }


def resolve_suffix(domain: Domain) -> list[str]:
    """The suffixes of the BIDS files a domain uses, from its modality where the spec is silent."""
    return domain.source.suffix or _BIDS_SUFFIX[domain.modality]


def resolved(spec: Spec) -> dict[str, Any]:
    """The whole spec with every default and preset explicit, as `mixlang check --resolved` prints it."""
    result = spec.model_dump(mode="json", by_alias=True, exclude_none=True)
    result["model"] = {"arch": spec.model.arch, **resolve_model(spec.model)}
    for name, domain in spec.domains.items():
        shown = {key: value for key, value in resolve_intensity(domain).items() if key != "modality"}
        result["domains"][name]["intensity"] = {**result["domains"][name]["intensity"], **shown}
        if domain.source.bids is not None:
            result["domains"][name]["source"]["suffix"] = resolve_suffix(domain)
        if domain.source.monai_datalist is not None:
            result["domains"][name]["source"]["key"] = domain.source.key or "training"
    if spec.design.mixtures.budgets is None and spec.design.kind == "sobol":
        result["design"]["mixtures"]["budgets"] = list(spec.budgets.probe)
    domains = {name: spec.objective.weight(name) for name in spec.domains}
    tasks = spec.objective.of_tasks
    result["objective"]["weights"] = {"domains": domains, "tasks": tasks} if tasks else domains
    if spec.limits.max_disk is not None:
        result["limits"]["max_disk"] = exact_bytes(spec.limits.max_disk)
    result["publish"]["as"] = spec.registry_name
    return result
