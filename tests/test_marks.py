"""YAML with positions: what each scalar means, and what is refused."""

import pytest

from mixlang.spec.diagnostics import SpecError
from mixlang.spec.positions import parse


def value_of(tmp_path, text):
    path = tmp_path / "spec.yaml"
    path.write_text(text)
    return parse(path).value


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("no", "no"),
        ("on", "on"),
        ("yes", "yes"),
        ("true", True),
        ("False", False),
        ("1e-3", 1e-3),
        ("1.5e3", 1500.0),
        (".5", 0.5),
        ("1_000", "1_000"),
        ("12:30:45", "12:30:45"),
        ("0o17", "0o17"),
        ("017", 17),
        ("2026-11-23", "2026-11-23"),
        ("10k", "10k"),
        ("~", None),
        ("null", None),
        ("'5'", "5"),
        (".inf", float("inf")),
    ],
)
def test_what_a_scalar_means(tmp_path, text, value):
    found = value_of(tmp_path, f"key: {text}\n")["key"]
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize(
    ("text", "line", "column", "words"),
    [
        ("a: 1\na: 2\n", 2, 1, "twice"),
        ("a:\n\tb: 1\n", 2, 1, "not valid YAML"),
        ("a: [1, 2\n", 1, 4, "a bracket is opened here and not closed"),
        ("b: &x {c: 1}\na:\n  <<: *x\n", 3, 3, "merge keys"),
        ("a: !!python/object:os.system x\n", 1, 4, "not allowed"),
        ("[1, 2]: 3\n", 1, 1, "plain word"),
    ],
)
def test_what_is_refused_and_where(tmp_path, text, line, column, words):
    path = tmp_path / "spec.yaml"
    path.write_text(text)
    try:
        (found,) = parse(path).problems
    except SpecError as error:
        (found,) = error.diagnostics
    assert (found.position.line, found.position.column) == (line, column)
    assert words in found.render()


@pytest.mark.parametrize(
    "data",
    [
        b"\xff\xfe\x00binary",
        b"a: \x00\n",
        b"x" * 2_000_000,
        b"[" * 5_000,
        b"a: &a [x]\n" + b"".join(b"b%d: &b%d [*%s, *%s]\n" % (i, i, p, p) for i, p in [(0, b"a"), (1, b"b0")]) * 60,
    ],
    ids=["utf-16", "nul", "large", "deep", "duplicate aliases"],
)
def test_hostile_files_are_refused_with_a_diagnostic(tmp_path, data):
    path = tmp_path / "spec.yaml"
    path.write_bytes(data)
    with pytest.raises(SpecError) as error:
        parse(path)
    assert error.value.diagnostics[0].code.startswith("MX0")


def test_an_alias_bomb_is_refused(tmp_path):
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 9)]
    with pytest.raises(SpecError, match="error"):
        value_of(tmp_path, "\n".join(lines))


def test_positions_point_at_keys_and_values(tmp_path):
    path = tmp_path / "spec.yaml"
    path.write_text("a:\n  b: [1, 22]\n")
    marked = parse(path)
    position, width = marked.locate(("a", "b", 1))
    assert (position.line, position.column, width) == (2, 10, 2)
    position, _ = marked.locate(("a", "b"), key=True)
    assert (position.line, position.column) == (2, 3)
    assert marked.locate(("a", "absent"))[0].line == 1
