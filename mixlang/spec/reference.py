"""The reference pages, made from the schema and the table of codes: `python -m mixlang.spec.reference` writes them.

docs/spec.md, docs/diagnostics.md and specs/mixlang.schema.json; a test fails where they differ from what is made here.
"""

from __future__ import annotations

from pathlib import Path

from mixlang.spec.codes import CODES, EXAMPLE_SPEC, Code
from mixlang.spec.lookup import Node, inline, json_schema, schema_at, schema_text

Path_ = tuple[str | int, ...]

_INTRO = """\
# The spec

A spec is a YAML file in `specs/` of a workspace. `mixlang check SPEC` says everything that is wrong with it, and
`--resolved` prints it with every default explicit. This page is made from the schema that checks it.

The smallest useful spec:

```yaml
{example}```

## YAML as it is read here

| written | means |
|---|---|
| `no`, `yes`, `on`, `off`, `y` | text; only `true` and `false` are truth values |
| `1e-3`, `.5`, `5e4` | numbers |
| `10k`, `2M`, `1.5M`, `1_000` | numbers of samples, where samples are meant; elsewhere text |
| `500 GB` | a size on disk, where one is meant (decimal units) |
| `017` | 17; nothing is octal, hexadecimal or base 60 |
| `0o17`, `0x1f`, `12:30:45`, `2026-11-24` | text |
| `key:` and `key: null` | as if the key were not there; a bare `key:` whose value has a default gets a warning |
| a key twice, `<<`, tags, tabs for indentation | errors |
| `&anchor`, `*alias` | as in YAML, at most 100 of them |

## Building on another file

`extends: bases/site.yaml` (relative to the spec, in `specs/bases/`) takes that file first and this one on top of it:
sections are merged key by key, lists and single values replace what was there, and an explicit `key: null` takes a key,
or a domain, out (a bare `pet:` is an error: more likely unfinished). A base may extend another; a circle is an error.
Messages point into the file that holds the mistake.

`--set key.path=value`, as in `--set budgets.target=400k`, goes on top of both, in `check`, `plan`, `compile` and
`run`. What was set is kept in `build/SPEC/overrides.json`, which the pipeline depends on, and in the provenance of what is
published; the next `run` or `compile` without it goes back to the file.

## Paths

`${{data_root}}`, or any other `${{name}}`, comes from the environment (`MIXLANG_DATA_ROOT`, `MIXLANG_NAME`) or from
`mixlang.local.yaml` beside `dvc.yaml` (`data_root: PATH`), which git ignores. Other paths are relative to the workspace.

## Editors

Workspaces hold `specs/mixlang.schema.json` (also printed by `mixlang schema`). With the YAML extension of VS Code and
the first line

```yaml
# yaml-language-server: $schema=mixlang.schema.json
```

keys are completed, explained on hover and checked while you type.

## Versions

`mixlang: 1` is the version of the language. A spec in another version is refused with one message, since the rest of it
may be right there. Within a version keys are only added, and a new key has a default that keeps what older specs mean.

"""


def spec_page() -> str:
    """docs/spec.md."""
    parts = [_INTRO.format(example=EXAMPLE_SPEC)]
    parts[0] = parts[0].rstrip() + "\n"
    parts.append("## The keys\n")
    _section(json_schema(), (), parts)
    return "\n".join(parts).rstrip() + "\n"


def _section(node: Node, path: Path_, parts: list[str]) -> None:
    """A table of a section's keys, then its sections in turn."""
    if path:
        title = ".".join(str(part) for part in path)
        parts.append(f"### `{title}`\n")
        parts.append(node.get("description", "").strip() + "\n")
    required = set(node.get("required", [])) | (set(node.get("then", {}).get("required", [])) if not path else set())
    rows, inner = [], []
    for key in node["properties"]:
        place = (*path, key)
        found = schema_at(place)
        table = _table_of(found)
        if "properties" in found:
            inner.append((place, found))
            continue
        if table is not None and "properties" in table:
            name = {"domains": "NAME", "share": "DOMAIN", "group": "NAME"}.get(key, "NAME")
            inner.append(((*place, name), table))
        if (items := _items_of(found)) is not None:
            inner.append(((*place, "[]"), items))
        rows.append(_row(key, node["properties"][key], found, key in required))
    if rows:
        parts.append("| key | what it says | unit | default | example |\n|---|---|---|---|---|")
        parts[-1] += "".join(f"\n{row}" for row in rows) + "\n"
    for place, found in inner:
        _section(found, place, parts)


def _table_of(node: Node) -> Node | None:
    """The section that a table by name holds, if it holds sections."""
    options = [*node.get("patternProperties", {}).values(), node.get("additionalProperties")]
    return next((_resolved(item) for item in options if isinstance(item, dict) and "$ref" in item), None)


def _items_of(node: Node) -> Node | None:
    """The section that a list holds, if it holds sections."""
    items = node.get("items", {})
    return _resolved(items) if "$ref" in items else None


def _resolved(node: Node) -> Node:
    return json_schema()["$defs"][node["$ref"].split("/")[-1]]


def _row(key: str, node: Node, found: Node, required: bool) -> str:
    default = "must be given" if required else _default(node)
    words = _words(node)
    said = str(node.get("description") or found.get("description", "")).strip() + (f" One of {words}." if words else "")
    example = inline(node["examples"][0]) if node.get("examples") else ""
    cells = [f"`{key}`", said, node.get("unit", ""), default, f"`{key}: {example}`" if example else ""]
    return "| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in cells) + " |"


def _default(node: Node) -> str:
    value = node.get("default")
    return "left out" if value is None or value in ({}, [], "") else f"`{inline(value)}`"


def _words(node: Node) -> str:
    options = [node, *node.get("anyOf", []), node.get("items", {})]
    words = next((option["enum"] for option in options if "enum" in option), [])
    return ", ".join(f"`{word}`" for word in words)


def diagnostics_page() -> str:
    """docs/diagnostics.md."""
    parts = [
        "# Diagnostics\n",
        "Every problem of a spec is reported in one pass, file by file, as\n",
        "```text\nspecs/demo.yaml:2:1: error[MX0101]: unknown key 'nmae'\n 2 | nmae: demo\n   | ^^^^\n"
        "   help: did you mean 'name'?\n```\n",
        "`--format json` gives the same to programs, `--format github` to pull requests (`::error file=...`). Warnings say "
        "what will probably disappoint; `--strict` makes them errors. Codes never change their meaning. `MX00..` are about "
        "files and YAML, `MX01..` about keys and values, `MX02..` about what they mean together, `MX03..` about the data "
        "and packages there are, `MX04..` about limits. This page is made from the table that the compiler uses.\n",
        "The examples are edits of this spec, which checks without a warning:\n",
        f"```yaml\n{EXAMPLE_SPEC}```\n",
    ]
    for code, said in CODES.items():
        kind = "warning" if said.warning else "error"
        parts.append(f"## {code}: {said.title}\n\n{kind.capitalize()}. {said.text}\n")
        example = _example(said)
        if example:
            parts.append(f"```yaml\n{example}\n```\n")
    return "\n".join(parts).rstrip() + "\n"


def _example(code: Code) -> str:
    """The lines of the example spec that the edit changes, after it."""
    if not code.old:
        return ""
    before, after = EXAMPLE_SPEC.splitlines(), EXAMPLE_SPEC.replace(code.old, code.new, 1).splitlines()
    shown = [line if len(line) < 140 else line[:120] + " ..." for line in after if line not in before]
    return "\n".join(shown) or "# nothing is left there"


def write(root: Path) -> None:
    """Write all three below the repository's root."""
    from mixlang.files import write_text

    write_text(root / "docs" / "spec.md", spec_page())
    write_text(root / "docs" / "diagnostics.md", diagnostics_page())
    write_text(root / "specs" / "mixlang.schema.json", schema_text())


if __name__ == "__main__":
    write(Path.cwd())
