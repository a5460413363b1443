"""Worlds whose laws are known, for tests of fitting and allocating."""

import numpy as np

from mixlang.laws import FAMILIES, Fit, FittedLaw, Law, LossTable

NAMES = ("ct", "mri", "pet")


def truth(amounts, scale=4000.0):
    """Losses of a world with asymmetric transfer: MRI helps CT, CT helps MRI less, PET is an island."""
    ct, mri, pet = np.maximum(np.asarray(amounts, float).T, 0) / scale
    return np.stack(
        [
            0.3 * (0.05 + ct + 0.5 * mri**0.8) ** -0.4,
            0.5 * (0.05 + mri + 0.2 * ct**0.8) ** -0.2,
            0.4 * (0.05 + pet) ** -0.35,
        ],
        axis=1,
    )


def design():
    """Single-domain ladders of five budgets and twelve mixtures at two."""
    points = [budget * np.eye(3)[own] for budget in (1000, 1500, 2200, 3200, 4000) for own in range(3)]
    mixtures = np.random.default_rng(1).dirichlet(np.ones(3), 12)
    return np.concatenate([points, 2200 * mixtures, 4000 * mixtures])


def rows(noise=0.0, seeds=2, seed=0, loss=truth):
    """Runs as the sweep tabulates them."""
    rng = np.random.default_rng(seed)
    return [
        {
            "key": f"{number}-{repeat}",
            "amounts": dict(zip(NAMES, amounts.tolist(), strict=True)),
            "losses": dict(
                zip(NAMES, (loss(amounts[None])[0] * np.exp(noise * rng.standard_normal(3))).tolist(), strict=True)
            ),
            "seed": repeat,
        }
        for number, amounts in enumerate(design())
        for repeat in range(seeds)
    ]


def table(**options):
    """The same as a table."""
    return LossTable.of(NAMES, rows(**options))


def theta_of(law, seed, sparse=0.0):
    """Parameters of a law inside its bounds."""
    rng = np.random.default_rng(seed)
    theta = np.zeros(len(law.names))
    draw = {
        "log_A": np.log(rng.uniform(0.1, 0.5)),
        "log_a": np.log(rng.uniform(0.1, 0.9)),
        "log_m0": np.log(rng.uniform(0.01, 0.2)),
        "E": rng.uniform(0.0, 0.1),
        "B": rng.uniform(0.01, 0.1),
        "log_b": np.log(rng.uniform(0.1, 0.5)),
    }
    for name, where in law.at.items():
        if name in draw:
            theta[where] = draw[name]
    sources = len(law.sources)
    saturating = law.family.transfer == "saturating"
    theta[law.at["k"]] = rng.uniform(0.05, 0.9, sources) * (rng.random(sources) >= sparse) / max(1, law.count / 6)
    theta[law.at["g"]] = np.log(rng.uniform(0.1, 2, sources)) if saturating else rng.uniform(0.3, 1.0, sources)
    if law.family.tilt:
        theta[law.at["t"]] = rng.normal(0, 0.3, law.count)
    if law.family.logs:
        theta[law.at["r"]] = rng.uniform(0, 0.1, len(law.others))
        theta[law.at["p"]] = rng.uniform(0.05, 0.3)
        if law.own is not None:
            theta[law.at["c"]], theta[law.at["log_e"]] = rng.uniform(0.01, 0.2, 3), [-5.0, -2.5, -1.0]
    if not law.family.rate:
        theta[law.at["k"]] = rng.uniform(0.2, 1.5, sources)
    return theta


def random_fit(count, seed, families=("power", "transfer", "transfer_common", "transfer_saturating"), draws=0):
    """Laws drawn at random, as if fitted at totals of 100 to 1,000, with draws spread about them."""
    rng = np.random.default_rng(seed)
    names = tuple(f"d{index}" for index in range(count))
    laws = []
    for own in range(count):
        law = Law(FAMILIES[str(rng.choice(families))], own, count)
        theta = theta_of(law, 1000 * seed + own, sparse=0.5)
        drawn = theta + 0.02 * rng.standard_normal((draws, len(theta))) * (theta != 0)
        for name in ("k", "E", "B"):
            drawn[:, law.at[name]] = np.maximum(0, drawn[:, law.at[name]])
        if law.family.transfer == "power":
            drawn[:, law.at["g"]] = np.minimum(1, drawn[:, law.at["g"]])
        laws.append(FittedLaw(names[own], law, theta, 1000.0, 0.01, 0.01, {}, 10, 0, 0.0, drawn))
    return Fit(names, tuple(laws), (100.0, 1000.0), 1000.0, np.eye(count))


def settings_of(names=NAMES, **changes):
    """Settings of an allocation, unequal availability and no caps; `section__name=value` changes one."""
    sizes = np.geomspace(80, 5, len(names)) if len(names) > 1 else [80]
    base = {
        "costs": dict.fromkeys(names, 1.0),
        "available": {
            name: {"volumes": float(size), "crops": 10.0 * size} for name, size in zip(names, sizes, strict=True)
        },
        "objective": {"minimize": "weighted_loss", "weights": {}, "relative_to": "proportional", "tail": 0.2},
        "constraints": {"repetition": None, "share": {}, "group": {}, "prior": 0.0},
    }
    for path, value in changes.items():
        section, _, name = path.partition("__")
        base[section] = {**base[section], name: value} if name else value
    return base
