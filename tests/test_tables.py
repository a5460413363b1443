"""Bring your own tables: the commands as a user runs them, strict reading, and real tables of language models."""

import csv
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import spearmanr
from worlds import NAMES, design, truth

from mixlang.cli import main

REGMIX = Path(os.environ.get("MIXLANG_REGMIX", Path(__file__).parents[2] / "shared" / "data" / "regmix"))


def write(path, header, rows):
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([header, *rows])
    return path


@pytest.fixture
def tables(tmp_path):
    """Two tables of a known world, the second in another order of rows and columns."""
    rng = np.random.default_rng(0)
    amounts = np.repeat(design(), 2, axis=0)
    losses = truth(amounts) * np.exp(0.005 * rng.standard_normal((len(amounts), 3)))
    total = amounts.sum(axis=1)
    left = [[f"r{i}", total[i], i % 2, *(amounts[i] / total[i]).round(9).tolist()] for i in range(len(amounts))]
    right = [[*losses[i, ::-1].tolist(), f"r{i}"] for i in rng.permutation(len(amounts))]
    write(tmp_path / "mixtures.csv", ["run", "tokens", "seed", *NAMES], left)
    write(tmp_path / "losses.csv", [*NAMES[::-1], "run"], right)
    return tmp_path


def fit(folder, *more, out="fit.json"):
    arguments = ["--mixtures", f"{folder}/mixtures.csv", "--losses", f"{folder}/losses.csv", "--key", "run"]
    return main(["fit", *arguments, "--budget", "tokens", "--seed", "seed", "--out", f"{folder}/{out}", *more])


@pytest.fixture
def fitted(tables):
    assert fit(tables, "--law", "transfer", "--draws", "15") == 0
    return tables


def change(path, row, column, value):
    """Set one cell of a CSV file; row 1 is the first below the header."""
    with path.open(newline="") as file:
        cells = list(csv.reader(file))
    cells[row][cells[0].index(column)] = value
    write(path, cells[0], cells[1:])


def test_fit_predict_and_allocate_from_tables(tables, capsys):
    fitted = tables
    assert fit(tables, "--law", "transfer", "--draws", "15") == 0
    assert "78 runs, 3 domains, 3 losses, joined on 'run'" in capsys.readouterr().err
    new = np.random.default_rng(5).dirichlet(np.ones(3), 9)
    write(
        fitted / "new.csv", ["pet", "run", "ct", "mri"], [[h[2], i, h[0], 1 - h[0] - h[2]] for i, h in enumerate(new)]
    )
    arguments = ["--fit", f"{fitted}/fit.json", "--mixtures", f"{fitted}/new.csv", "--out", f"{fitted}/p.csv"]
    assert main(["predict", *arguments, "--at", "8k"]) == 0
    with (fitted / "p.csv").open() as file:
        rows = list(csv.reader(file))
    assert rows[0] == ["run", *NAMES[::-1]]  # the losses in the order of their table
    predicted = np.array([row[1:] for row in rows[1:]], float)[:, ::-1]
    np.testing.assert_allclose(predicted, truth(8000 * new), rtol=0.03)
    available = write(fitted / "have.csv", ["domain", "amount"], [["ct", 9000], ["mri", 1000], ["pet", 800]])
    out = fitted / "a.json"
    arguments = ["--fit", f"{fitted}/fit.json", "--budget", "8000", "--available", str(available), "--repetition", "2"]
    assert main(["allocate", *arguments, "--out", str(out), "--path", "4k,8k"]) == 0
    found = json.loads(out.read_text())
    assert found["status"] == "optimal"
    assert sum(found["shares"].values()) == pytest.approx(1)
    assert found["shares"]["pet"] <= 0.2 + 1e-9
    assert {item["why"] for item in found["certificate"]["active"]} == {"repetition cap"}
    assert found["intervals"]["gains"]["proportional"]["probability"] > 0.5
    assert [step["budget"] for step in found["path"]] == [4000, 8000]
    assert any("extrapolates" in note for note in found["notes"])
    assert "against proportional" in capsys.readouterr().out


def test_the_order_of_rows_changes_nothing(tables):
    assert fit(tables, "--law", "transfer", "--draws", "10") == 0
    with (tables / "losses.csv").open(newline="") as file:
        header, *rows = list(csv.reader(file))
    write(tables / "losses.csv", header, sorted(rows))
    with (tables / "mixtures.csv").open(newline="") as file:
        header, *rows = list(csv.reader(file))
    write(tables / "mixtures.csv", header, rows[::-1])
    assert fit(tables, "--law", "transfer", "--draws", "10", out="again.json") == 0
    one, other = (json.loads((tables / name).read_text()) for name in ("fit.json", "again.json"))
    assert one["laws"] == other["laws"]


def test_rounded_shares_are_renormalised_aloud(tables, capsys):
    change(tables / "mixtures.csv", 1, "ct", "0.995")
    assert fit(tables, "--law", "power", "--draws", "0") == 0
    assert "do not sum to 1 (by up to 0.005); they were renormalised" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("file", "row", "column", "value", "words"),
    [
        ("mixtures", 1, "ct", "0.9", "mixtures.csv:2: the shares (ct, mri, pet) sum to 0.9, not 1"),
        ("mixtures", 3, "mri", "-0.1", "mixtures.csv:4: column 'mri': a share is not below 0, as -0.1 is"),
        ("mixtures", 2, "ct", "nan", "mixtures.csv:3: column 'ct' (run = r1): expected a finite number, not 'nan'"),
        ("mixtures", 2, "ct", "", "mixtures.csv:3: column 'ct' (run = r1): the cell is empty"),
        ("mixtures", 2, "ct", "1_0", "expected a finite number, not '1_0'"),
        ("mixtures", 2, "run", "r0", "mixtures.csv:3: the key run = r0 was already used in line 2"),
        ("mixtures", 2, "run", "x", "mixtures.csv:3: run = x has no row in"),
        ("mixtures", 2, "run", " ", "mixtures.csv:3: the key 'run' is empty"),
        ("mixtures", 2, "tokens", "0", "mixtures.csv:3: column 'tokens': a budget is above 0, not 0"),
        ("mixtures", 2, "seed", "0.5", "column 'seed': a seed is a whole number"),
        ("losses", 4, "pet", "inf", "losses.csv:5: column 'pet'"),
        ("losses", 4, "pet", "0", "losses.csv:5: column 'pet' (run ="),
        ("losses", 4, "pet", "a lot", "expected a finite number, not 'a lot'"),
    ],
)
def test_a_cell_that_cannot_be_trusted_is_named(tables, capsys, file, row, column, value, words):
    change(tables / f"{file}.csv", row, column, value)
    assert fit(tables) == 1
    said = capsys.readouterr().err
    assert words in said
    assert "Traceback" not in said
    assert not (tables / "fit.json").exists()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "is empty"),
        ("run,ct\n", "has a header but no rows"),
        ("run,ct,ct\na,1,2\n", "two columns 'ct'"),
        ("run,,ct\na,1,2\n", "column 2 has no name"),
        ("id,ct\na,1\n", "there is no column 'run' to join on; the columns are id, ct"),
        ("run,ct\na,1,2\n", ":2: the row has 3 cells, the header 2"),
        ("run\na\n", "no column beside its key"),
        ('run,ct\n"a,1\n', "not valid CSV"),
        (b"run,\xff\n", "not text in UTF-8"),
        (b"run,ct\na,1\x00\nb,2\n", "expected a finite number"),
    ],
)
def test_a_file_that_is_no_table_is_named(tables, capsys, text, words):
    (tables / "losses.csv").write_bytes(text if isinstance(text, bytes) else text.encode())
    assert fit(tables) == 1
    said = capsys.readouterr().err
    assert words in said
    assert "losses.csv" in said


def test_two_runs_of_three_domains_are_refused_in_words(tmp_path, capsys):
    write(tmp_path / "mixtures.csv", ["run", *NAMES], [["a", 0.5, 0.3, 0.2], ["b", 0.2, 0.3, 0.5]])
    write(tmp_path / "losses.csv", ["run", "m1", "m2"], [["a", 1, 2], ["b", 1.5, 1]])
    arguments = ["--mixtures", f"{tmp_path}/mixtures.csv", "--losses", f"{tmp_path}/losses.csv", "--key", "run"]
    assert main(["fit", *arguments, "--out", f"{tmp_path}/fit.json"]) == 1
    assert "2 distinct runs cannot identify laws over 3 domains" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["--share", "cct=0:0.5"], 1, "Did you mean 'ct'?"),
        (["--weights", "pat=2"], 1, "Did you mean 'pet'?"),
        (["--cost", "mr=2"], 1, "Did you mean 'mri'?"),
        (["--reach", "pet=0.0001"], 4, "no budget brings 'pet'"),
        (["--share", "ct=0.7:1,pet=0.7:1"], 4, "the minimum shares sum to 1.4"),
        (["--reach", "pet=0.3", "--budget", "5k"], 1, "--reach looks for the budget"),
        (["--share", "ct=:.1,mri=:.1,pet=:.1"], 4, "Loosen the maximum shares"),
        (["--repetition", "2"], 1, "Give --available"),
        (["--objective", "best"], 1, "no objective 'best'"),
        (["--budget", "0"], 1, "a budget is a positive number"),
        (["--group", "a=ct+xx=0:0.5"], 1, "there is no domain 'xx'"),
        (["--weights", "ct=0,mri=0,pet=0"], 1, "weight zero"),
        (["--available", "missing.csv"], 1, "cannot read missing.csv"),
    ],
)
def test_options_that_cannot_be_are_named(fitted, capsys, arguments, code, words):
    assert main(["allocate", "--fit", f"{fitted}/fit.json", *arguments]) == code
    assert words in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments", [["--share", "ct=0.5"], ["--share", "ct=0.5:0.2"], ["--budget", "many"], ["--weights", "ct"]]
)
def test_options_of_a_wrong_form_are_usage_errors(fitted, arguments):
    with pytest.raises(SystemExit) as stopped:
        main(["allocate", "--fit", f"{fitted}/fit.json", *arguments])
    assert stopped.value.code == 2


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("domain,amount\nct,5\nmri,5\n", "does not say how much there is of pet"),
        ("domain,amount\nct,5\nct,5\n", ":3: the domain 'ct' is listed twice"),
        ("domain,amount\nct,-5\n", "there cannot be -5"),
        ("domain,amount\ncy,5\n", "the laws have no domain 'cy'"),
        ("name,amount\nct,5\n", "expected the columns domain,amount"),
        ("domain,amount\nct,0\nmri,0\npet,0\n", "nothing of any domain"),
    ],
)
def test_a_table_of_what_there_is_is_read_strictly(fitted, capsys, text, words):
    (fitted / "have.csv").write_text(text)
    assert main(["allocate", "--fit", f"{fitted}/fit.json", "--available", f"{fitted}/have.csv"]) == 1
    assert words in capsys.readouterr().err


@pytest.mark.parametrize(
    ("header", "row", "words"),
    [
        (["run", "tokens", "ct", "mri", "pte"], ["a", 1000, 0.5, 0.3, 0.2], "Did you mean 'pet'?"),
        (["run", "tokens", "ct", "mri"], ["a", 1000, 0.5, 0.5], "there is no column for 'pet'"),
        (["run", "ct", "mri", "pet"], ["a", 0.5, 0.3, 0.2], "no column 'tokens'"),
    ],
)
def test_predictions_of_other_columns_are_refused(fitted, capsys, header, row, words):
    write(fitted / "new.csv", header, [row])
    assert main(["predict", "--fit", f"{fitted}/fit.json", "--mixtures", f"{fitted}/new.csv"]) == 1
    assert words in capsys.readouterr().err


@pytest.mark.parametrize(
    "damage",
    [
        lambda fit: fit["laws"]["ct"]["parameters"].update(log_A=None),
        lambda fit: fit["laws"]["ct"]["draws"][0].__setitem__(0, float("nan")),
        lambda fit: fit.update(scale=0),
        lambda fit: fit.update(budgets=[1]),
        lambda fit: fit["laws"]["ct"].update(family="magic"),
        lambda fit: fit["laws"].pop("pet"),
        lambda fit: fit["laws"]["ct"]["parameters"].update(g_mri=-0.5),
        lambda fit: fit["laws"]["ct"]["parameters"].update(E=-0.05),
        lambda fit: fit["laws"]["ct"]["parameters"].update(log_A=1e300),
        lambda fit: fit.update(losses=[]),
    ],
)
def test_a_fit_file_that_was_tampered_with_is_refused(fitted, capsys, damage):
    document = json.loads((fitted / "fit.json").read_text())
    damage(document)
    (fitted / "fit.json").write_text(json.dumps(document))
    assert main(["allocate", "--fit", f"{fitted}/fit.json"]) == 1
    assert "does not hold fitted laws" in capsys.readouterr().err


def test_a_place_that_cannot_be_written_is_said_before_the_work(tables, capsys):
    assert fit(tables, out="missing/fit.json") == 1
    assert "there is no folder" in capsys.readouterr().err
    assert fit(tables, out="losses.csv") == 1
    assert "is also what is read" in capsys.readouterr().err
    os.mkfifo(tables / "pipe")
    assert fit(tables, out="pipe") == 1
    assert "not a file that could be replaced" in capsys.readouterr().err
    (tables / "folder").mkdir()
    assert fit(tables, out="folder") == 1
    assert "is a folder" in capsys.readouterr().err


def test_extrapolation_is_said(fitted, capsys):
    arguments = ["--fit", f"{fitted}/fit.json", "--mixtures", f"{fitted}/mixtures.csv", "--at", "9k"]
    assert main(["predict", *arguments, "--out", f"{fitted}/p.csv"]) == 0
    assert "78 of 78 rows lie outside the budgets fitted" in capsys.readouterr().err
    assert main(["allocate", "--fit", f"{fitted}/fit.json", "--budget", "9k", "--path", "5k,7k"]) == 0
    said = capsys.readouterr().out
    assert "this extrapolates" in said
    assert "at 7000: ct" in said


def test_the_table_of_the_fit_can_be_predicted_as_it_is(fitted):
    arguments = ["--fit", f"{fitted}/fit.json", "--mixtures", f"{fitted}/mixtures.csv"]
    for more in ([], ["--at", "3000"]):
        assert main(["predict", *arguments, *more, "--out", f"{fitted}/p.csv"]) == 0
        assert len((fitted / "p.csv").read_text().splitlines()) == 1 + 2 * len(design())


def test_a_column_that_a_prediction_names_must_be_there(fitted, capsys):
    """And a column of seeds may have another name than in the fit; it is never taken for a domain."""
    lines = (fitted / "mixtures.csv").read_text().replace("seed", "number").splitlines()
    (fitted / "renamed.csv").write_text("\n".join(lines) + "\n")
    arguments = ["predict", "--fit", f"{fitted}/fit.json", "--mixtures", f"{fitted}/renamed.csv"]
    assert main([*arguments, "--seed", "nummber"]) == 1
    said = capsys.readouterr().err
    assert "there is no column 'nummber'" in said
    assert "Did you mean 'number'?" in said
    assert main(arguments) == 1
    assert "A column that is no domain is named with --seed or --ignore." in capsys.readouterr().err
    assert main([*arguments, "--seed", "number", "--out", f"{fitted}/renamed.out"]) == 0
    same = ["predict", "--fit", f"{fitted}/fit.json", "--mixtures", f"{fitted}/mixtures.csv", "--seed", "seed"]
    assert main([*same, "--out", f"{fitted}/same.out"]) == 0
    assert (fitted / "renamed.out").read_text() == (fitted / "same.out").read_text()


def test_a_tail_without_a_robust_objective_is_refused(fitted, capsys):
    assert main(["allocate", "--fit", f"{fitted}/fit.json", "--tail", "0.5"]) == 1
    assert "--tail means nothing to the objective 'weighted_loss'" in capsys.readouterr().err


def test_a_prediction_at_no_budget_is_refused(fitted, capsys):
    arguments = ["--fit", f"{fitted}/fit.json", "--mixtures", f"{fitted}/mixtures.csv"]
    assert main(["predict", *arguments, "--at", "0"]) == 1
    assert "a budget is above 0" in capsys.readouterr().err


def test_json_is_one_document_and_nothing_else(fitted, capsys):
    capsys.readouterr()
    assert main(["allocate", "--fit", f"{fitted}/fit.json", "--format", "json"]) == 0
    assert json.loads(capsys.readouterr().out)["status"] == "optimal"


def test_trees_stand_beside_the_laws(tables, capsys):
    pytest.importorskip("lightgbm")
    assert fit(tables, "--draws", "0", "--trees") == 0
    found = json.loads((tables / "fit.json").read_text())
    assert set(found["trees"]) == set(NAMES)
    for name in NAMES:  # a smooth law of the right form beats trees on a few dozen runs
        law = found["laws"][name]
        assert law["scores"][law["family"]]["mixture"] < found["trees"][name] < 0.5
    assert "trees" in capsys.readouterr().err


def test_fitting_imports_neither_torch_nor_cvxpy_nor_dvc(tables):
    code = (
        "import sys; from mixlang.cli import main\n"
        f"assert main(['fit', '--mixtures', '{tables}/mixtures.csv', '--losses', '{tables}/losses.csv', '--key', 'run',"
        f" '--budget', 'tokens', '--ignore', 'seed', '--law', 'power', '--draws', '0', '--out', '{tables}/f.json']) == 0\n"
        "print([name for name in ('torch', 'monai', 'dvc', 'cvxpy') if name in sys.modules])"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


# Real tables: 512 language-model runs to fit on, 256 to predict


@pytest.fixture(scope="module")
def regmix(tmp_path_factory):
    if not REGMIX.is_dir():
        pytest.skip(f"the RegMix tables are not at {REGMIX}; set MIXLANG_REGMIX")
    folder = tmp_path_factory.mktemp("regmix")
    begun = time.process_time()
    tables = ["--mixtures", f"{REGMIX}/train_mixture_1m.csv", "--losses", f"{REGMIX}/train_pile_loss_1m.csv"]
    assert main(["fit", *tables, "--law", "transfer_tilted", "--draws", "10", "--out", f"{folder}/fit.json"]) == 0
    seconds = time.process_time() - begun
    arguments = ["--fit", f"{folder}/fit.json", "--mixtures", f"{REGMIX}/test_mixture_1m.csv"]
    assert main(["predict", *arguments, "--out", f"{folder}/p.csv"]) == 0
    return folder, seconds


def test_unseen_language_model_runs_are_predicted(regmix):
    folder, _ = regmix
    predicted = {
        row[0]: np.array(row[1:], float) for row in csv.reader((folder / "p.csv").read_text().splitlines()[1:])
    }
    with (REGMIX / "test_pile_loss_1m.csv").open() as file:
        measured = {row[0]: np.array(row[1:], float) for row in list(csv.reader(file))[1:]}
    guess, truth = (np.array([table[key] for key in sorted(measured)]) for table in (predicted, measured))
    ranks = [spearmanr(guess[:, i], truth[:, i]).statistic for i in range(13)]
    errors = np.sqrt(np.mean((guess - truth) ** 2, axis=0))
    assert np.mean(ranks) >= 0.993
    assert np.mean(errors) <= 0.080
    assert min(ranks) >= 0.972


def test_a_mixture_of_language_data_is_solved_with_its_proof(regmix):
    folder, _ = regmix
    assert main(["allocate", "--fit", f"{folder}/fit.json", "--out", f"{folder}/a.json"]) == 0
    found = json.loads((folder / "a.json").read_text())
    assert found["certificate"]["gap"] < 1e-6
    assert found["baselines"]["uniform"]["objective"] > found["objective"]
    assert found["baselines"]["best_observed"]["objective"] > found["objective"]


def test_allocate_says_what_binds_what_is_dropped_and_what_is_not_allowed(fitted, capsys):
    available = fitted / "there.csv"
    available.write_text("domain,amount\nct,90000\nmri,90000\npet,400\n")
    shared = ["--fit", f"{fitted}/fit.json", "--budget", "6000", "--available", str(available), "--repetition", "2"]

    def said(*arguments):
        capsys.readouterr()
        assert main(["allocate", *shared, *arguments]) == 0
        return " ".join(capsys.readouterr().out.split())

    bound = said("--share", "ct=0:,mri=0:", "--weights", "ct=0")
    assert "pet is held down at 13.33% by its repetition cap (2 times what there is; 400)" in bound
    assert "volumes" not in bound
    assert "against uniform (not allowed: pet 33.3% is above its repetition cap of 13.3%" in bound
    none = ("--share", "pet=0:", "--weights", "pet=0", "--decide", "best_guess")
    assert "pet gets 0.0%, next to nothing; by the laws, --share pet=0.01: would raise" in said(*none)
    kept = said(*none, "--floor", "0.01")
    assert "next to nothing" not in kept
    assert "pet is held up at 1.00% by its floor" in kept
