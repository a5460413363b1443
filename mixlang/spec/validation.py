"""From plain values to sections: what pydantic finds, said in the language's own words at its place in the file."""

from __future__ import annotations

import re
from typing import Annotated, Any

from pydantic import TypeAdapter, ValidationError

from mixlang import __version__
from mixlang.spec.diagnostics import Diagnostic
from mixlang.spec.lookup import describe, example_at, is_section, known_keys, schema_at, sections_with
from mixlang.spec.positions import Marked, Path_
from mixlang.spec.schema import LANGUAGE_VERSION, Spec
from mixlang.spec.suggest import closest, did_you_mean, nearly, usual_name

_FEW = 4
"""Keys of a section small enough to be listed beside other advice."""

_EXACT = 1e15
"""Whole numbers below this are exact as floats."""

_LONGEST_NUMBER = 60
"""Longer texts are no number that somebody meant to write."""

_NAME_HELP = "letters, digits, '_' and '-', starting with a letter, at most 63"

_WANTED = {
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "int_parsing": "a whole number",
    "float_type": "a number",
    "finite_number": "a finite number",
    "string_type": "text",
    "bool_type": "true or false",
    "list_type": "a list such as [a, b]",
    "dict_type": "a mapping of names to values",
    "model_type": "a section of keys",
    "model_attributes_type": "a section of keys",
}
_RANGE = {
    "greater_than": ("gt", "above"),
    "greater_than_equal": ("ge", "at least"),
    "less_than": ("lt", "below"),
    "less_than_equal": ("le", "at most"),
}


def wrong_version(marked: Marked) -> Diagnostic | None:
    """The one thing to say of a spec in another version of the language: the rest may be right there."""
    given = marked.value.get("mixlang")
    if given is None or isinstance(given, bool | dict | list) or given == LANGUAGE_VERSION:
        return None
    try:
        newer = float(given) > LANGUAGE_VERSION
    except (TypeError, ValueError):
        return None
    reads = f"mixlang {__version__} reads version {LANGUAGE_VERSION} of the language"
    message = f"{reads}, and this spec is in version {_shown(given, ('mixlang',), marked)}"
    help = "install a newer mixlang" if newer else f"write 'mixlang: {LANGUAGE_VERSION}' and see docs/spec.md"
    return marked.diagnostic("MX0109", ("mixlang",), message, help)


def without(broken: set[str], marked: Marked) -> Spec:
    """The spec's sections that are well-formed; reading another one is an error of the caller."""
    parts = {}
    for name, field in Spec.model_fields.items():
        if name not in broken and (name in marked.value or field.default_factory is not None):
            kind = Annotated[field.annotation, *field.metadata] if field.metadata else field.annotation
            parts[name] = TypeAdapter(kind).validate_python(marked.value.get(name, {}))
    return Spec.model_construct(**parts)


def diagnose(error: ValidationError, marked: Marked) -> list[Diagnostic]:
    """One diagnostic a place, and one a mistake: what only follows from another finding is left out."""
    by_path: dict[Path_, list[Any]] = {}
    for item in error.errors(include_url=False):
        by_path.setdefault(_real_path(item["loc"], marked.value), []).append(item)
    misspelt = {
        (*path[:-1], closest(str(path[-1]), known_keys(path[:-1])))
        for path, items in by_path.items()
        if items[0]["type"] == "extra_forbidden"
    }
    twice = {item.position.line for item in marked.problems if item.code == "MX0005"}
    found = []
    for path, items in by_path.items():
        kind = items[0]["type"]
        if isinstance(items[0]["input"], dict) and any(other[: len(path)] == path != other for other in by_path):
            continue  # a table was meant; what is wrong in it has a finding of its own
        follows = kind == "missing" and path in misspelt and path not in marked.keys
        if kind == "too_short" and twice and isinstance(items[0]["input"], dict):
            follows = True
        if not follows:
            found.append(_diagnostic(items, path, marked))
    return found


_BRANCH = re.compile(r"constrained-|dict\[|list\[")
"""What pydantic calls the branches of a union by, where a key may be a number or a table."""


def _real_path(loc: Path_, value: Any) -> Path_:
    """Drop pydantic's own words (union branches, '[key]') from a location."""
    path: list[str | int] = []
    for part in loc:
        if (isinstance(value, dict) and part in value) or (
            isinstance(value, list) and isinstance(part, int) and part < len(value)
        ):
            value = value[part]  # type: ignore[index]
            path.append(part)
        elif isinstance(part, str) and _BRANCH.match(part):
            continue
        elif part != "[key]" and isinstance(value, dict) and isinstance(part, str):
            path.append(part)
            value = None
    return tuple(path)


def _diagnostic(items: list[Any], path: Path_, marked: Marked) -> Diagnostic:
    kinds = {item["type"]: item for item in items}
    item = items[0]
    key = next((part for part in reversed(path) if isinstance(part, str)), "")
    if "extra_forbidden" in kinds:
        return _unknown_key(str(path[-1]), path, marked)
    if "missing" in kinds:
        return _missing(key, path, marked)
    if "[key]" in item["loc"]:
        return marked.diagnostic("MX0106", path, f"'{key}' is not a name", _NAME_HELP, key=True)
    if "string_pattern_mismatch" in kinds:
        return marked.diagnostic("MX0106", path, f"{_shown(item['input'], path, marked)} is not a name", _NAME_HELP)
    if "literal_error" in kinds:
        return _not_a_word(kinds, key, path, marked)
    if item["type"] in _RANGE:
        return _out_of_range([other for other in items if other["type"] in _RANGE], key, path, marked)
    if item["type"] in ("too_short", "too_long"):
        return _wrong_count(item, key, path, marked)
    if item["type"] == "value_error":
        return marked.diagnostic("MX0105", path, f"{key}: {item['ctx']['error']}", _value_help(item["input"], path))
    wanted = _WANTED.get(item["type"], "something else")
    if {"float_type", "dict_type"} <= set(kinds):
        wanted = "a number, or numbers by name as {a: 1, b: 2}"
    message = f"'{key}' must be {wanted}, not {_shown(item['input'], path, marked)}"
    return marked.diagnostic("MX0103", path, message, _type_help(item, path, marked), key=path in marked.empty)


def _unknown_key(key: str, path: Path_, marked: Marked) -> Diagnostic:
    known = known_keys(path[:-1])
    meant = usual_name(key)
    homes = sections_with(meant)
    help = did_you_mean(key, known)
    if homes and meant not in known and not nearly(key, known):
        shown = " or ".join(f"under '{'.'.join(map(str, home))}'" if home else "at the top" for home in homes[:3])
        help = f"'{meant}' belongs {shown}"
        if len(known) < _FEW:
            help += f"; known here: {', '.join(known)}"
    help = _odd_letters(key) or _after_a_comma(key, path, marked) or help or f"known here: {', '.join(known)}"
    return marked.diagnostic("MX0101", path, f"unknown key '{key}'", help, key=True)


def _odd_letters(key: str) -> str:
    """What of a key only looks like YAML: blanks that are none, a wide colon; or ''."""
    odd = next((letter for letter in key if letter in "\uff1a\ufe55" or (letter.isspace() and letter != " ")), "")
    if not odd:
        return ""
    name = "a colon" if odd in "\uff1a\ufe55" else "a blank"
    return f"the letter U+{ord(odd):04X} in it looks like {name} and is none; type that again"


def _after_a_comma(key: str, path: Path_, marked: Marked) -> str:
    """Advice where `200,000` or `0,5` was taken for a value and a key, or ''."""
    if not key.isdigit():
        return ""
    line = marked.at("", marked.locate(path, key=True), "").source_line
    match = re.search(rf"([0-9]+), ?{key}\b", line)
    if not match:
        return ""
    return f"a comma ends a value; write {match[1]}{key} or {match[1]}.{key}"


def _missing(key: str, path: Path_, marked: Marked) -> Diagnostic:
    where = f" in '{path[-2]}'" if len(path) > 1 else ""
    example = example_at(path)
    help = "; ".join(filter(None, [describe(path).rstrip("."), f"for example '{key}: {example}'" if example else ""]))
    if path in marked.keys:  # `key:` with nothing after it
        return marked.diagnostic("MX0102", path, f"'{key}' has no value", help, key=True)
    return marked.diagnostic("MX0102", path[:-1], f"'{key}' is missing{where}", help, key=True)


def _not_a_word(kinds: dict[str, Any], key: str, path: Path_, marked: Marked) -> Diagnostic:
    item = kinds["literal_error"]
    expected = item["ctx"]["expected"]
    if len(kinds) > 1:  # a number or a word
        number = next((other for kind, other in kinds.items() if kind in _RANGE), None)
        if number is not None:
            return _out_of_range([number], key, path, marked)
        message = f"'{key}' must be a number or {expected}, not {_shown(item['input'], path, marked)}"
        help = _number_help(item["input"]) or did_you_mean(str(item["input"]), [expected.strip("'")])
        return marked.diagnostic("MX0104", path, message, help or describe(path))
    words = [word.strip("'") for word in re.split(r", | or ", expected)]
    help = did_you_mean(str(item["input"]), words) or describe(path)
    return marked.diagnostic(
        "MX0104", path, f"'{key}' must be {expected}, not {_shown(item['input'], path, marked)}", help
    )


def _out_of_range(items: list[Any], key: str, path: Path_, marked: Marked) -> Diagnostic:
    limits = []
    for item in items:
        name, words = _RANGE[item["type"]]
        limits.append(f"{words} {item['ctx'][name]:g}")
    message = f"'{key}' must be {' and '.join(limits)}, not {_shown(items[0]['input'], path, marked)}"
    return marked.diagnostic("MX0107", path, message, describe(path))


def _wrong_count(item: Any, key: str, path: Path_, marked: Marked) -> Diagnostic:
    context = item["ctx"]
    least, most = context.get("min_length"), context.get("max_length")
    wanted = f"at least {least}" if item["type"] == "too_short" else f"at most {most}"
    number = context["actual_length"]
    message = f"'{key}' has {number} {'entry' if number == 1 else 'entries'}; expected {wanted}"
    return marked.diagnostic("MX0108", path, message, describe(path), key=path in marked.keys)


def _value_help(value: Any, path: Path_) -> str:
    if isinstance(value, list) and len(value) == 6:
        return "a comma separates entries; decimals have a point: [1.5, 1.5, 1.5]"
    return _amount_help(value) or describe(path)


def _amount_help(value: Any) -> str:
    """`2q` or `2m` where samples are counted: the suffix that was probably meant, or ''."""
    match = re.fullmatch(r"([0-9.]+) ?([a-zA-Z]+)", value.strip()) if isinstance(value, str) else None
    if not match:
        return ""
    suffix = {"q": "k", "m": "M", "t": "G", "b": "G", "g": "G"}.get(match[2].lower(), "")
    return f"did you mean '{match[1]}{suffix}'?" if suffix else ""


def _type_help(item: Any, path: Path_, marked: Marked) -> str:
    value, wanted = item["input"], item["type"]
    if wanted == "bool_type" and isinstance(value, str | int):
        word = str(value).lower()
        if word in ("yes", "on", "y", "1"):
            return "write true"
        if word in ("no", "off", "n", "0"):
            return "write false"
    if wanted == "list_type" and example_at(path):
        return f"for example {example_at(path)}"
    if wanted == "string_type" and isinstance(value, int | float):
        text = marked.written.get(path, str(value))
        quoted = re.search(_pattern_at(path), text)
        return f"put it in quotes: '{text}'" if quoted else f"a name is {_NAME_HELP}"
    if wanted in ("model_type", "model_attributes_type") and is_section(path):
        return f"its keys are {', '.join(known_keys(path))}"
    if wanted.startswith("int") and isinstance(value, str) and value.rstrip().endswith("%"):
        return describe(path)
    if wanted.startswith("int") and isinstance(value, float) and value.is_integer() and abs(value) < _EXACT:
        return f"write {value:.0f}"
    return _number_help(value) or describe(path)


def _pattern_at(path: Path_) -> str:
    """What a text at a place must match; '' where any may stand."""
    node = schema_at(path)
    return next((option["pattern"] for option in (node, *node.get("anyOf", [])) if "pattern" in option), "")


def _number_help(value: Any) -> str:
    """What to write instead of a text that looks like a number in another notation, or ''."""
    if not isinstance(value, str):
        return ""
    text = value.strip()
    if len(text) > _LONGEST_NUMBER:
        return ""
    if re.fullmatch(r"[-+]?[0-9][0-9_]*", text):
        return f"write {text.replace('_', '')}" if "_" in text else f"take off the quotes: {text}"
    if re.fullmatch(r"[-+]?[0-9]*\.?[0-9]+([eE][-+]?[0-9]+)?", text):
        return f"take off the quotes: {text}"
    if re.fullmatch(r"[0-9]+,[0-9]+", text):
        return f"write {text.replace(',', '.')}"
    if re.fullmatch(r"0[oxb][0-9a-fA-F]+", text, re.IGNORECASE):
        try:
            return f"numbers are decimal; write {int(text, 0)}"
        except ValueError:
            return "numbers are decimal"
    match = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?) ?([a-zA-Z%]+)", text)
    if not match:
        return ""
    number, unit = float(match[1]), match[2]
    if unit == "%":
        return f"write a fraction: {number / 100:g}"
    factor = {"k": 1e3, "K": 1e3, "M": 1e6}.get(unit)
    return f"write {number * factor:.12g}" if factor else f"write the number without its unit: {match[1]}"


def _shown(value: Any, path: Path_, marked: Marked) -> str:
    """The value at a place as the file writes it, short."""
    text = marked.written.get(path)
    return show(value) if text is None or value is None else _short(text)


def show(value: Any) -> str:
    """A value as a spec gives it, short."""
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, dict | list):
        return "a mapping" if isinstance(value, dict) else "a list"
    return _short(repr(value))


def _short(text: str) -> str:
    return text if len(text) <= 60 else text[:57] + "..."
