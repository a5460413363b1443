"""What looks like a scan, and texts as people and their tools leave them: blanks, Unicode forms, other bytes."""

from __future__ import annotations

import re
import unicodedata
from pathlib import Path, PurePath

SCAN_ENDINGS = (".nii", ".nii.gz", ".img", ".hdr")
"""How the names of scans end, in any case; what they are is told by their content."""

_NEVER = (".json", ".tsv", ".csv", ".txt", ".md", ".bval", ".bvec", ".xml", ".html", ".pdf", ".log", ".yaml", ".yml")
_NEVER_NAMES = ("thumbs.db", "desktop.ini")
_NEVER_FOLDERS = ("__macosx", "@eadir")


def ending_of(name: str) -> str:
    """How a scan's name ends, small: .nii, .nii.gz, .img or .hdr; '' for other names."""
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


def clean(text: str) -> str:
    """A name as it is compared: Unicode in composed form (NFC), no blanks at its ends, single ones inside; bytes that
    are no UTF-8 as `\\xNN`."""
    return re.sub(r"\s+", " ", unicodedata.normalize("NFC", portable_text(text))).strip()


def portable_text(text: str) -> str:
    """A file name that can be written as UTF-8; `Locations.expand` undoes it."""
    return re.sub("[\udc80-\udcff]", lambda match: f"\\x{ord(match[0]) - 0xDC00:02x}", text)


def same_person(subject: str) -> str:
    """What subjects have in common that differ only by case, blanks, leading zeros or the prefix `sub-`."""
    plain = re.sub(r"[\s_]+", "", subject.casefold())
    plain = re.sub(r"(?<=[^\W\d])-(?=\d)", "", plain.removeprefix("sub-").removeprefix("sub"))
    return re.sub(r"\d+", lambda match: str(int(match[0])), plain) or subject


def existing(folder: Path, text: str) -> str:
    """A relative path as a table writes it, in the form in which the file is there: as written, without blanks at its
    ends, or in another Unicode form (macOS writes decomposed letters). Without blanks where no form is there."""
    bare = text.strip()
    forms = (text, bare, unicodedata.normalize("NFC", bare), unicodedata.normalize("NFD", bare))
    return next((form for form in forms if (folder / form).exists()), bare)


def stem_of(path: PurePath) -> str:
    """A file's name up to its first dot, or without the ending of a scan where that leaves nothing."""
    return path.name.split(".")[0] or path.name
