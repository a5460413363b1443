"""Every command and every snippet of README and docs/ is executed, in the order of its page.

What would take long is shrunk and nothing else: after `mixlang init` the starting spec is replaced by the small one, and
`make` runs with `-n`. Names stand for others: `ct-mri-pet` and `study` for the small study, paths below /data for real ones.
docs/checkpoints.md is executed by tests/test_checkpoints.py.
"""

import csv
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from conftest import ROOT, SMALL_SPEC, dvc, mixlang
from driving import git
from test_docs import FLAGS
from worlds import NAMES, design, truth

from runners.data.phantom import Recipe, write_phantom

PAGES = sorted(["README.md", *(f"docs/{path.name}" for path in (ROOT / "docs").glob("*.md"))])
BLOCK = re.compile(r"(<!-- elsewhere -->\n)?^( *)```(\w*)\n(.*?)^ *```$", re.M | re.S)
LANGUAGES = {"sh", "python", "yaml", "text"}

FAST = (
    SMALL_SPEC.replace("seeds: 2}", "seeds: 1}")
    + "law: {family: transfer, draws: 20}\nobjective: {decide: best_guess}\n"
)
FOUND = FAST.replace("name: small", "name: study")
for _name, _count in (("ct", "12, seed: 1"), ("mri", "8, seed: 2")):
    FOUND = FOUND.replace(
        f"{{phantom: {{count: {_count}, shape: [24, 24, 24]}}}}", f'{{nifti: "${{data_root}}/{_name}/*.nii.gz"}}'
    )
QUICK = FAST.replace("name: small", "name: quickstart").replace("mri", "pet")

WRAPPED = r"""
set -euo pipefail
make() { command make -n "$@"; }
mixlang() {
  command mixlang "$@"
  if [ "$1" = init ]; then
    cp "$TABLES"/* "$2"/
    for spec in "$2"/specs/*.yaml; do cp "$SHRUNK/$(basename "$spec")" "$spec"; done
  fi
}
"""


def blocks(page, *languages):
    """(executed elsewhere, language, text) of the fenced blocks of a page."""
    found = BLOCK.findall((ROOT / page).read_text())
    return [(bool(apart), kind, text) for apart, _, kind, text in found if not languages or kind in languages]


@pytest.mark.parametrize("page", PAGES)
def test_every_block_says_what_it_is(page):
    text = (ROOT / page).read_text()
    assert 2 * len(blocks(page)) == len(re.findall(r"^ *```", text, re.M))
    assert {kind for _, kind, _ in blocks(page)} <= LANGUAGES


@pytest.fixture(scope="module")
def around(tmp_path_factory):
    """What the pages take for granted: scans, tables of results, and the specs that stand in for long ones."""
    root = tmp_path_factory.mktemp("around")
    for modality, count in (("ct", 12), ("mri", 8)):
        (root / "scans" / modality).mkdir(parents=True)
        for number in range(count):
            recipe = Recipe(modality, (24, 24, 24), (1.0, 1.0, 1.0), 1, number)
            image, _ = write_phantom(recipe, root / "made")
            shutil.copy(image, root / "scans" / modality / f"sub-{number:02}_{modality}.nii.gz")
    shrunk, tables = root / "shrunk", root / "tables"
    shrunk.mkdir()
    tables.mkdir()
    (shrunk / "study.yaml").write_text(FOUND)
    (shrunk / "quickstart.yaml").write_text(QUICK)
    _tables(tables)
    with (tables / "items.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["path", "domain"])
        writer.writerows([path, path.parent.name] for path in sorted((root / "scans").rglob("*.nii.gz")))
    return root


def _tables(folder):
    points = 250 * design()  # up to a million tokens
    with (folder / "mixtures.csv").open("w", newline="") as one, (folder / "losses.csv").open("w", newline="") as two:
        mixtures, losses = csv.writer(one), csv.writer(two)
        mixtures.writerow(["run", "tokens", "seed", *NAMES])
        losses.writerow(["run", *NAMES, "lesion_error"])
        rng = np.random.default_rng(3)
        for number, amounts in enumerate(points):
            for seed in range(2):
                row = truth(amounts[None], 1e6)[0] * np.exp(0.01 * rng.standard_normal(3))
                mixtures.writerow([f"r{number}-{seed}", amounts.sum(), seed, *(amounts / amounts.sum())])
                losses.writerow([f"r{number}-{seed}", *row, row.mean()])
    (folder / "new.csv").write_text("run,tokens,seed,ct,mri,pet\na,1000000,0,0.2,0.3,0.5\n")
    (folder / "available.csv").write_text("domain,amount\nct,600000\nmri,300000\npet,200000\n")


@pytest.fixture(scope="module")
def published(finished, tmp_path_factory):
    """A workspace with small@v1 and small@v2, committed."""
    root = tmp_path_factory.mktemp("published") / "ws"
    shutil.copytree(finished, root, symlinks=True)
    mixlang("run", "specs/small.yaml", "--set", "constraints.share.mri.min=0.6", cwd=root)
    git("add", "-A", cwd=root)
    git("-c", "user.name=t", "-c", "user.email=t@t", "commit", "-qm", "two", cwd=root)
    return root


class Page:
    """One page being followed: its shell blocks, and its Python after them."""

    def __init__(self, page, root, around, names):
        self.page, self.root, self.around = page, root, around
        self.names = {"/data/scans": str(around / "scans"), "/data/store": str(root.parent / "store"), **names}
        for table in (around / "tables").iterdir():
            shutil.copy(table, root)
        self.env = {
            **os.environ,
            "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]),
            "TABLES": str(around / "tables"),
            "SHRUNK": str(around / "shrunk"),
            "DVC_NO_ANALYTICS": "1",
            **{f"GIT_{role}_{what}": "t@t" for role in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")},
        }

    def follow(self):
        """Execute it all; returns what the shell blocks said."""
        here = "".join(text for apart, _, text in blocks(self.page, "sh") if not apart)
        said = self._shell(here + '\npwd > "$TABLES/../where"', self.root)
        there = "".join(text for apart, _, text in blocks(self.page, "sh") if apart)
        if there:
            elsewhere = self.root.parent / "elsewhere"
            elsewhere.mkdir()
            git("init", "-q", cwd=elsewhere)
            dvc("init", "-q", cwd=elsewhere)
            said += self._shell(there, elsewhere)
        program = "".join(text for _, _, text in blocks(self.page, "python"))
        where = Path((self.around / "where").read_text().strip())
        self._run([sys.executable, "-c", self._renamed(program)], where)
        return said

    def _shell(self, script, where):
        return self._run(["bash", "-c", WRAPPED + self._renamed(script)], where)

    def _renamed(self, text):
        for name, other in self.names.items():
            text = text.replace(name, other)
        return text

    def _run(self, command, where):
        done = subprocess.run(
            command, cwd=where, env=self.env, capture_output=True, text=True, check=False, timeout=500
        )
        assert done.returncode == 0, f"{self.page}: {done.stdout[-3000:]}\n{done.stderr[-3000:]}"
        return done.stdout


@pytest.mark.long
def test_the_readme(around, tmp_path):
    (tmp_path / "start").mkdir()
    shutil.copy(ROOT / "Makefile", tmp_path / "start")
    for name in ("requirements.lock", "pyproject.toml"):
        (tmp_path / "start" / name).touch()
    said = Page("README.md", tmp_path / "start", around, {}).follow()
    assert re.search(r"study@v1: (train on these shares of|the published shares, solved for) 2,000", said)
    assert "as published" in said


@pytest.mark.long
def test_the_quickstart(around, tmp_path):
    (tmp_path / "start").mkdir()
    shutil.copy(ROOT / "Makefile", tmp_path / "start")
    for name in ("requirements.lock", "pyproject.toml"):
        (tmp_path / "start" / name).touch()
    said = Page("docs/quickstart.md", tmp_path / "start", around, {}).follow()
    assert "from quickstart@v1 to quickstart@v2" in said


@pytest.mark.long
def test_the_registry_guide(published, around, tmp_path):
    root = tmp_path / "ws"
    shutil.copytree(published, root, symlinks=True)
    said = Page("docs/registry.md", root, around, {"ct-mri-pet": "small", "/data/studies": str(root)}).follow()
    assert "16 runs trained again: 16 with the same losses to the bit" in said
    assert "small@stable is small@v2" in said


def test_how_to_read_a_mixture(published, around, tmp_path):
    root = tmp_path / "ws"
    shutil.copytree(published, root, symlinks=True)
    said = Page("docs/reading.md", root, around, {"ct-mri-pet": "small"}).follow()
    assert "change of the objective from others to the published shares" in " ".join(said.split())


@pytest.mark.long
def test_the_guide_to_a_cluster(around, tmp_path):
    root = tmp_path / "ws"
    mixlang("init", str(root), cwd=tmp_path)
    (root / "specs" / "study.yaml").write_text(FAST)
    (root / "specs" / "large.yaml").write_text(FAST.replace("name: small", "name: large").replace("seed: 1", "seed: 5"))
    said = Page("docs/cluster.md", root, around, {}).follow()
    assert "10 of 10 probe runs done" in said
    assert re.search(r"large@v1: (train on these shares|the published shares)", said)
    trained = len(list((tmp_path / "store" / "runs").glob("*/*/result.json")))
    assert trained in (12, 13)  # 10 probe runs, 3 held-out ones, of which the two solved for may be one


def test_own_results(around, tmp_path):
    (tmp_path / "start").mkdir()
    Page("docs/own-results.md", tmp_path / "start", around, {}).follow()
    assert (tmp_path / "start" / "mixture.json").is_file()


def test_the_contact_sheet(published, around, tmp_path):
    root = tmp_path / "ws"
    shutil.copytree(published, root, symlinks=True)
    names = {"specs/SPEC.yaml": "specs/small.yaml", "FOLDER": "sheets", "benchmarks/": f"{ROOT}/benchmarks/"}
    Page("docs/data.md", root, around, names).follow()
    assert list((root / "sheets").iterdir())


def test_every_page_with_commands_is_followed_by_a_test():
    followed = set(re.findall(r'Page\("([\w./-]+)"', Path(__file__).read_text()))
    assert {page for page in PAGES if blocks(page, "sh")} == followed
    python = {page for page in PAGES if blocks(page, "python")}
    assert python <= {*followed, "docs/checkpoints.md"}


def spoken():
    """Commands that stand inside sentences."""
    for page in PAGES:
        text = re.sub(r"```.*?```", "", (ROOT / page).read_text(), flags=re.S)
        for code in re.findall(r"`([^`]+)`", text):
            words = re.sub(r"\s+", " ", code).split(" ")
            if words[0] in ("mixlang", "make") or words[:2] == ["python", words[1] if words[1:] else ""]:
                yield page, words


def test_commands_inside_sentences_name_what_there_is():
    """They are not executed: some take hours. What they name exists: commands, flags, scripts, targets."""
    seen = 0
    for page, words in spoken():
        flags = {word.split("=")[0] for word in words if re.match(r"--[a-z]", word.strip("["))}
        if words[0] == "mixlang" and words[1:] and not words[1].startswith("-"):
            name = " ".join(words[1:3]) if words[1] == "registry" else words[1]
            known = FLAGS.get(name, set()) if name in FLAGS else set().union(*FLAGS.values())
            assert name in FLAGS or name in ("registry",), (page, words)
            assert {flag.strip("[]") for flag in flags} <= {*known, "--help"}, (page, words)
        elif words[0] == "make":
            assert re.search(rf"^{words[1]}:", (ROOT / "Makefile").read_text(), re.M), (page, words)
        elif words[0] == "python" and words[1].startswith("benchmarks/"):
            source = (ROOT / words[1]).read_text()
            assert all(f'"{flag}"' in source for flag in flags), (page, words)
        seen += 1
    assert seen > 30
