"""What stored values mean and how they become network inputs, by modality. Arrays are float32, in the unit."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]

_PET_GAIN = 4.0
"""Gain before the logarithm of SUV."""

_LEVELS = {"ct": (0.26, 0.245), "pet": (0.17, 0.15)}
"""Typical mean and deviation of a body volume on the clipped [0, 1] scale, at the presets' clip ranges."""


def wrong_unit(image: Array, unit: str) -> str:
    """Why values cannot be in `unit` ('hu', 'suv'), or ''. Catches the mistakes that would train in silence."""
    if unit == "suv":
        bright = float(np.percentile(image, 99.9))
        if bright > 200:
            return f"values up to {image.max():,.0f} cannot be SUV (Bq/ml?); give intensity.factors for this file"
        if image.min() < -1:
            return f"values down to {image.min():,.1f} cannot be SUV"
    if unit == "hu" and (image.min() < -10_000 or image.max() > 100_000):
        return f"values from {image.min():,.0f} to {image.max():,.0f} cannot be HU"
    return ""


def foreground(image: Array, modality: str) -> NDArray[np.bool_]:
    """Where the patient is: above -500 HU, above 0.1 SUV, or above a tenth of an MRI's intensity range."""
    if modality == "ct":
        return image > -500
    if modality == "pet":
        return image > 0.1
    low, high = np.percentile(image, [0.5, 99.5])
    return image > low + 0.1 * (high - low)


def normalise(image: Array, settings: dict[str, Any], inside: NDArray[np.bool_]) -> Array:
    """Network inputs of about zero mean and unit variance, air near -1, in every modality.

    CT and PET keep their absolute scale: CT is clipped and shifted and scaled by constants; PET is clipped, taken as
    log(1 + 4 SUV), which spreads background (.5), organs (2) and tumours (8) evenly, then shifted and scaled. MRI,
    whose unit is arbitrary, is clipped at the image's 0.5th and the foreground's 99.5th percentile and z-scored.
    Equal variances matter: with raw losses 8-fold apart, domains of small variance are drowned in mixed batches.

    Args:
        settings: `modality` and `clip`, as `resolve_intensity` gives them.
        inside: the foreground, same shape.
    """
    if settings["modality"] == "mri":
        low, high = float(np.percentile(image, 0.5)), float(np.percentile(image[inside], 99.5))
        clipped = np.clip(image, low, high)
        return (clipped - clipped.mean()) / np.float32(max(float(clipped.std()), 1e-6))
    low, high = settings["clip"]
    unit = (np.clip(image, low, high) - np.float32(low)) / np.float32(high - low)
    if settings["modality"] == "pet":
        span = np.float32(_PET_GAIN * (high - low))
        unit = np.log1p(span * unit) / np.log1p(span)
    centre, spread = _LEVELS[settings["modality"]]
    return (unit - np.float32(centre)) / np.float32(spread)
