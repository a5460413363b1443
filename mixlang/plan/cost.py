"""What runs cost before they are started: operations, device-hours, disk."""

from __future__ import annotations

import math
from collections.abc import Iterable

from mixlang.documents import ModelSizes, Training
from mixlang.names import published_budgets
from mixlang.spec.schema import Spec

_HALF, _SINGLE = 2, 4
"""Bytes of a float16 (prepared volumes) and of a float32 (weights)."""


def flops_per_sample(training: Training) -> float:
    """Floating-point operations of one training sample: forward and backward, matrix products only.

    Multiply-adds count as 2; the backward pass as twice the forward (Kaplan 2020, 2001.08361, section 2.1), but for
    the patch embedding, whose input needs no gradient. The encoder sees visible tokens alone, the decoder all of them
    (He 2022, 2111.06377), of which its last block computes the hidden ones.
    """
    model, patch = training["model"], training["model"]["patch"]
    tokens = math.prod(edge // patch for edge in training["crop"])
    visible = tokens - round(tokens * model["mask_ratio"])
    hidden, voxels, width = tokens - visible, patch**3, model["decoder_width"]
    encoder = model["depth"] * _block(visible, visible, model["width"])
    decoder = (model["decoder_depth"] - 1) * _block(tokens, tokens, width) + _block(hidden, tokens, width)
    decoder += 2 * visible * model["width"] * width + 2 * hidden * width * voxels
    embedding = 2 * visible * voxels * model["width"]
    return 3.0 * (encoder + decoder) + 2.0 * embedding


def _block(computed: int, attended: int, width: int) -> float:
    """Forward operations of a transformer block: 12 w^2 weights a token, and two products of attention."""
    return 20.0 * computed * width**2 + 4.0 * attended * width**2 + 4.0 * computed * attended * width


def parameters(model: ModelSizes) -> int:
    """Trainable parameters of the masked autoencoder of these sizes."""
    voxels, width, narrow = model["patch"] ** 3, model["width"], model["decoder_width"]

    def blocks(size: int, depth: int) -> int:
        return depth * (12 * size**2 + 13 * size)  # four matrices with biases, two norms

    encoder = voxels * width + width + blocks(width, model["depth"]) + 2 * width
    decoder = width * narrow + narrow + narrow + blocks(narrow, model["decoder_depth"]) + 2 * narrow
    return encoder + decoder + narrow * voxels + voxels


def checkpoint_bytes(training: Training, runs: int) -> int:
    """Disk for the weights that finished runs keep, float32."""
    return runs * _SINGLE * parameters(training["model"])


def volume_bytes(shape: Iterable[int], spacing: Iterable[float], wanted: Iterable[float]) -> int:
    """Most that a prepared volume takes: all of it at the wanted spacing (mm), float16, before cropping to the patient."""
    voxels = math.prod(math.ceil(size * have / want) for size, have, want in zip(shape, spacing, wanted, strict=True))
    return _HALF * voxels


def held_out_work(spec: Spec) -> tuple[int, int]:
    """How many runs a spec's verification has, and their samples, before its mixtures are known."""
    if not spec.budgets.holdout:
        return 0, 0
    verify, held = spec.verify, spec.budgets.holdout
    each = (1 + len(verify.baselines) + len(verify.mixtures)) * verify.seeds
    grid = verify.grid.count * verify.grid.seeds
    published = published_budgets(verify.published, held)
    runs = each * len(held) + verify.seeds * len(published) + grid
    return runs, each * sum(held) + verify.seeds * sum(published) + grid * min(held)
