"""What stored values mean and how they become network inputs, by modality. Arrays are float32, in the unit."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]

_PET_GAIN = 4.0
"""Gain before the logarithm of SUV."""

_LEVELS = {"ct": (0.26, 0.245), "pet": (0.17, 0.15)}
"""Typical mean and deviation of a body volume on the clipped [0, 1] scale, at the presets' clip ranges."""


_FILL_SHARE = 0.005
"""Fraction of voxels of exactly the lowest or highest value from which that value may be a fill."""

_ENOUGH = 1 << 20
"""Voxels of which percentiles are taken; more change them by less than 0.01 percentage points."""


def spread(image: NDArray[Any]) -> slice:
    """A slice of the flattened image: every k-th voxel, at least a million in all, spread evenly over each axis.

    k has no common divisor with the number of voxels, so no row, column or plane is favoured.
    """
    step = max(1, image.size // _ENOUGH)
    while math.gcd(step, image.size) > 1:
        step -= 1
    return slice(None, None, step)


def wrong_unit(image: Array, unit: str) -> str:
    """Why values cannot be in `unit` ('hu', 'suv'), or ''. Catches the mistakes that would train in silence."""
    if unit == "suv":
        bright = float(np.percentile(image.reshape(-1)[spread(image)], 99.9))
        if bright > 200:
            return f"values up to {image.max():,.0f} cannot be SUV (Bq/ml?); give intensity.factors for this file"
        if image.min() < -1:
            return f"values down to {image.min():,.1f} cannot be SUV"
    if unit == "hu" and (image.min() < -10_000 or image.max() > 100_000):
        return f"values from {image.min():,.0f} to {image.max():,.0f} cannot be HU"
    return ""


def without_fill(image: Array, modality: str) -> None:
    """Take what stands for "nothing was measured here" out of an image, in place, before it is interpolated.

    CT: values below air (-3024 outside the field of view of some scanners) become -1024 HU. MRI: where many voxels
    have exactly the lowest or the highest value, and it lies further from the range of the others than twice that
    range, it becomes the end of their range; the percentiles and the z-score would measure the fill otherwise.
    """
    if modality == "ct":
        np.maximum(image, np.float32(-1024), out=image)
    if modality == "mri":
        sample = image.reshape(-1)[spread(image)]
        lowest, highest = image.min(), image.max()
        measured = sample[(sample > lowest) & (sample < highest)]
        if not measured.size:
            return
        low, high = np.percentile(measured, [0.5, 99.5]).astype(np.float32)
        if lowest < low - 2 * (high - low) and np.mean(sample == lowest) > _FILL_SHARE:
            image[image == lowest] = low
        if highest > high + 2 * (high - low) and np.mean(sample == highest) > _FILL_SHARE:
            image[image == highest] = high


def foreground(image: Array, modality: str) -> NDArray[np.bool_]:
    """Where the patient is: above -500 HU, above 0.1 SUV, or above a tenth of an MRI's intensity range."""
    if modality == "ct":
        return image > -500
    if modality == "pet":
        return image > 0.1
    low, high = np.percentile(image.reshape(-1)[spread(image)], [0.5, 99.5])
    return image > low + 0.1 * (high - low)


def normalise(image: Array, settings: dict[str, Any], inside: NDArray[np.bool_]) -> Array:
    """Network inputs of about zero mean and unit variance, air near -1, in every modality; `image` is overwritten.

    CT and PET keep their absolute scale: CT is clipped and shifted and scaled by constants; PET is clipped, taken as
    log(1 + 4 SUV), which spreads background (.5), organs (2) and tumours (8) evenly, then shifted and scaled. MRI,
    whose unit is arbitrary, is clipped at the image's 0.5th and the foreground's 99.5th percentile and z-scored.
    Equal variances matter: with raw losses 8-fold apart, domains of small variance are drowned in mixed batches.

    Args:
        image: contiguous.
        settings: `modality` and `clip`, as `resolve_intensity` gives them.
        inside: the foreground, same shape.
    """
    if settings["modality"] == "mri":
        sample, patient = image.reshape(-1)[spread(image)], inside.reshape(-1)[spread(image)]
        low, high = np.percentile(sample, 0.5), np.percentile(sample[patient] if patient.any() else sample, 99.5)
        np.clip(image, np.float32(low), np.float32(high), out=image)
        deviation = np.float32(max(float(image.std()), 1e-6))
        image -= image.mean()
        image /= deviation
        return image
    low, high = settings["clip"]
    np.clip(image, np.float32(low), np.float32(high), out=image)
    image -= np.float32(low)
    image /= np.float32(high - low)
    if settings["modality"] == "pet":
        span = np.float32(_PET_GAIN * (high - low))
        image *= span
        np.log1p(image, out=image)
        image /= np.log1p(span)
    centre, deviation = _LEVELS[settings["modality"]]
    image -= np.float32(centre)
    image /= np.float32(deviation)
    return image
