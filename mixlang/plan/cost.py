"""What runs cost before they are started."""

from __future__ import annotations

import math
from typing import Any


def flops_per_sample(training: dict[str, Any]) -> float:
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
