"""Tables on a terminal: columns stay apart and nothing is lost, at any length and number of names, in any width."""

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mixlang.terminal import matrix, table

SEVEN = ["ct_extremity", "ct_head_neck", "mri_brain_flair", "mri_brain_t1", "ct_abdomen", "pet_wholebody_fdg", "us"]


def test_domains_are_columns_where_they_fit():
    assert matrix(["ct", "mri"], {"allocated": ["62.1%", "37.9%"], "uniform": ["50.0%", "50.0%"]}, width=80) == [
        "                ct    mri",
        "  allocated  62.1%  37.9%",
        "  uniform    50.0%  50.0%",
    ]


def test_seven_long_names_are_rows():
    shares = {kind: [f"{10 * at}.0%" for at in range(7)] for kind in ("allocated", "proportional", "uniform")}
    lines = matrix(SEVEN, shares, width=80)
    assert lines[0].split() == ["allocated", "proportional", "uniform"]
    assert [line.split() for line in lines[1:]] == [[name, *[f"{10 * at}.0%"] * 3] for at, name in enumerate(SEVEN)]


def test_columns_that_do_not_fit_go_into_blocks_with_the_names_again():
    kinds = [f"habit_number_{at}" for at in range(12)]
    lines = matrix(SEVEN, {kind: ["12.5%"] * 7 for kind in kinds}, width=80)
    assert max(map(len, lines)) <= 80
    blocks = "\n".join(lines).split("\n\n")
    assert len(blocks) > 1
    assert all(block.count("ct_abdomen") == 1 for block in blocks)
    assert sum(block.count("12.5%") for block in blocks) == 12 * 7


def test_words_go_on_in_the_next_line_and_numbers_do_not():
    reason = "its budget of 1,000,000 samples is new; and the domain pet_wholebody is new too, which is a long story"
    lines = table(["runs", "why"], [["12", reason]], "rl", width=60)
    assert max(map(len, lines)) <= 60
    assert lines[1].startswith("    12  its budget of 1,000,000 samples")
    assert " ".join(" ".join(lines[1:]).split()) == f"12 {reason}"


def test_a_table_without_names_of_columns_has_no_line_for_them():
    assert table(["", ""], [["measured", "a lot"]], "ll", width=80) == ["  measured  a lot"]


names = st.text("abcdefgh_", min_size=1, max_size=40).filter(lambda text: text.strip("_"))
numbers = st.floats(-1e4, 1e4).map(lambda value: f"{value:.3g}")


@settings(max_examples=300, deadline=None)
@given(st.data(), st.lists(names, min_size=1, max_size=12), st.integers(40, 140))
def test_no_line_is_too_long_and_no_cell_is_lost(data, columns, width):
    rows = data.draw(
        st.dictionaries(names, st.lists(numbers, min_size=len(columns), max_size=len(columns)), min_size=1, max_size=8)
    )
    lines = matrix(columns, rows, width=width)
    assert max(map(len, lines)) <= width
    printed = " ".join(lines).split()
    wanted = sorted(cell for cells in rows.values() for cell in cells)
    assert sorted(text for text in printed if re.fullmatch(r"[-+.e\d]*\d[-+.e\d]*", text)) == wanted
    letters = "".join("".join(printed).split())
    assert all(letters.count(letter) >= "".join([*columns, *rows]).count(letter) for letter in "abcdfgh")


@pytest.mark.parametrize("width", [20, 1])
def test_a_width_too_small_for_it_still_gets_everything(width):
    lines = matrix(SEVEN, {"allocated": ["100.0%"] * 7}, width=width)
    assert "".join("".join(lines).split()).count("100.0%") == 7
