"""Reading FreeSurfer's .mgz and .mgh files, by nibabel."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from runners.data.ras import Scan, in_ras, ras_shape, refuse_grid, single_volume
from runners.data.unusable import Unusable, faults


def read_mgh(path: Path) -> Scan:
    """Read a volume; values as stored.

    Raises:
        Unusable: unreadable, damaged, not a single volume, or without an orientation.
    """
    with faults():
        image, shape, affine = _opened(path)
        stored = np.asanyarray(image.dataobj).reshape(shape)
    return in_ras(stored, affine)


def mgh_grid(path: Path) -> tuple[tuple[int, ...], NDArray[np.float64]]:
    """Shape and affine that `read_mgh` gives a file, from the header alone.

    Raises:
        Unusable: as `read_mgh`.
    """
    with faults():
        _, shape, affine = _opened(path)
    return ras_shape(shape, affine)


def _opened(path: Path) -> tuple[Any, tuple[int, ...], NDArray[np.float64]]:
    import nibabel

    if path.stat().st_size == 0:
        raise Unusable("not an MGH file: it is empty")
    try:
        image = nibabel.MGHImage.from_filename(path)
    except nibabel.filebasedimages.ImageFileError as error:
        raise Unusable(f"not an MGH file ({str(error)[:80]})") from None
    shape = single_volume(tuple(image.shape))
    if not int(image.header["goodRASFlag"]):
        raise Unusable("its header gives no orientation (goodRASFlag is 0)")
    affine = np.asarray(image.affine, np.float64)
    refuse_grid(affine)
    return image, shape, affine
