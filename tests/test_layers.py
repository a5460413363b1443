"""The floor plan: who may import whom, no circles, and every module's name once."""

import ast
import re
from collections import Counter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FILES = {
    path.relative_to(ROOT).with_suffix("").as_posix().replace("/", ".").removesuffix(".__init__"): path
    for folder in ("mixlang", "runners")
    for path in (ROOT / folder).rglob("*.py")
}
ABOVE = ("mixlang.cli", "mixlang.commands", "mixlang.study")
"""The rooms that may use all others; in this order, from the top down."""


def imports(name):
    """The modules of the project that a module imports, wherever in it."""
    found = set()
    for node in ast.walk(ast.parse(FILES[name].read_text())):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        if isinstance(node, ast.ImportFrom) and node.module:
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        found |= {module if module in FILES else module.rpartition(".")[0] for module in names}
    return {module for module in found if module in FILES and module != name}


def inside(name, rooms):
    return any(name == room or name.startswith(f"{room}.") for room in rooms)


@pytest.mark.parametrize("name", sorted(FILES))
def test_imports_go_down(name):
    for module in imports(name):
        if not inside(name, ABOVE):
            assert not inside(module, ABOVE), f"{name} imports {module}, which is above it"
        if inside(name, ("mixlang.study",)):
            assert not inside(module, ABOVE[:2]), f"{name} imports {module}, which is above it"
        if name.startswith("mixlang") and not inside(name, ABOVE):
            assert not module.startswith("runners"), f"{name} imports {module}: only study and commands use runners"
        if inside(name, ("runners.data",)):
            assert not inside(module, ("runners.train", "runners.execute", "runners.downstream"))


def test_no_modules_import_each_other_in_a_circle():
    graph = {name: imports(name) for name in FILES}
    # A package's __init__ gives its members other names; the circle through it is Python's, not ours.
    graph = {name: {other for other in found if not name.startswith(f"{other}.")} for name, found in graph.items()}
    done, path = set(), []

    def visit(name):
        if name in path:
            pytest.fail(" -> ".join([*path[path.index(name) :], name]))
        if name not in done:
            path.append(name)
            for other in sorted(graph[name]):
                visit(other)
            path.pop()
            done.add(name)

    for name in graph:
        visit(name)


def test_no_two_modules_have_one_name():
    names = Counter(name.rpartition(".")[2] for name, path in FILES.items() if path.name != "__init__.py")
    assert not {name: count for name, count in names.items() if count > 1}


def test_the_page_of_the_architecture_names_files_that_are_there():
    text = (ROOT / "docs" / "architecture.md").read_text()
    named = set(re.findall(r"`((?:mixlang|runners|tests)/[\w/]+\.py)`", text))
    assert len(named) > 20
    assert {name for name in named if not (ROOT / name).is_file() and "KIND" not in name} == set()
