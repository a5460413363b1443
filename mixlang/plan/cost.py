"""What runs cost before they are started."""

from __future__ import annotations

import math
from typing import Any


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
