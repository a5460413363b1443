"""Tables as people have them: what each column is, how numbers are written, scores, names, sizes; on the command line."""

import csv
import json
import os
from pathlib import Path

import numpy as np
import pytest
from worlds import NAMES, design, truth

from mixlang.cli import main
from mixlang.errors import InputError
from mixlang.laws.roles import owner
from mixlang.laws.sheet import number, read_sheet

DMSL = Path(os.environ.get("MIXLANG_DMSL", Path(__file__).parents[2] / "shared" / "data" / "dmsl")) / "runs.csv"


class World:
    """A known world as two tables whose columns and ways of writing a test changes."""

    def __init__(self, folder):
        self.folder = folder
        rng = np.random.default_rng(0)
        amounts = np.repeat(design(), 2, axis=0)
        losses = truth(amounts) * np.exp(0.005 * rng.standard_normal((len(amounts), 3)))
        self.total = amounts.sum(axis=1)
        self.left = {
            "run": [f"r{i}" for i in range(len(amounts))],
            "tokens": self.total,
            "seed": np.arange(len(amounts)) % 2,
        }
        self.left |= {name: amounts[:, i] / self.total for i, name in enumerate(NAMES)}
        self.right = {"run": self.left["run"], **{name: losses[:, i] for i, name in enumerate(NAMES)}}

    def __len__(self):
        return len(self.total)

    def write(self, separator=",", comma=False, encoding="utf-8"):
        for name, columns in (("mixtures", self.left), ("losses", self.right)):
            rows = [
                list(columns),
                *zip(*[[self.cell(value, comma) for value in column] for column in columns.values()], strict=True),
            ]
            with (self.folder / f"{name}.csv").open("w", newline="", encoding=encoding) as file:
                csv.writer(file, delimiter=separator).writerows(rows)

    @staticmethod
    def cell(value, comma):
        text = value if isinstance(value, str) else repr(float(value))
        return text.replace(".", ",") if comma and not isinstance(value, str) else text

    def fit(self, *more, out="fit.json", **written):
        self.write(**written)
        return self.fit_as_written(*more, out=out)

    def fit_as_written(self, *more, out="fit.json"):
        folder = self.folder
        tables = ["--mixtures", f"{folder}/mixtures.csv", "--losses", f"{folder}/losses.csv", "--key", "run"]
        common = f"--budget tokens --seed seed --law transfer --draws 0 --out {folder}/{out}".split()
        return main(["fit", *tables, *common, *more])

    def laws(self, out="fit.json"):
        return json.loads((self.folder / out).read_text())["laws"]


@pytest.fixture
def world(tmp_path):
    return World(tmp_path)


@pytest.fixture
def said(capsys):
    return lambda: " ".join(capsys.readouterr().err.split())


# Scores


def test_a_score_given_as_a_loss_is_refused_and_taken_right_with_maximize(world, said):
    plain, scores = dict(world.right), {name: 1 - 0.4 * world.right[name] for name in NAMES}
    world.right |= scores
    assert world.fit() == 1
    assert "'ct' rises with the budget and the share of its own domain ct" in (text := said())
    assert "--maximize ct" in text
    assert not (world.folder / "fit.json").exists()
    assert world.fit("--maximize", "ct,mri,pet") == 0
    assert "scores, where more is better: ct (1 less it), mri (1 less it), pet (1 less it)" in said()
    world.right = plain | {name: 0.4 * plain[name] for name in NAMES}
    assert world.fit(out="losses.json") == 0
    for name, law in world.laws("losses.json").items():
        other = world.laws()[name]
        assert other["score_bound"] == 1
        assert other["parameters"] == pytest.approx(law["parameters"], rel=1e-4, abs=1e-6)


def test_predictions_and_answers_of_scores_are_scores(world, capsys):
    world.right |= {"pet": 100 * (1 - 0.4 * world.right["pet"])}
    assert world.fit("--maximize", "pet") == 0
    arguments = ["--fit", f"{world.folder}/fit.json", "--mixtures", f"{world.folder}/mixtures.csv"]
    assert main(["predict", *arguments, "--out", f"{world.folder}/p.csv"]) == 0
    sheet = read_sheet(world.folder / "p.csv", "run")
    assert np.median(np.abs(sheet.numbers("pet") - world.right["pet"])) < 1
    capsys.readouterr()
    assert main(["allocate", "--fit", f"{world.folder}/fit.json", "--out", f"{world.folder}/a.json"]) == 0
    found = json.loads((world.folder / "a.json").read_text())
    assert found["scores"]["pet"] == pytest.approx(100 - found["predicted"]["pet"])
    assert f"pet {found['scores']['pet']:.4g} (a score)" in " ".join(capsys.readouterr().out.split())
    goal = 100 - 1.1 * found["predicted"]["pet"]
    assert main(["allocate", "--fit", f"{world.folder}/fit.json", "--reach", f"pet={goal}", "--format", "json"]) == 0
    reached = json.loads(capsys.readouterr().out)
    assert reached["scores"]["pet"] == pytest.approx(goal, abs=0.05)
    assert main(["allocate", "--fit", f"{world.folder}/fit.json", "--reach", "pet=120"]) == 1
    assert "is a score out of 100, not 120" in capsys.readouterr().err


def test_a_loss_given_as_a_score_is_refused(world, said):
    world.right |= {"pet": world.right["pet"] / 100}
    assert world.fit("--maximize", "pet") == 1
    assert "'pet', given as a score, falls with the budget" in said()


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("101", "between 0 and 1 or between 0 and 100, not 101"),
        ("-0.2", "not -0.2"),
        ("1", "a score of 1 leaves no loss"),
    ],
)
def test_a_score_out_of_range_is_named(world, said, value, words):
    column = [repr(float(1 - 0.4 * loss)) for loss in world.right["pet"]]
    world.right["pet"] = [value, *column[1:]]
    assert world.fit("--maximize", "pet") == 1
    assert words in said()


def test_a_column_named_as_a_score_has_to_be_said_to_be_one(world, said):
    world.right["lesion_auroc"] = 1 - 0.3 * world.right["pet"]
    assert world.fit() == 1
    assert "column 'lesion_auroc' is named as a score" in (text := said())
    assert "--maximize lesion_auroc" in text
    assert world.fit("--maximize", "lesion_auroc") == 0


# Roles


@pytest.mark.parametrize(
    ("column", "value", "words"),
    [
        ("lr", 1e-3, "column 'lr' is no share: without it every row sums to 1, with it not"),
        ("lr", 1e-7, "column 'lr' is no share"),
        ("step", 2000.0, "column 'step' is no share"),
        ("fold", 0.0, "column 'fold' is 0 in every row"),
        ("note", "first try", "column 'note' holds text, such as 'first try'"),
    ],
)
def test_a_column_of_the_mixtures_that_is_no_share_is_not_a_domain(world, said, column, value, words):
    world.left[column] = [value] * len(world)
    assert world.fit() == 1
    assert words in (text := said())
    assert f"--ignore {column}" in text
    assert world.fit("--ignore", column) == 0
    assert f"domains ct, mri, pet; left out: {column}" in said()


@pytest.mark.parametrize(
    ("column", "values", "words"),
    [
        ("step", lambda world: world.total, "'step' is named as what is written down beside losses; is it a loss?"),
        ("count", lambda world: np.arange(len(world)) + 1.0, "'count' has whole numbers only; is it a loss?"),
        ("sigma", lambda world: np.full(len(world), 0.5), "'sigma' is the same in every row; is it a loss?"),
        ("lesions", lambda world: world.right["pet"] * 2, "'lesions' is named as no domain and no loss; is it a loss?"),
        ("when", lambda world: ["2026-01-02"] * len(world), "column 'when' holds text"),
    ],
)
def test_a_column_of_the_losses_that_may_be_none_is_decided_by_the_user(world, said, column, values, words):
    world.right[column] = values(world)
    assert world.fit() == 1
    assert words in (text := said())
    assert f"--ignore {column}" in text
    assert world.fit("--ignore", column) == 0
    assert column not in world.laws()


def test_a_loss_of_another_name_is_kept_where_the_user_says_so(world, said):
    world.right["lesions"] = world.right["pet"] * 2
    assert world.fit("--keep", "lesions") == 0
    assert "other losses: lesions" in said()
    world.right["lesion_error"] = world.right.pop("lesions")
    assert world.fit() == 0
    assert "other losses: lesion_error" in said()


def test_roles_are_said_before_anything_is_fitted(world, said):
    del world.left["pet"]
    world.left["pet"] = 1 - world.left["ct"] - world.left["mri"]
    world.right["ct"] = np.where(np.arange(len(world)) < 70, np.nan, world.right["ct"])
    assert world.fit() == 1  # too few runs have a loss on ct
    assert "key run; budget tokens (" in (text := said())
    assert "seed seed; domains ct, mri, pet" in text
    assert "losses of domains: ct, mri, pet" in text


# Names


def test_names_that_differ_by_case_or_separators_are_one(world, said):
    assert world.fit() == 0
    plain = world.laws()
    world.right = {
        "run": world.right["run"],
        "CT": world.right["ct"],
        "val_loss/MRI": world.right["mri"],
        "Pet": world.right["pet"],
    }
    assert world.fit() == 0
    assert "losses of domains: CT (of ct), val_loss/MRI (of mri), Pet (of pet)" in said()
    for name, other in (("CT", "ct"), ("val_loss/MRI", "mri"), ("Pet", "pet")):
        assert world.laws()[name]["own"] == other
        assert world.laws()[name]["parameters"] == plain[other]["parameters"]
    out = f"{world.folder}/a.json"
    assert main(["allocate", "--fit", f"{world.folder}/fit.json", "--out", out]) == 0


def test_two_columns_of_one_name_but_for_case_are_refused(world, said):
    world.right["PET"] = world.right["pet"] * 1.1
    assert world.fit() == 1
    assert "the columns 'pet' and 'PET' are both losses of 'pet'" in said()
    del world.right["PET"]
    world.left["c_t"] = world.left["ct"] * 0.1
    world.left["ct"] = world.left["ct"] * 0.9
    assert world.fit() == 1
    assert "'ct' and 'c_t' differ only by case or separators" in said()


def test_whose_loss_a_name_is():
    assert owner("CT-chest", ["ct_chest", "mri"]) == "ct_chest"
    assert owner("metric/ct_chest_val_loss", ["ct_chest", "mri"]) == "ct_chest"
    assert owner("lesion_error", ["ct", "mri"]) is None
    assert owner("test", ["ct", "test"]) == "test"
    assert owner("test_loss", ["ct", "test"]) is None
    with pytest.raises(InputError, match="may be that of 'ct_1' or 'ct1'"):
        owner("CT 1", ["ct_1", "ct1"])


# How numbers are written


@pytest.mark.parametrize(
    ("written", "note"),
    [
        ({"separator": ";"}, "columns are separated by semicolons"),
        ({"separator": "\t"}, "columns are separated by tabs"),
        ({"separator": ";", "comma": True}, "decimals are written with commas"),
        ({"encoding": "utf-8-sig"}, ""),
        ({"encoding": "utf-16", "separator": "\t"}, "columns are separated by tabs"),
    ],
)
def test_ways_of_writing_change_nothing(world, said, written, note):
    assert world.fit() == 0
    plain = world.laws()
    said()
    assert world.fit(**written) == 0
    assert note in said()
    assert world.laws() == plain


def test_budgets_with_suffixes_are_read(world):
    assert world.fit() == 0
    plain = world.laws()
    world.left["tokens"] = [f"{float(value) / 1000}k" for value in world.total]
    assert world.fit() == 0
    close(world.laws(), plain)
    assert [number(text, False) for text in ("100k", "1.5M", "2B", "3 k")] == [1e5, 1.5e6, 2e9, 3e3]
    assert all(np.isnan(number(text, False)) for text in ("1_0", "12%", "inf", "nan", "1,5", "k", "1e999", ""))
    assert number("1,5", True) == 1.5


def test_numbers_that_can_be_read_in_two_ways_are_refused(world, said):
    world.left["tokens"] = [f"{value / 1000:.3f}".replace(".", ",") for value in world.total]
    assert world.fit(separator=";") == 1
    assert "has a decimal comma" in said()
    world.left = {name: [World.cell(v, True) for v in column] for name, column in world.left.items()}
    world.left["tokens"] = ["1,000"] * len(world)
    assert world.fit(separator=";", comma=True) == 1
    assert "'1,000' may be a decimal or a thousand" in said()
    world.left["ct"] = ["0,5"] * len(world)
    assert world.fit() == 1
    assert "A number has no comma where commas separate the columns" in said()
    world.left["ct"] = ["50%"] * len(world)
    assert world.fit() == 1
    assert "Write numbers without a percent sign" in said()


@pytest.mark.parametrize("missing", ["", "NA", "NaN", "nan", "null", "None", "n/a"])
def test_a_missing_loss_leaves_the_run_out_of_that_law_alone(world, said, missing):
    world.right["pet"] = [missing, *(repr(float(loss)) for loss in world.right["pet"][1:])]
    assert world.fit() == 0
    assert f"'pet': 1 of {len(world)} runs are left out, since they have no value of it" in said()
    assert [world.laws()[name]["rows_used"] for name in ("ct", "pet")] == [len(world), len(world) - 1]


def test_shares_as_percent_or_amounts(world, said):
    assert world.fit() == 0
    plain = world.laws()
    shares = {name: world.left[name] for name in NAMES}
    world.left |= {name: 100 * column for name, column in shares.items()}
    said()
    assert world.fit() == 1
    assert "If they are percentages, say so: --shares percent." in said()
    assert world.fit("--shares", "percent") == 0
    close(world.laws(), plain)
    world.left |= {name: column * world.total for name, column in shares.items()}
    assert world.fit() == 1
    assert "--shares amounts" in said()
    assert world.fit("--shares", "amounts") == 0
    close(world.laws(), plain)
    predicted = ["--fit", f"{world.folder}/fit.json", "--mixtures", f"{world.folder}/mixtures.csv"]
    assert main(["predict", *predicted, "--out", f"{world.folder}/p.csv"]) == 0
    world.left["tokens"] = world.total * 2
    assert world.fit("--shares", "amounts") == 1
    assert "the amounts sum to" in said()


def close(found, plain):
    for name, law in plain.items():
        assert found[name]["parameters"] == pytest.approx(law["parameters"], rel=1e-3, abs=1e-6)


# Runs that differ in something that is left out


def test_model_sizes_are_not_pooled(world, said):
    world.left["parameters"] = np.where(np.arange(len(world)) % 2, 3e8, 1e8)
    world.left["seed"] = np.zeros(len(world))
    for name in NAMES:
        world.right[name] = world.right[name] * np.where(np.arange(len(world)) % 2, 0.8, 1.0)
    assert world.fit("--ignore", "parameters") == 1
    assert "differ in 'parameters', which is left out and changes the losses" in (text := said())
    assert "--where parameters=100000000" in text
    assert world.fit("--where", "parameters=100M") == 0
    assert f"{len(world) // 2} runs, 3 domains" in said()
    assert world.fit("--where", "parameters=7") == 1
    assert "no row has parameters = 7; there are 100000000.0, 300000000.0" in said()
    for name in NAMES:
        world.right[name] = world.right[name] / np.where(np.arange(len(world)) % 2, 0.8, 1.0)
    assert world.fit("--ignore", "parameters") == 0  # they differ by noise


def test_sizes_told_by_words_are_not_pooled_either(world, said):
    world.left["model"] = ["large" if index % 2 else "small" for index in range(len(world))]
    world.left["seed"] = np.zeros(len(world))
    for name in NAMES:
        world.right[name] = world.right[name] * np.where(np.arange(len(world)) % 2, 0.8, 1.0)
    assert world.fit("--ignore", "model") == 1
    assert "differ in 'model', which is left out and changes the losses" in (text := said())
    assert "--where model=" in text
    assert world.fit("--where", "model=small") == 0
    predicted = ["--fit", f"{world.folder}/fit.json", "--mixtures", f"{world.folder}/mixtures.csv"]
    said()
    assert main(["predict", *predicted, "--out", f"{world.folder}/p.csv"]) == 0
    assert "only rows with model = small are predicted" in said()
    assert len(read_sheet(world.folder / "p.csv", "run").keys) == len(world) // 2


def test_thousands_by_blanks_are_numbers_and_a_named_column_is_not_to_be_left_out(world, said):
    assert world.fit() == 0
    plain = world.laws()
    world.left["tokens"] = [f"{round(value):,}".replace(",", "\u00a0") for value in world.total]
    assert world.fit() == 0
    close(world.laws(), plain)
    world.left["tokens"] = ["many"] * len(world)
    said()
    assert world.fit() == 1
    assert "expected a finite number, not 'many'" in (text := said())
    assert "--ignore" not in text
    world.left["tokens"] = ["1,000"] * len(world)
    assert world.fit() == 1
    assert "Write it without a comma: 1000." in said()


def test_scores_out_of_1_and_out_of_100_in_one_column_are_refused(world, said):
    column = 100 * (1 - 0.4 * world.right["pet"])
    world.right["pet"] = np.where(np.arange(len(world)) % 2, column, column / 100)
    assert world.fit("--maximize", "pet") == 1
    assert "is it out of 1 or out of 100?" in said()


def test_two_losses_of_one_domain_are_refused(world, said):
    world.right["train_loss_ct"] = world.right["ct"] * 0.9
    assert world.fit() == 1
    assert "are both losses of 'ct'" in said()


def test_options_that_would_mean_nothing_are_refused(world, capsys):
    world.right["pet"] = 100 * (1 - 0.4 * world.right["pet"])
    assert world.fit("--maximize", "pet") == 0
    allocate = ["allocate", "--fit", f"{world.folder}/fit.json"]
    capsys.readouterr()
    assert main([*allocate, "--objective", "worst_case", "--weights", "pet=2"]) == 1
    assert "to which a weight means nothing but 0" in capsys.readouterr().err
    assert main([*allocate, "--objective", "worst_case", "--weights", "pet=0"]) == 0
    assert main([*allocate, "--reach", "pet=0.8"]) == 1
    assert "is a score out of 100, not 0.8" in capsys.readouterr().err
    assert main([*allocate, "--reach", "ct=50"]) == 0
    assert "the smallest budget that was looked at" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"PK\x03\x04rest", "is an Excel workbook"),
        ("run,ct\na,1\n".encode("utf-16-le"), "is not text in UTF-8"),
        (b",ct\n0,1\n", "pandas writes none with index=False"),
    ],
)
def test_files_of_other_programs_are_named(world, said, data, words):
    world.write()
    (world.folder / "losses.csv").write_bytes(data)
    assert world.fit_as_written() == 1
    assert words in said()


def test_what_excel_adds_is_read_past(world):
    assert world.fit() == 0
    plain = world.laws()
    world.write(separator=";")
    for name in ("mixtures", "losses"):
        path = world.folder / f"{name}.csv"
        path.write_text("sep=;\n" + "\n".join(f"{line};" for line in path.read_text().splitlines()) + "\n")
    assert world.fit_as_written() == 0
    assert world.laws() == plain


@pytest.mark.long
def test_a_public_table_of_mixtures_and_losses_is_taken_as_it_is(tmp_path, said):
    if not DMSL.is_file():
        pytest.skip(f"SKIPPED FOR LACK OF DATA: no table at {DMSL}; set MIXLANG_DMSL")
    tables = ["--mixtures", str(DMSL), "--losses", str(DMSL), "--key", "run", "--budget", "tokens"]
    common = ["--law", "additive", "--draws", "10", "--out", f"{tmp_path}/fit.json"]
    assert main(["fit", *tables, *common]) == 1
    assert "column 'parameters' is no share" in said()
    assert main(["fit", *tables, *common, "--ignore", "parameters"]) == 1
    assert "--where parameters=122000000" in said()
    for size, holes in (("122M", 0), ("310M", 4)):
        assert main(["fit", *tables, *common, "--where", f"parameters={size}"]) == 0
        text = said()
        assert "654 runs, 7 domains, 8 losses" in text
        assert text.count("are left out, since they have no value of it") == holes
        assert "arxiv_loss (of arxiv)" in text
        assert max(law["error"] for law in json.loads((tmp_path / "fit.json").read_text())["laws"].values()) < 0.04
    assert main(["allocate", "--fit", f"{tmp_path}/fit.json", "--out", f"{tmp_path}/a.json"]) == 0
    assert (
        main(
            [
                "predict",
                "--fit",
                f"{tmp_path}/fit.json",
                "--mixtures",
                str(DMSL),
                "--key",
                "run",
                "--out",
                f"{tmp_path}/p",
            ]
        )
        == 0
    )
