"""What a verification could show, against simulated studies."""

import numpy as np
import pytest

from mixlang.verify.interval import paired
from mixlang.verify.power import Noise, noise_of, power, power_in_words, seeds_needed, smallest_difference


@pytest.mark.parametrize(
    ("difference", "noise", "seeds"), [(0.02, 0.01, 3), (0.01, 0.01, 8), (0.0, 0.02, 4), (0.05, 0.02, 2)]
)
def test_power_is_how_often_simulated_comparisons_find_the_difference(difference, noise, seeds):
    rng = np.random.default_rng(0)
    ours = 1 - difference + noise * rng.standard_normal((20_000, seeds))
    theirs = 1 + noise * rng.standard_normal((20_000, seeds))
    found = 0
    for values in ours - theirs:
        change = paired(values)
        found += change["high"] < 0 or change["low"] > 0
    assert power(difference, noise, seeds) == pytest.approx(found / 20_000, abs=0.012)


def test_smallest_difference_and_seeds_needed_answer_each_other():
    for seeds in (2, 3, 5, 12):
        least = smallest_difference(0.013, seeds)
        assert power(least, 0.013, seeds) == pytest.approx(0.8, abs=1e-6)
        assert seeds_needed(1.0001 * least, 0.013) == seeds
    assert smallest_difference(0.01, 1) is None
    assert seeds_needed(0.0001, 0.05) is None


def row(seed, ct, losses):
    return {"amounts": {"ct": ct, "mri": 100 - ct}, "seed": seed, "losses": losses}


def test_noise_is_of_repeats_alone_and_of_the_objective():
    rng = np.random.default_rng(1)
    rows = []
    for ct in range(1, 41):
        for seed in range(2):
            common = 1 + 0.02 * rng.standard_normal()  # what a seed does to both losses of a run does not average out
            rows.append(row(seed, ct, {"ct": 3.0 / ct * common, "mri": 5.0 / ct * common}))
    found = noise_of(rows, {"ct": 1.0, "mri": 2.0})
    assert found.freedom == 40
    assert found.deviation == pytest.approx(0.02, rel=0.3)
    alone = [row(seed, 100, {"ct": 1.0 + seed, "mri": 1.0}) for seed in range(9)]
    assert noise_of([*rows, *alone], {"ct": 1.0, "mri": 2.0}) == found
    assert noise_of(rows[::2], {"ct": 1.0, "mri": 1.0}) is None
    holes = [{**item, "losses": {"ct": 1.0}} for item in rows]
    assert noise_of(holes, {"ct": 1.0, "mri": 1.0}) is None
    assert noise_of(holes, {"ct": 1.0, "mri": 0.0}).deviation == 0


def test_words_say_what_cannot_be_shown():
    words = power_in_words(Noise(0.01, 24), 3, gain=0.009)
    assert "varies by 1.0% between seeds (of 24 repeats)" in words
    assert "the 0.9% that the laws expect would take" in words
    assert "one seed shows no difference" in power_in_words(Noise(0.01, 24), 1)
    assert "would take" not in power_in_words(Noise(0.001, 24), 3, gain=0.05)
