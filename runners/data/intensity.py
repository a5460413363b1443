"""What stored values mean and how they become network inputs, by modality. Arrays are float32, in the unit."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mixlang.documents import Preprocessing

Array = NDArray[np.float32]

_PET_GAIN = 4.0
"""Gain before the logarithm of SUV."""

_LEVELS = {"ct": (0.26, 0.245), "pet": (0.17, 0.15)}
"""Typical mean and deviation of a body volume on the clipped [0, 1] scale, at the presets' clip ranges."""


_FILL_SHARE = 0.005
"""Fraction of voxels of exactly the lowest or highest value from which that value may be a fill."""

_ENOUGH = 1 << 20
"""Voxels of which percentiles are taken; more change them by less than 0.01 percentage points."""


def strided(image: NDArray[Any]) -> slice:
    """A slice of the flattened image: every k-th voxel, at least a million in all, spread evenly over each axis.

    k has no common divisor with the number of voxels, so no row, column or plane is favoured.
    """
    step = max(1, image.size // _ENOUGH)
    while math.gcd(step, image.size) > 1:
        step -= 1
    return slice(None, None, step)


_QUANTILES = (0.1, 1.0, 50.0, 99.0, 99.9)
"""Percentiles that judge whether values can be in a unit, and that messages show."""

_LEAST_SPREAD = {"hu": 20.0, "suv": 0.1}
"""Between the 0.1th and the 99.9th percentile: the noise of a CT of one organ alone is more, and so is any uptake."""


def implausible(image: Array, settings: Preprocessing) -> str:
    """Why values cannot be in the unit of their domain, with their quantiles, or ''.

    Catches what would train in silence: an offset, a scaling to [0, 1], another unit. A CT without air, such as a crop
    of an organ or a masked brain, is possible and passes.

    Args:
        image: the values that exist, any shape, in the unit.
        settings: `modality`, `unit` and `clip`, as `resolve_intensity` gives them.
    """
    sample = image.reshape(-1)[strided(image)]
    quantiles = [float(value) for value in np.percentile(sample, _QUANTILES)]
    why = _beyond(image, settings["unit"])
    why = why or {"hu": _not_hu, "suv": _not_suv}.get(settings["unit"], lambda *_: "")(sample, quantiles)
    if not why and settings.get("clip") is not None:
        low, high = (float(edge) for edge in np.clip([quantiles[0], quantiles[-1]], *settings["clip"]))
        if high - low < 0.005 * (settings["clip"][1] - settings["clip"][0]):
            why = f"(almost) constant once clipped to [{settings['clip'][0]:g}, {settings['clip'][1]:g}]"
    if not why:
        return ""
    shown = ", ".join(f"{part:g} %: {value:.4g}" for part, value in zip(_QUANTILES, quantiles, strict=True))
    return f"{why} (quantiles {shown})"


_MOST = 1e6
"""HU or SUV that no voxel has, not even beside metal: a few of them are damage, not anatomy."""


def _beyond(image: Array, unit: str) -> str:
    """Whether any voxel is beyond what a unit can be; few such voxels move no quantile, but each spoils its surroundings."""
    lowest, highest = float(image.min()), float(image.max())
    if unit in ("hu", "suv") and max(-lowest, highest) > _MOST:
        return f"single values from {lowest:.3g} to {highest:.3g} cannot be {unit.upper()}"
    return ""


_CONVERT = "say what they are with intensity.offset or intensity.factors"


def _not_hu(sample: Array, quantiles: list[float]) -> str:
    """Air is near -1000 HU, fat -100, soft tissue 0 to 100, cancellous bone 300 to 800, cortical bone up to 2000."""
    least, _, _, high, most = quantiles
    lowest, highest = float(sample.min()), float(sample.max())
    if lowest < -40_000 or most > 32_767:
        return f"values from {lowest:,.0f} to {highest:,.0f} cannot be HU; {_CONVERT}"
    if most - least < _LEAST_SPREAD["hu"]:
        return f"values from {lowest:.4g} to {highest:.4g} cannot be HU: scaled?; {_CONVERT}"
    if (lowest, highest) in ((0.0, 255.0), (0.0, 65_535.0)):
        return f"values from 0 to {highest:g} are grey levels, not HU; {_CONVERT}"
    below = (sample < -1200) & (sample > lowest)  # the lowest value may be a fill
    if np.mean(below) > 0.02:
        return f"{np.mean(below):.0%} of the values are below -1200, less than air, so they cannot be HU; {_CONVERT}"
    if high < -200:
        return f"no soft tissue: nearly all values are below -200, so they cannot be HU; {_CONVERT}"
    if least > -200:
        return _shifted(sample, lowest, high)
    return ""


def _shifted(sample: Array, lowest: float, high: float) -> str:
    """Whether a CT without air is one whose air is at 0: soft tissue is then where cortical bone belongs."""
    if high > 4000:
        return f"no air, and values beyond 4000, so they cannot be HU; {_CONVERT}"
    bone, dense = (float(np.mean((sample >= low) & (sample < top))) for low, top in ((300, 850), (850, 1250)))
    inside = sample[sample > lowest]
    middle = float(np.median(inside)) if inside.size else 0.0
    if (dense > 0.03 and dense > bone) or middle > 450:
        return (
            f"no air at -1000 HU, and a median of {middle:.4g} above the lowest value: an offset of about 1024? "
            "Give intensity.offset: -1024, or intensity.factors with an offset for these files"
        )
    tissue = float(np.mean((sample > lowest) & (sample >= -200) & (sample <= 500)))
    if tissue < 0.01 * float(np.mean(sample > lowest)):
        return f"neither air nor soft tissue where HU have them; {_CONVERT}"
    return ""


def _not_suv(sample: Array, quantiles: list[float]) -> str:
    """SUV averages 1 over a body; organs reach 10, tumours 30, kidneys and bladder 100 and more."""
    most, lowest, highest = quantiles[-1], float(sample.min()), float(sample.max())
    if most > 200:
        return f"values up to {highest:,.0f} cannot be SUV (Bq/ml?); give intensity.factors for this file"
    if lowest < -1:
        return f"values down to {lowest:,.1f} cannot be SUV"
    inside = sample[sample > 0.1]
    if inside.size and float(np.median(inside)) > 20:
        return f"half of the values above background exceed {np.median(inside):.3g}, too much for SUV (kBq/ml?); {_CONVERT}"
    if highest <= 1.0 or most - quantiles[0] < _LEAST_SPREAD["suv"]:
        return f"values up to {highest:.3g} cannot be SUV, which averages 1 over a body: scaled?; {_CONVERT}"
    return ""


def in_range(image: Array) -> None:
    """Bring an MRI of very small or very large numbers to ordinary ones, in place, by a power of two.

    Its unit is arbitrary, and what follows computes in float32: squares overflow from 1e19 on, and tiny deviations
    would fall below the smallest that is divided by. A power of two changes no digit, so the result does not depend on
    the scale; ordinary volumes are left as they are.
    """
    low, high = np.percentile(image.reshape(-1)[strided(image)].astype(np.float64), [0.5, 99.5])
    span = float(high - low) or float(image.max()) - float(image.min())
    exponent = math.frexp(span)[1] if math.isfinite(span) and span > 0 else 0
    if not -3 <= exponent <= 40:
        peak = math.frexp(max(abs(float(image.min())), abs(float(image.max()))))[1]
        np.ldexp(image, min(10 - exponent, 100 - peak), out=image)


def without_fill(image: Array, modality: str) -> None:
    """Take what stands for "nothing was measured here" out of an image, in place, before it is interpolated.

    CT: values below air (-3024 outside the field of view of some scanners) become -1024 HU. MRI: where many voxels
    have exactly the lowest or the highest value, and it lies further from the range of the others than twice that
    range, it becomes the end of their range; the percentiles and the z-score would measure the fill otherwise.
    """
    if modality == "ct":
        np.maximum(image, np.float32(-1024), out=image)
    if modality == "mri":
        sample = image.reshape(-1)[strided(image)]
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
    low, high = np.percentile(image.reshape(-1)[strided(image)], [0.5, 99.5])
    return image > low + 0.1 * (high - low)


def normalise(image: Array, settings: Preprocessing, inside: NDArray[np.bool_]) -> Array:
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
        sample, patient = image.reshape(-1)[strided(image)], inside.reshape(-1)[strided(image)]
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
