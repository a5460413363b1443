"""The documents between stages: read as their forms say, or refused with the place."""

import json

import pytest

from mixlang.documents import FORMS, read
from mixlang.errors import InputError
from mixlang.plan.stages import RESULTS, STAGES


def test_every_document_of_a_finished_study_has_its_form(finished):
    for name in FORMS:
        assert read(finished / "build" / "small", name) == json.loads((finished / "build" / "small" / name).read_text())


def test_every_stage_result_has_a_form_or_a_reader_of_its_own():
    own = {"plan.json", "statistics.json", "fit.json", "report.html", "metrics.json", "curves.csv", "heldout.csv"}
    assert set(RESULTS) - own == set(FORMS)
    assert {f"settings/{name}.json" for name, stage in STAGES.items() if stage.settings} <= set(FORMS)


@pytest.mark.parametrize(
    ("name", "change", "words"),
    [
        ("allocation.json", lambda value: value["target"].pop("shares"), "target.shares: field required"),
        ("verification.json", lambda value: value["runs"][0].update(seed="one"), "runs.0.seed: input should be"),
        ("settings/allocate.json", lambda value: value.update(target=None), "target: input should be"),
        ("downstream.json", lambda value: value.pop("sentences"), "sentences: field required"),
        ("runs.json", lambda value: value["runs"][2]["losses"].update(ct=None), "runs.2.losses.ct: input should be"),
    ],
)
def test_a_document_of_another_form_is_refused_at_its_place(copied, name, change, words):
    build = copied / "build" / "small"
    value = json.loads((build / name).read_text())
    change(value)
    (build / name).write_text(json.dumps(value))
    with pytest.raises(InputError) as refused:
        read(build, name)
    assert words in str(refused.value)
    assert str(build / name) in str(refused.value)
    assert "mixlang run" in refused.value.hint


def test_a_document_that_is_missing_or_damaged_is_named(copied):
    build = copied / "build" / "small"
    (build / "runs.json").write_text("{")
    (build / "published.json").unlink()
    for name in ("runs.json", "published.json"):
        with pytest.raises(InputError, match=name):
            read(build, name)
