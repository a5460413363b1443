"""The annotated spec that `mixlang init --from` writes: sized to the data, every guess marked for a person to check."""

from __future__ import annotations

import math
import statistics

from mixlang.spec.lookup import inline
from mixlang.spec.quantities import show_amount
from runners.data.discover import Discovery, FoundDomain

_SPACINGS = (0.5, 0.75, 1.0, 1.5, 2.0, 2.5, 3.0, 4.0)
_MANY = 500
"""From so many volumes on, the starting sizes are those of a real pretraining; below, of a trial on one machine."""


def starting_spec(found: Discovery, name: str) -> str:
    """The YAML text of a spec for what was found; it checks clean where the data are as they look."""
    volumes = sum(domain.volumes for domain in found.domains)
    large = volumes >= _MANY
    spacing = _spacing(found)
    crop, patch = _crop(found, spacing, large)
    batch = 64 if large else 8
    ladder = [batch * steps for steps in (256, 362, 512, 724)]
    holdout, target = batch * 1024, batch * (16_384 if large else 2048)
    lines = [
        "# yaml-language-server: $schema=mixlang.schema.json",
        f"# A starting point made from {found.kind}. Look at every line; `mixlang plan` says what it would cost.",
        "mixlang: 1",
        f"name: {name}",
        "",
        "data:",
        "  split: {by: subject, validation: 0.2, seed: 7}   # all scans of a patient fall on one side",
        f"  validation_crops: {2 if large else 8}",
        "",
        "domains:",
        *(line for domain in found.domains for line in _domain(domain)),
        *(f"  # left out: {left}: {why}" for left, why in found.left_out),
        "",
        f"# The volumes' own voxels: {_spacings_said(found)}.",
        f"volume: {{spacing: {inline([spacing] * 3)}, crop: {inline([crop] * 3)}}}",
        f"model: {{arch: {'vit_small' if large else 'vit_micro'}, patch: {patch}, mask_ratio: 0.75}}",
        f"train: {{batch_size: {batch}, learning_rate: {'3e-4' if large else '1.5e-3'}"
        + (", precision: bf16}" if large else "}"),
        "",
        "budgets:                                 # in samples: crops seen",
        f"  probe: {inline(ladder)}   # what the laws are fitted on",
        f"  holdout: [{holdout}]                        # never fitted: the laws must predict it",
        f"  target: {show_amount(target) if target % 1000 == 0 else target}",
        "  seeds: 2",
        "",
        "design:",
        "  single_domain: true",
        f"  mixtures: {{count: {2 * len(found.domains)}, budgets: [{ladder[1]}, {ladder[-1]}]}}   # never at one budget",
        "",
        "objective: {minimize: weighted_loss}     # or worst_case, geometric_mean, robust",
        "constraints:",
        f"  repetition: {_repetition(found, spacing, crop, max(target, holdout))}"
        "                        # most views of each distinct crop at the target",
        "verify: {baselines: [proportional, uniform], seeds: 3}",
    ]
    return "\n".join(lines) + "\n"


def _domain(domain: FoundDomain) -> list[str]:
    lines = [f"  {domain.name}:   # {domain.volumes} volumes of {domain.subjects} subjects; {domain.evidence}"]
    lines.append(f"    modality: {domain.modality}")
    lines.append(f"    source: {inline(domain.source)}")
    lines.append(f"    # subjects: {', '.join(f'{name} -> {subject}' for name, subject in domain.names)}")
    for note in domain.notes:
        lines.append(f"    # {note}: they are set aside unless intensity.factors converts them:")
        lines.append("    # intensity: {factors: [{files: 'PATTERN', factor: UNIT_PER_STORED_UNIT}]}")
    return lines


def _spacing(found: Discovery) -> float:
    """The usual grid nearest to the coarser half of the data, so that nothing is blown up much."""
    known = sorted(domain.spacing for domain in found.domains if domain.spacing)
    middle = statistics.median_high(known) if known else 1.5
    return min(_SPACINGS, key=lambda edge: abs(math.log(edge / middle)))


def _spacings_said(found: Discovery) -> str:
    said = [f"{domain.name} {domain.spacing:.2g} mm" for domain in found.domains if domain.spacing]
    return "medians " + ", ".join(said) if said else "no header could be read"


def _crop(found: Discovery, spacing: float, large: bool) -> tuple[int, int]:
    """Crop and patch in voxels: as large as fits the typical volume, at most 96 (or 32 for a trial)."""
    shortest = min((domain.extent[0] for domain in found.domains if domain.extent), default=96 * spacing)
    sizes = ((96, 16), (64, 16), (48, 8), (32, 8)) if large else ((32, 8),)
    for crop, patch in sizes:
        if crop * spacing <= shortest * 1.05:
            return crop, patch
    return sizes[-1]


def _repetition(found: Discovery, spacing: float, crop: int, budget: int) -> int:
    """A cap that leaves room for every mixture worth having: the budget over half of the distinct crops, at least 8."""
    crops = sum(domain.volumes * _crops(domain, spacing, crop) for domain in found.domains) * 0.8
    return max(8, 2 ** math.ceil(math.log2(2 * budget / crops)))


def _crops(domain: FoundDomain, spacing: float, crop: int) -> float:
    extent = domain.extent or (crop * spacing,) * 3
    return math.prod(max(1.0, edge / (crop * spacing)) for edge in extent)
