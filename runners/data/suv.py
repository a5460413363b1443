"""Standardised uptake values of PET from the tags of its own DICOM series (SUV by body weight; QIBA's pseudo-code)."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from runners.data.unusable import Unusable

_DAY = timedelta(days=1)
_LONGEST = timedelta(hours=8)
"""From injection to scan where only the time of day is known of the injection: more, and it may have been another day."""

_LASTING = 12 * 3600.0
"""Half-life in seconds from which a scan may follow days after the injection, so that its date has to be known."""

_HALF_LIVES = 8
"""From injection to scan, at most; beyond it too little is left to be seen."""


def suv_factor(slices: Sequence[Any]) -> tuple[float, str]:
    """What rescaled values are multiplied by to become SUV, and that in words.

    SUV = Bq/ml x weight (g) / dose (Bq), the dose decayed from injection to the time that the values are corrected to:
    the start of the series (DecayCorrection START) or the injection (ADMIN).

    Args:
        slices: pydicom data sets of one series.

    Raises:
        Unusable: a tag that this takes is missing, or cannot be; names the tag, never a value.
    """
    first = slices[0]
    unit = str(first.get("Units", "")).upper()
    if unit == "GML":
        return 1.0, ""
    if unit == "CNTS":
        factor = _number(first.get((0x7053, 0x1000)))
        if factor is None or factor <= 0:
            raise Unusable("PET in counts without Philips' SUV factor (7053,1000): it cannot be converted to SUV")
        return factor, f"SUV = counts x {factor:.4g}, from the series' own factor"
    if unit != "BQML":
        raise Unusable(f"PET in '{unit or 'no unit'}' (Units): only BQML, GML and CNTS can be converted to SUV")
    weight, dose, half_life, injected = _injection(first)
    correction = str(first.get("DecayCorrection", "")).upper()
    if correction not in ("START", "ADMIN"):
        raise Unusable(
            f"PET with DecayCorrection '{correction or 'missing'}': only START and ADMIN can be converted to SUV"
        )
    waited = timedelta() if correction == "ADMIN" else _waited(slices, injected, half_life)
    factor = weight * 1000 / (dose * 2 ** (-waited.total_seconds() / half_life))
    return factor, f"SUV = Bq/ml x {factor:.4g}, from the series' own weight, dose and decay"


def _injection(first: Any) -> tuple[float, float, float, Any]:
    """Weight (kg), dose (Bq), half-life (s) and the item that says when it was injected."""
    items = first.get("RadiopharmaceuticalInformationSequence")
    if not items:
        raise Unusable("PET in Bq/ml without RadiopharmaceuticalInformationSequence: it cannot be converted to SUV")
    found = []
    for place, tag, low, high in (
        (first, "PatientWeight", 1.0, 500.0),
        (items[0], "RadionuclideTotalDose", 1e5, 1e11),
        (items[0], "RadionuclideHalfLife", 10.0, 1e7),
    ):
        value = _number(place.get(tag))
        if place.get(tag) is None:
            raise Unusable(f"PET in Bq/ml without {tag}: it cannot be converted to SUV")
        if value is None:
            raise Unusable(f"PET in Bq/ml whose {tag} is no number: it cannot be converted to SUV")
        if not low <= value <= high:
            raise Unusable(f"PET in Bq/ml whose {tag} is impossible: it cannot be converted to SUV")
        found.append(value)
    return found[0], found[1], found[2], items[0]


def _waited(slices: Sequence[Any], injection: Any, half_life: float) -> timedelta:
    """From injection to the start of the series, or of its first slice where that began before (a series written later).

    Of an injection without its date the time of day is believed for nuclides of hours: it was on the same day, or before
    midnight.
    """
    first = slices[0]
    begun = [_time(first.get("SeriesDate"), first.get("SeriesTime"))]
    begun += [_time(one.get("AcquisitionDate"), one.get("AcquisitionTime")) for one in slices]
    known = [time for time in begun if time is not None]
    if not known:
        raise Unusable("PET in Bq/ml without SeriesTime: it cannot be converted to SUV")
    start = min(known)
    dated = _stamp(injection.get("RadiopharmaceuticalStartDateTime"))
    injected = dated or _time(start.strftime("%Y%m%d"), injection.get("RadiopharmaceuticalStartTime"))
    if injected is None:
        raise Unusable("PET in Bq/ml without RadiopharmaceuticalStartTime: it cannot be converted to SUV")
    if dated is None and half_life > _LASTING:
        raise Unusable(
            "PET in Bq/ml of a long-lived nuclide without RadiopharmaceuticalStartDateTime: the day of the injection is not "
            "known, so it cannot be converted to SUV"
        )
    if dated is None and injected > start:
        injected -= _DAY
    longest = _LONGEST if dated is None else timedelta(seconds=_HALF_LIVES * half_life)
    if not timedelta() <= start - injected <= longest:
        raise Unusable(
            "PET in Bq/ml whose injection does not come shortly before its scan, by RadiopharmaceuticalStartTime and "
            "SeriesTime: it cannot be converted to SUV"
        )
    return start - injected


def _time(date: Any, time: Any) -> datetime | None:
    return _stamp(f"{date}{time}") if date and time else None


def _stamp(text: Any) -> datetime | None:
    """A DICOM date and time without its fraction and zone."""
    digits = str(text or "").split(".")[0].split("+")[0].split("-")[0]
    try:
        return datetime.strptime(digits.ljust(14, "0"), "%Y%m%d%H%M%S") if len(digits) >= 10 else None
    except ValueError:
        return None


def _number(value: Any) -> float | None:
    try:
        return float(getattr(value, "value", value))
    except (TypeError, ValueError):
        return None
