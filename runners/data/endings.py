"""What looks like a scan by its name, and what never is one."""

from __future__ import annotations

from pathlib import Path

MGH_ENDINGS = (".mgh", ".mgz")
ITK_ENDINGS = (".nrrd", ".nhdr", ".mha", ".mhd")
SCAN_ENDINGS = (".nii", ".nii.gz", ".img", ".hdr", *MGH_ENDINGS, *ITK_ENDINGS)
"""How the names of scans end, in any case; what they are is told by their content."""

_NEVER = (".json", ".tsv", ".csv", ".txt", ".md", ".bval", ".bvec", ".xml", ".html", ".pdf", ".log", ".yaml", ".yml")
_NEVER_NAMES = ("thumbs.db", "desktop.ini")
_NEVER_FOLDERS = ("__macosx", "@eadir")


def ending_of(name: str) -> str:
    """How a scan's name ends, small, such as .nii.gz; '' for other names."""
    return next((ending for ending in reversed(SCAN_ENDINGS) if name.lower().endswith(ending)), "")


def looks_like_a_scan(path: Path) -> bool:
    """Whether a file's name is that of a scan; of a pair of .hdr and .img, the .img is the scan."""
    return bool(ending_of(path.name)) and not never_a_scan(path)


def never_a_scan(path: Path) -> bool:
    """What systems and tools leave beside scans, and every source ignores alike.

    Hidden files (`._scan.nii.gz` and `.DS_Store` of macOS), thumbnails, tables, notes and sidecars, and the .hdr of a
    pair, which is read with its .img.
    """
    name = path.name.lower()
    if name.startswith(".") or name in _NEVER_NAMES or name.endswith(_NEVER):
        return True
    if any(part.lower() in _NEVER_FOLDERS for part in path.parts[:-1]):
        return True
    return name.endswith(".hdr") and any(path.with_suffix(end).is_file() for end in (".img", ".IMG"))
