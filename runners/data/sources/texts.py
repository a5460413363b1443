"""Texts as people and their tools leave them: blanks, Unicode forms, other bytes."""

from __future__ import annotations

import re
import unicodedata
from pathlib import Path, PurePath


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
