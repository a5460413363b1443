"""What names tell: modalities, label maps and subjects, and the pattern that finds some files and no others."""

from __future__ import annotations

import glob
import re
from collections.abc import Iterable
from pathlib import Path

from mixlang.spec.locations import Locations
from runners.data.endings import ending_of

_TOKENS = {
    "ct": ("ct", "cta", "cect", "ncct", "ldct", "cbct", "hu"),
    "mri": ("mri", "mr", "t1", "t1w", "t1c", "t1ce", "t1gd", "t2", "t2w", "t2f", "flair", "dwi", "adc", "swi", "pdw"),
    "pet": ("pet", "pt", "suv", "fdg", "psma", "fluorodeoxyglucose"),
}
"""Words of names and columns by which a modality is known."""

_ALL_TOKENS = {token for tokens in _TOKENS.values() for token in tokens}

_LABEL_WORDS = ("label", "labels", "seg", "segm", "segmentation", "mask", "masks", "gt", "groundtruth", "roi", "rois")
_LABEL_WORDS += ("lesion", "lesions", "tumor", "tumour", "tumors", "organs", "annotation", "dseg")
"""Last words of the names of label maps."""


def modality_of(words: Iterable[str]) -> str:
    """The modality that names speak of: the last word that tells wins, '' where none does or one name tells two."""
    found = ""
    for text in words:
        parts = set(
            re.split(r"[^a-z0-9]+", re.sub(r"\.(nii(\.gz)?|img|hdr|mgz|mgh|nrrd|nhdr|mha|mhd)$", "", text.lower()))
        )
        told = {modality for modality, tokens in _TOKENS.items() if parts & set(tokens)}
        if len(told) == 1:
            (found,) = told
        elif len(told) > 1:
            found = ""
    return found


def label_patterns(files: list[Path]) -> list[str]:
    """Patterns of the label maps among files, by the last word of their names."""
    patterns = set()
    for path in files:
        match = re.fullmatch(r"(?:.*[^A-Za-z0-9])?([A-Za-z]+)\.nii(\.gz)?", path.name, re.DOTALL)
        if match and match[1].lower() in _LABEL_WORDS:
            whole = path.name == f"{match[1]}.nii{match[2] or ''}"
            patterns.add(f"{match[1]}.nii*" if whole else f"*{path.name[match.start(1) - 1]}{match[1]}.nii*")
    return sorted(patterns)


def glob_for(root: Path, members: list[Path], files: list[Path]) -> str | None:
    """The simplest glob below `root` that finds `members` among `files` and nothing else."""
    wanted, among = set(members), set(files)
    locations = Locations(root, {})
    ends = {ending_of(path.name) for path in members}
    end = f"*{ends.pop()}" if len(ends) == 1 else "*.nii*" if ends <= {".nii", ".nii.gz"} else "*"
    tops = {path.relative_to(root).parts[0] for path in members if path.parent != root}
    candidates = [end, f"**/{end}"]
    if len(tops) == 1 and not any(path.parent == root for path in members):
        (top,) = (top if _literal(root, top) else glob.escape(top) for top in tops)
        candidates += [f"{top}/{end}", f"{top}/**/{end}"]
    names = [path.name.split(".")[0] for path in members]
    words = {word for word in re.split(r"[^A-Za-z0-9]+", names[0]) if word and all(word in name for name in names)}
    for word in sorted(words, key=lambda word: (word.lower() not in _ALL_TOKENS, -len(word), word)):
        candidates += [
            f"**/*{before}{word}{after}{end}" for before in ("_", "-", " ", "") for after in ("", "_", "-", " ")
        ]
        candidates += [f"**/*{before}{word}{end[1:]}" for before in ("_", "-", " ", "")]
        candidates += [f"**/{word}{after}{end}" for after in ("_", "-", " ")]
    begin = names[0]
    while not all(name.startswith(begin) for name in names):
        begin = begin[:-1]
    begin = begin.rstrip("0123456789")
    candidates += [f"**/{glob.escape(begin)}{end}"] if begin else []
    for pattern in candidates:
        if {path for path in locations.matches(pattern) if path in among} == wanted:
            return pattern
    return None


def _literal(root: Path, name: str) -> bool:
    """Whether a source takes a folder's name letter for letter; see `Locations.pattern`."""
    return not set("*?") & set(name) and (root / name).exists()


def subject_pattern(root: Path, members: list[Path]) -> str | None:
    """A pattern whose group is the subject: `sub-...`, a folder a subject, or what stands before the first `_`."""
    names = [path.relative_to(root).as_posix() for path in members]
    bids = r"(sub-[A-Za-z0-9]+)"
    if all(re.search(bids, name) for name in names):
        return bids
    folders = {path.parent for path in members}
    if len(folders) > 2 and len(folders) * 4 >= len(members) and len({path.name for path in members}) < len(members):
        return r"([^/]+)/[^/]+$"
    if all("_" in path.name for path in members):
        return r"([^/_]+)_[^/]*$"
    return None


def domain_name(text: str) -> str:
    """A domain's name from any text."""
    name = re.sub(r"[^A-Za-z0-9]+", "_", text).strip("_").lower()[:63]
    return name if name[:1].isalpha() else f"d_{name}".rstrip("_")
