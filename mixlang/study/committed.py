"""What git has to keep of a workspace, byte for byte: results, versions, specs and the pipeline.

Two settings of a user, outside the workspace, can spoil that. core.autocrlf gives a clone other line ends, so that no
hash holds; an ignore file with `build/` or `*.csv` silently leaves results out of the commit.
"""

from __future__ import annotations

import hashlib
import subprocess
from collections.abc import Iterable
from pathlib import Path

from mixlang.files import write_bytes, write_text
from mixlang.plan.stages import RESULTS
from mixlang.study.workspace import Study, Workspace

_PLACES = ("build", "registry", "specs", "dvc.yaml", "dvc.lock")

_ATTRIBUTES = (
    "# hashed by mixlang and DVC: git leaves the line ends as they are, whatever core.autocrlf says\n"
    + "".join(f"/{place} -text\n" if "." in place else f"/{place}/** -text\n" for place in _PLACES)
)

IGNORE = """\
# made here, never committed
.mixlang/
mixlang.local.yaml
# committed, whatever a user's own ignore files say
!/build/
!/build/**
!/registry/
!/registry/**
!/specs/
!/specs/*.yaml
!/specs/*.json
!/specs/bases/
!/specs/bases/**
!/dvc.yaml
!/dvc.lock
*.tmp
"""

_VERSION = ("mixture.yaml", "laws.json", "losses.csv", "plan.json", "verification.json", "report.html", "MANIFEST")
"""Some files of a version, one of each kind."""


def keep_line_ends(workspace: Workspace) -> list[str]:
    """Write .gitattributes where it is missing, and give committed files back the bytes that were committed.

    Only files whose line ends alone differ from the commit are touched.

    Returns:
        What was done, in lines for people.
    """
    root, done = workspace.root, []
    path = root / ".gitattributes"
    before = path.read_text(encoding="utf-8") if path.exists() else ""
    missing = [line for line in _ATTRIBUTES.splitlines(keepends=True) if line not in before.splitlines(keepends=True)]
    restored = _restore(root)
    if missing and _git(root, "rev-parse", "--is-inside-work-tree") is not None:
        gap = "" if not before or before.endswith("\n") else "\n"
        write_text(path, before + gap + "".join(missing))
        done.append(f"{path.name} now keeps the line ends of results, specs and versions; commit it")
    if restored:  # git compares sizes with those of its checkout until it has looked at the files again
        _git(root, "update-index", "-z", "--stdin", given="".join(f"{name}\0" for name in restored).encode())
        done.append(
            f"git had changed the line ends of {len(restored)} files (core.autocrlf), {restored[0]} among them; they are "
            "as committed again"
        )
    return done


def _restore(root: Path) -> list[str]:
    listed = _git(root, "ls-files", "-z", "--stage", "--", *_PLACES)
    restored = []
    for entry in (listed or b"").split(b"\0"):
        facts, _, name = entry.partition(b"\t")
        path = root / name.decode(errors="surrogateescape")
        if not name or path.is_symlink() or not path.is_file():
            continue
        data = path.read_bytes()
        if b"\r\n" not in data:
            continue
        plain = data.replace(b"\r\n", b"\n")
        if _blob(plain, facts.split()[1].decode()):
            write_bytes(path, plain)
            restored.append(path.relative_to(root).as_posix())
    return restored


def _blob(data: bytes, name: str) -> bool:
    """Whether data are the git object of a name."""
    method = hashlib.sha1 if len(name) == 40 else hashlib.sha256
    return method(b"blob %d\0" % len(data) + data).hexdigest() == name


def left_out(workspace: Workspace, studies: Iterable[Study]) -> list[str]:
    """Warnings of what git ignores although it has to be committed: one for each pattern, with its place and the fix."""
    root = workspace.root
    paths = ["dvc.yaml", "dvc.lock", "registry/README.md"]
    for study in studies:
        names = {"data.json", "overrides.json", *RESULTS}
        paths += [study.spec.relative_to(root).as_posix(), *(f"build/{study.item}/{name}" for name in sorted(names))]
        paths += [f"registry/{study.item}/v1/{name}" for name in _VERSION]
    asked = "".join(f"{path}\0" for path in paths)
    said = _git(root, "check-ignore", "--verbose", "-z", "--stdin", given=asked.encode())
    fields = (said or b"").decode(errors="replace").split("\0")
    found: dict[tuple[str, str, str], list[str]] = {}
    for at in range(0, len(fields) - 3, 4):
        source, line, pattern, path = fields[at : at + 4]
        if not pattern.startswith("!"):
            found.setdefault((source, line, pattern), []).append(path)
    return [_warning(root, *place, paths) for place, paths in found.items()]


def _warning(root: Path, source: str, line: str, pattern: str, paths: list[str]) -> str:
    folders = list(dict.fromkeys(path.split("/")[0] for path in paths))
    fixes = [f"!/{name}" if "." in name else f"!/{name}/ and !/{name}/**" for name in folders]
    shown = ", ".join(paths[:2]) + (f" and {len(paths) - 2} more" if len(paths) > 2 else "")
    return (
        f"warning: git ignores {shown}, because of '{pattern}' ({source}:{line}): these stay out of your commits, and a "
        f"clone would train everything again\n   help: add to {root / '.gitignore'}: {', '.join(fixes)}"
    )


def _git(root: Path, *command: str, given: bytes = b"") -> bytes | None:
    """What a git command prints; None where it fails, as outside a repository."""
    try:
        done = subprocess.run(["git", *command], cwd=root, input=given, capture_output=True, check=False)
    except OSError:
        return None
    return done.stdout if done.returncode == 0 else None
