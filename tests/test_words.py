"""How numbers and mixtures are written wherever people read them."""

import pytest

from mixlang.names import published_budgets
from mixlang.rivals import defined, same
from mixlang.words import between, cell, certainty, fitted_to, gain_in_words, heading, objective_in_words, signed


def test_changes_are_signed_and_never_a_negative_zero():
    assert [signed(part) for part in (-0.0004, 0.0, 0.0004, -0.0012, 0.25)] == [
        "+0.0%",
        "+0.0%",
        "+0.0%",
        "-0.1%",
        "+25.0%",
    ]
    assert between(-0.0001, 0.031) == "+0.0% to +3.1%"


@pytest.mark.parametrize(
    ("low", "high", "seeds", "sure", "shown"),
    [
        (-0.03, 0.01, 3, "95 % interval -3.0% to +1.0% over 3 seeds", "-1.0% (-3.0% to +1.0%)"),
        (None, None, 1, "one seed", "-1.0% (one seed)"),
        (-1.2, 1.18, 2, "95 % interval wider than ±100 % over 2 seeds", "-1.0% (wider than ±100 %)"),
    ],
)
def test_how_sure_a_change_is(low, high, seeds, sure, shown):
    change = {"mean": -0.01, "low": low, "high": high, "seeds": seeds}
    assert (certainty(change), cell(change)) == (sure, shown)


def test_shares_are_to_be_trained_on_unless_no_gain_is_shown():
    assert heading(2000, "samples", []) == "train on these shares of 2,000 samples, the published shares"
    none = [{"about": "gain", "finding": "none", "says": "No gain."}]
    assert "train on" not in heading(2000, "samples", none)
    assert gain_in_words(none) == ["No gain."]


def test_how_far_the_target_is_beyond_the_runs():
    assert fitted_to([320, 960], 960) == "laws fitted to 2 probe runs of 320 to 960 samples"
    assert fitted_to([320, 960], 6000).endswith("extrapolated to 6.25 times the largest")


def test_the_objective_is_told_with_its_weights_and_reference():
    measure = {"minimize": "weighted_loss", "weights": {"ct": 1 / 6, "mri": 5 / 6}}
    says = objective_in_words(measure, "proportional")
    assert "objective (weighted_loss): the weighted mean of the relative losses, weights ct 16.7 %, mri 83.3 %" in says
    assert "proportional sampling at the same budget, whose predicted objective is therefore 1" in says
    equal = objective_in_words({"minimize": "worst_case", "weights": {"ct": 0.5, "mri": 0.5}}, "specialist")
    assert "the largest of the relative losses with a weight, equal weights" in equal
    assert "all of the budget is on that domain" in equal


def test_rivals_are_defined_and_equal_ones_told():
    says = defined(["unimax", "nearest to proportional", "habit", "proportional"])
    assert [text.partition(":")[0] for text in says] == ["proportional", "nearest to proportional", "unimax"]
    half = {"ct": 0.5, "mri": 0.5}
    mixtures = {"uniform": half, "unimax": half, "proportional": {"ct": 0.7, "mri": 0.3}}
    assert same(mixtures) == ["unimax is the same mixture as uniform here"]


def test_where_the_published_shares_are_trained():
    assert published_budgets("largest", [1280, 1600, 640]) == [1600]
    assert published_budgets("all", [1280, 640]) == [1280, 640]
    assert published_budgets("none", [1280]) == []
    assert published_budgets("largest", []) == []
