"""What runs cost before they are started: operations, device-hours, disk."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

from mixlang.plan.build import Plan

_HALF, _SINGLE = 2, 4
"""Bytes of a float16 (prepared volumes) and of a float32 (weights)."""


def flops_per_sample(training: dict[str, Any]) -> float:
    """Floating-point operations of one training sample: forward and backward, matrix products only.

    Multiply-adds count as 2; the backward pass as twice the forward (Kaplan 2020, 2001.08361, section 2.1). The
    encoder sees visible tokens alone, the decoder all of them (He 2022, 2111.06377).
    """
    model, patch = training["model"], training["model"]["patch"]
    tokens = math.prod(edge // patch for edge in training["crop"])
    visible = tokens - round(tokens * model["mask_ratio"])
    voxels = patch**3
    encoder = _blocks(visible, model["width"], model["depth"]) + 2 * visible * voxels * model["width"]
    decoder = _blocks(tokens, model["decoder_width"], model["decoder_depth"])
    decoder += 2 * visible * model["width"] * model["decoder_width"]
    decoder += 2 * (tokens - visible) * model["decoder_width"] * voxels
    return 3.0 * (encoder + decoder)


def _blocks(tokens: int, width: int, depth: int) -> float:
    """Forward operations of transformer blocks: 12 w^2 weights a token, and two products of attention."""
    return depth * (24.0 * tokens * width**2 + 4.0 * tokens**2 * width)


def parameters(model: dict[str, Any]) -> int:
    """Trainable parameters of the masked autoencoder of these sizes."""
    voxels, width, narrow = model["patch"] ** 3, model["width"], model["decoder_width"]

    def blocks(size: int, depth: int) -> int:
        return depth * (12 * size**2 + 13 * size)  # four matrices with biases, two norms

    encoder = voxels * width + width + blocks(width, model["depth"]) + 2 * width
    decoder = width * narrow + narrow + narrow + blocks(narrow, model["decoder_depth"]) + 2 * narrow
    return encoder + decoder + narrow * voxels + voxels


def checkpoint_bytes(training: dict[str, Any], runs: int) -> int:
    """Disk for the weights that finished runs keep, float32."""
    return runs * _SINGLE * parameters(training["model"])


def volume_bytes(shape: Iterable[int], spacing: Iterable[float], wanted: Iterable[float]) -> int:
    """Most that a prepared volume takes: all of it at the wanted spacing (mm), float16, before cropping to the patient."""
    voxels = math.prod(math.ceil(size * have / want) for size, have, want in zip(shape, spacing, wanted, strict=True))
    return _HALF * voxels


def samples_evaluated(plan: Plan) -> int:
    """Crops each run is evaluated on."""
    return plan.training["evaluation"]["crops"] * sum(len(data["validation"]) for data in plan.domains.values())
