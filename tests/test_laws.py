"""Laws against independent answers: numeric derivatives, another optimiser, known truth."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import approx_fprime, least_squares
from worlds import NAMES, rows, table, theta_of, truth

from mixlang.errors import InputError
from mixlang.files import write_json
from mixlang.laws import FAMILIES, FittedLaw, Law, LossTable, fit_laws, read_fit
from mixlang.laws.levenberg import _cost
from mixlang.laws.regression import Regression
from mixlang.laws.stack import exchange
from mixlang.spec.schema import Law as LawSection

EVERY = pytest.mark.parametrize("family", FAMILIES.values(), ids=lambda family: family.name)
OWN = pytest.mark.parametrize("own", [1, None], ids=["own", "anonymous"])


def test_the_language_names_the_same_laws():
    named = LawSection.model_fields["family"].annotation.__args__
    assert set(named) == {"stacked", "auto", *FAMILIES}


@EVERY
@OWN
@pytest.mark.parametrize("seed", range(3))
def test_analytic_derivatives_agree_with_numeric_ones(family, own, seed):
    law = Law(family, own=own, count=3)
    theta = theta_of(law, seed)
    amounts = np.random.default_rng(seed).uniform(0.05, 1, (4, 3))
    for row in range(4):
        one = amounts[row : row + 1]
        by_theta = approx_fprime(theta, lambda t, one=one: law.predict(t, one)[0], 1e-7)
        np.testing.assert_allclose(law.jacobian(theta, one)[0], by_theta, rtol=3e-4, atol=1e-6)
        by_amount = approx_fprime(one[0], lambda m: law.predict(theta, m[None])[0], 1e-7)
        np.testing.assert_allclose(law.gradient(theta, one)[0], by_amount, rtol=3e-4, atol=1e-6)


@EVERY
@OWN
def test_curvature_agrees_with_differences_of_the_gradient_at_a_fixed_total(family, own):
    law = Law(family, own=own, count=4)
    theta = theta_of(law, 7)
    rng = np.random.default_rng(7)
    amounts, way = rng.uniform(0.1, 1, 4), rng.normal(size=4)
    way -= way.mean()
    loss, gradient, hessian = law.curvature(theta, amounts)
    step = 1e-4
    ahead, behind = (law.gradient(theta, (amounts + side * step * way)[None])[0] @ way for side in (1, -1))
    assert loss == pytest.approx(law.predict(theta, amounts[None])[0])
    assert gradient @ way == pytest.approx(law.gradient(theta, amounts[None])[0] @ way, rel=1e-9)
    assert way @ hessian @ way == pytest.approx((ahead - behind) / (2 * step), rel=1e-4, abs=1e-8)


@EVERY
def test_many_parameters_at_once_give_what_each_gives_alone(family):
    law = Law(family, own=0, count=3)
    thetas = np.stack([theta_of(law, seed) for seed in range(5)])
    amounts = np.random.default_rng(0).uniform(0, 1, (6, 3))
    for name in ("predict", "jacobian", "gradient"):
        together = getattr(law, name)(thetas, amounts)
        np.testing.assert_allclose(together, [getattr(law, name)(theta, amounts) for theta in thetas], rtol=1e-12)


@EVERY
@OWN
@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 6))
def test_losses_are_convex_among_mixtures_of_one_total(family, own, seed, count):
    law = Law(family, own=min(own, count - 1) if own else own, count=count)
    theta = theta_of(law, seed)
    assert all(law.conditions(theta).values())
    one, other = np.random.default_rng(seed).dirichlet(np.ones(count), (2, 1)) * 2.0
    middle = law.predict(theta, (one + other) / 2)
    assert middle <= (law.predict(theta, one) + law.predict(theta, other)) / 2 + 1e-12


@EVERY
@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000))
def test_more_data_of_every_domain_never_hurts(family, seed):
    law = Law(family, own=0, count=3)
    theta, rng = theta_of(law, seed), np.random.default_rng(seed)
    amounts = rng.uniform(0.01, 1, (1, 3))
    assert law.predict(theta, amounts * rng.uniform(1, 3)) <= law.predict(theta, amounts) + 1e-12
    if not family.fixed_total:
        more = amounts + rng.uniform(0, 1, (1, 3))
        assert law.predict(theta, more) <= law.predict(theta, amounts)


@EVERY
@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000))
def test_renaming_domains_renames_the_law(family, seed):
    rng = np.random.default_rng(seed)
    order = rng.permutation(4)
    law, moved = Law(family, 0, 4), Law(family, int(np.flatnonzero(order == 0)[0]), 4)
    theta, amounts = theta_of(law, seed), rng.uniform(0, 1, (3, 4))
    values = dict(zip(law.names, theta, strict=True))
    renamed = [
        values[
            f"{name.rpartition('_')[0]}_{order[int(name.rpartition('_')[2])]}"
            if name.rpartition("_")[2].isdigit()
            else name
        ]
        for name in moved.names
    ]
    np.testing.assert_allclose(
        moved.predict(np.array(renamed), amounts[:, order]), law.predict(theta, amounts), rtol=1e-12
    )


# Fitting


@pytest.fixture(scope="module")
def fit():
    return fit_laws(table(noise=0.01))


def test_a_fit_recovers_the_world_and_extrapolates(fit):
    grid = np.random.default_rng(3).dirichlet(np.ones(3), 20) * 8000
    error = np.abs(fit.predict(grid) / truth(grid) - 1)
    assert (error.mean(axis=0) < 0.03).all()
    assert all(law.noise == pytest.approx(0.01, rel=0.5) for law in fit.laws)
    assert "power" not in fit["ct"].weights
    assert set(fit["ct"].scores) == {"stacked", *FAMILIES}
    worth = {law.name: exchange(law.law, law.theta, np.full(3, 0.3)) for law in fit.laws}
    assert worth["ct"][1] > 0.3
    assert worth["ct"][2] < 0.1
    assert worth["mri"][0] < worth["ct"][1]


def test_ninety_percent_intervals_hold_the_truth_about_as_often():
    """Over several worlds; one world's intervals succeed and fail together."""
    held = []
    for seed in range(6):
        fit = fit_laws(table(noise=0.015, seed=seed), draws=40)
        grid = np.random.default_rng(seed).dirichlet(np.ones(3), 30) * 8000
        low, high = fit.interval(grid)
        held.append(np.mean((low <= truth(grid)) & (truth(grid) <= high)))
    assert 0.8 < np.mean(held) < 0.99


@pytest.mark.parametrize("name", ["transfer", "additive", "exponential", "transfer_tilted"])
def test_the_optimum_is_as_good_as_scipys(name):
    """Independent: scipy's trust-region solver on the same residuals, from the same starts."""
    data = table(noise=0.01)
    law = Law(FAMILIES[name], 0, 3)
    regression = Regression(law, data.amounts / 4000, np.log(data.losses[:, 0]), data.deviations(0), 5)
    centres, widths = law.priors()
    kept = np.isfinite(widths)

    def residuals(theta):
        return np.concatenate([regression.residuals(theta) / regression.deviations, ((theta - centres) / widths)[kept]])

    def cost(theta):
        return float(_cost(residuals(theta)[None], int(kept.sum()))[0])

    low, high = regression.bounds
    loose = low < high
    found = []
    for start in regression.starts:
        theta = start.copy()

        def inner(part, theta=theta):
            theta[loose] = part
            return residuals(theta)

        begin = np.clip(start, low + 1e-9, high - 1e-9)[loose]
        theta[loose] = least_squares(inner, begin, bounds=(low[loose], high[loose]), max_nfev=400).x
        found.append(theta)
    # scipy minimises squares; where no residual passes Huber's bend the two costs are the same.
    assert cost(regression.solve()) <= min(cost(theta) for theta in found) * (1 + 1e-6)


def test_rows_in_another_order_give_the_same_bits():
    data = rows(noise=0.01)
    shuffled = [
        {**run, "amounts": dict(reversed(run["amounts"].items())), "losses": dict(reversed(run["losses"].items()))}
        for run in np.random.default_rng(0).permutation(data)
    ]
    one, other = (fit_laws(LossTable.of(NAMES, part), "transfer", draws=5) for part in (data, shuffled))
    assert one.document() == other.document()


@pytest.mark.parametrize("factor", [1e-6, 1e6])
def test_the_unit_of_amounts_and_of_losses_decides_nothing(factor):
    data = table(noise=0.01)
    scaled = LossTable.sorted(NAMES, NAMES, data.amounts * factor, data.losses * 50, None, data.seeds)
    grid = np.random.default_rng(0).dirichlet(np.ones(3), 10) * 5000
    one, other = (fit_laws(item, "transfer", draws=0) for item in (data, scaled))
    np.testing.assert_allclose(other.predict(grid * factor), 50 * one.predict(grid), rtol=1e-4)


def test_one_family_for_all_losses():
    fit = fit_laws(table(noise=0.01), "auto", choose="all", draws=0)
    assert len({law.law.family.name for law in fit.laws}) == 1


def test_laws_for_unequal_costs_only():
    fit = fit_laws(table(noise=0.01), fixed_total=False, draws=0)
    assert fit.fixed_total == []
    assert "additive" not in fit["ct"].scores


def test_a_loss_of_no_domain_is_fitted_too():
    data = table(noise=0.005)
    fit = fit_laws(LossTable.sorted(NAMES, ["benchmark"], data.amounts, data.losses[:, :1], None, data.seeds), draws=0)
    assert fit["benchmark"].law.own is None
    assert "power" not in fit["benchmark"].scores
    np.testing.assert_allclose(fit.predict(data.amounts)[:, 0], truth(data.amounts)[:, 0], rtol=0.02)


# Noise, plateau, diagnosis


def test_noise_is_the_spread_between_seeds():
    data = table(noise=0.02, seeds=8)
    assert data.noise(0) == pytest.approx(0.02, rel=0.15)
    assert np.isnan(table(seeds=1).noise(0))
    assert (table(seeds=1).deviations(0) == 0.01).all()
    assert data.deviations(0).shape == (len(data.losses),)


def test_runs_on_the_plateau_are_set_aside():
    runs = [{**run, "mean_losses": {"ct": 9.0, "mri": 9.0, "pet": 0.8}} for run in rows()]
    data = LossTable.of(NAMES, runs)
    fit = fit_laws(data, "power", draws=0)
    assert fit["pet"].dropped == int((data.losses[:, 2] >= 0.9 * 0.8).sum()) > 0
    assert fit["pet"].used + fit["pet"].dropped == len(runs)
    assert fit["pet"].least_share > 0
    assert any("'pet'" in note and "left out" in note for note in fit.notes)


def harmful(amounts):
    """A world where CT data hurt PET."""
    ct, mri, pet = np.asarray(amounts, float).T / 4000
    base = truth(amounts)
    base[:, 2] = 0.4 * (0.05 + pet + 0.1 * mri) ** -0.3 * np.exp(0.25 * ct)
    return base


def test_negative_transfer_is_named_with_its_cost():
    fit = fit_laws(table(noise=0.005, loss=harmful), "transfer", draws=0)
    found = fit["pet"].diagnosis["negative_transfer"]
    assert [item["source"] for item in found] == ["ct"]
    assert found[0]["k"] < 0
    cost = fit["pet"].diagnosis["clamping_cost"]
    assert cost["free"] < cost["fit"]
    assert any("training on 'ct' hurts it" in note for note in fit.notes)
    assert "negative_transfer" not in fit["ct"].diagnosis


@pytest.mark.parametrize("seed", range(4))
def test_no_harm_is_claimed_where_there_is_none(seed):
    fit = fit_laws(table(noise=0.02, seed=seed), "transfer", draws=0)
    assert not any("negative_transfer" in law.diagnosis for law in fit.laws)


def some(amounts):
    amounts = np.asarray(amounts, float)
    return LossTable.sorted(NAMES, NAMES, amounts, truth(amounts + 1e-9))


@pytest.mark.parametrize(
    ("amounts", "words"),
    [
        ([[1000, 500, 500], [500, 1000, 500]], "2 distinct runs cannot identify laws over 3 domains"),
        ([[1000, 500, 500]] * 20, "1 distinct run cannot identify"),
        ([[500 + 40 * i, 700, 0] for i in range(20)], "no run trains on 'pet'"),
        ([[400, 100 + 10 * i, 500 - 10 * i] for i in range(20)], "the share of 'ct' is 0.4 in every run"),
        ([[400 + i % 2, 100 + 10 * i, 500 - 10 * i] for i in range(20)], "the share of 'ct' is 0.4"),
        ([[2 * i + 2, i + 1, (i * 7) % 11 + 1] for i in range(20)], "'ct', 'mri' are tied together"),
    ],
    ids=["two runs", "one mixture", "unused", "never varied", "only rounded", "tied"],
)
def test_what_cannot_be_identified_is_refused_in_words(amounts, words):
    with pytest.raises(InputError, match=words):
        fit_laws(some(amounts), "auto")


def test_what_is_left_open_is_noted():
    runs = np.random.default_rng(0).dirichlet(np.ones(3), 11) * 1000
    notes = " ".join(fit_laws(some(runs), "transfer_nofloor", draws=0).notes)
    assert "11 distinct runs for 3 domains" in notes
    assert "one budget" in notes
    assert "no replicates" in notes


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"losses": {"ct": 1.0, "mri": 1.0}}, "its losses name"),
        ({"losses": {"ct": float("nan"), "mri": 1.0, "pet": 1.0}}, "loss on ct is nan"),
        ({"losses": {"ct": 1.0, "mri": -1.0, "pet": 1.0}}, "loss on mri is -1"),
        ({"amounts": {"ct": 1, "mri": 1, "pte": 1}}, "its amounts name"),
    ],
)
def test_a_bad_row_is_an_error(change, words):
    with pytest.raises(InputError, match=words):
        LossTable.of(NAMES, [*rows(), {**rows()[0], **change}])


def test_an_unknown_law_is_an_error():
    with pytest.raises(InputError, match="no law 'magic'"):
        fit_laws(table(), "magic")


# Files


def test_fitted_laws_survive_their_file(fit, tmp_path):
    write_json(tmp_path / "fit.json", fit.document())
    again = read_fit(tmp_path / "fit.json")
    amounts = np.array([[900.0, 800.0, 700.0]])
    np.testing.assert_array_equal(again.predict(amounts), fit.predict(amounts))
    for law, other in zip(fit.laws, again.laws, strict=True):
        np.testing.assert_allclose(other.draws, law.draws, rtol=1e-5, atol=1e-9)
    assert again.notes == fit.notes
    assert again.domains == fit.domains


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (json.dumps({"version": 2, "domains": ["ct"]}), "does not hold fitted laws"),
        (json.dumps({"version": 1}), "is of format 1"),
        ("[]", "does not hold fitted laws"),
        ("{", "not valid JSON"),
    ],
)
def test_a_damaged_fit_file_is_an_error(tmp_path, text, words):
    (tmp_path / "fit.json").write_text(text)
    with pytest.raises(InputError, match=words):
        read_fit(tmp_path / "fit.json")


def test_a_fitted_law_reports_its_floor():
    law = Law(FAMILIES["power"], 0, 1)
    fitted = FittedLaw("x", law, np.array([-1.0, -1.0, -2.0, 0.07]), 100.0, 0, 0, {}, 1, 0, 0.0, np.zeros((0, 4)))
    assert fitted.floor == 0.07
    assert fitted.predict(np.array([[1e12]]))[0] == pytest.approx(0.07, rel=1e-2)


def test_runs_on_other_domains_alone_count_only_where_they_help_mixtures():
    """A network that never saw a domain may be in another state than the mixtures the laws are for."""

    def two_states(amounts):
        losses = truth(amounts)
        unseen = (amounts == 0) & ((amounts > 0).sum(axis=1, keepdims=True) == 1)
        return np.where(unseen, 0.3 + 0.5 * losses, losses)

    smooth = fit_laws(table(noise=0.01), draws=0)
    assert not any(law.dropped for law in smooth.laws)
    broken = fit_laws(table(noise=0.01, loss=two_states), draws=0)
    mixtures = np.array([[2000.0, 1500.0, 500.0], [500.0, 3000.0, 500.0]])
    for law in broken.laws:
        assert law.dropped == 20  # five budgets, two seeds, two other domains
        assert law.least_share > 0
        assert any(note.startswith(f"'{law.name}': 20 runs on other domains alone") for note in broken.notes)
    assert broken.predict(mixtures) == pytest.approx(truth(mixtures), rel=0.02)
