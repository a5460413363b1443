"""No broken spec gives a traceback: each is answered with diagnostics at real places, soon and in little memory.

MIXLANG_FUZZ=20000 breaks more of them; benchmarks/spec_fuzz.py also watches time and memory.
"""

import os

import pytest
from conftest import ROOT, SMALL_SPEC
from mutations import mutated

from mixlang.spec import SpecError, load_spec

COUNT = int(os.environ.get("MIXLANG_FUZZ", "1500"))
TEXTS = {"small": SMALL_SPEC, "realpack": (ROOT / "specs" / "realpack.yaml").read_text()}


def refusal(path, **options):
    """The diagnostics of a spec that does not compile; none for one that does."""
    try:
        load_spec(path, **options)
    except SpecError as error:
        return error.diagnostics
    return []


@pytest.mark.parametrize("name", TEXTS)
@pytest.mark.parametrize("part", range(4))
def test_a_broken_spec_is_answered_with_diagnostics(tmp_path, name, part):
    path = tmp_path / "spec.yaml"
    refused = 0
    for seed in range(part, COUNT // len(TEXTS), 4):
        data = mutated(seed, TEXTS[name])
        path.write_bytes(data)
        found = refusal(path)
        refused += bool(found)
        lines = data.count(b"\n") + data.count(b"\r") + data.count(b"\x85") + data.count(b"\xa8") + 2
        for item in found:
            assert item.position.file == str(path), seed
            assert 1 <= item.position.line <= lines, (seed, item.render())
            assert item.position.column >= 1, seed
            assert item.render(), seed
            assert item.as_github().count("\n") == 0, seed
    assert refused > COUNT // len(TEXTS) // 8  # most of what is broken is refused; some edits are harmless


def test_overrides_cannot_break_it_either(tmp_path):
    path = tmp_path / "spec.yaml"
    path.write_text(SMALL_SPEC)
    for seed in range(200):
        text = mutated(seed, "budgets.target=20k").decode("utf-8", "replace")[:2000]
        assert all(item.position.line >= 1 for item in refusal(path, overrides=[text])), seed
