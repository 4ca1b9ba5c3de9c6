"""Imports run one way: a room imports only from the rooms below it. Read from the source, with imports inside functions."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import adaptive_bench

PACKAGE = Path(adaptive_bench.__file__).parent
VALUES = {"compact", "files", "schema", "sizes", "stateful", "stats", "validation"}
# From the bottom to the top. Rooms of one floor do not import each other, except the values.
FLOORS = (
    VALUES,
    {"schedulers"},
    {"learning_rate"},
    {"streams"},
    {"execution"},
    {"estimators"},
    {"datasets", "models", "loggers", "serving"},
    {"training"},
    {"experiment"},
)


def imports(file: Path) -> Iterator[tuple[int, str]]:
    """Line and full name of everything that a file imports: at its top, in functions and for type checkers."""
    folders = (PACKAGE.name, *file.relative_to(PACKAGE).parts[:-1])
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = folders[: len(folders) + 1 - node.level] if node.level else ()
            module = ".".join([*above, *([node.module] if node.module else [])])
            yield from ((node.lineno, f"{module}.{alias.name}") for alias in node.names)


def room(file: Path) -> str:
    return file.relative_to(PACKAGE).parts[0].removesuffix(".py")


def arrows(*rooms: str) -> list[tuple[str, int, str]]:
    """Imports that cross from one of these rooms into another room, as (file, line, room imported)."""
    found = []
    for file in sorted(PACKAGE.rglob("*.py")):
        if room(file) in rooms:
            ours = [(line, name.split(".")) for line, name in imports(file) if name.split(".")[0] == PACKAGE.name]
            where = str(file.relative_to(PACKAGE))
            found += [(where, line, parts[1]) for line, parts in ours if parts[1] != room(file)]
    return found


def circle(targets: dict[str, set[str]]) -> dict[str, set[str]]:
    """What is left of a graph after its leaves are taken away again and again: empty if it has no circle."""
    while leaves := {name for name in targets if not targets[name] & targets.keys()}:
        targets = {name: targets[name] for name in targets.keys() - leaves}
    return targets


def test_every_room_has_a_floor():
    rooms = {room(file) for file in PACKAGE.rglob("*.py")}
    assert rooms == set().union(*FLOORS) | {"analysis", "__init__", "__main__"}


@pytest.mark.parametrize("floor", range(len(FLOORS)))
def test_a_room_imports_only_from_the_rooms_below_it(floor):
    below = VALUES.union(*FLOORS[:floor])
    assert not [arrow for arrow in arrows(*FLOORS[floor]) if arrow[2] not in below]


def test_the_values_have_no_circle():
    assert not circle({name: {target for _, _, target in arrows(name)} for name in VALUES})


def test_the_analysis_imports_only_values():
    assert not [arrow for arrow in arrows("analysis") if arrow[2] not in VALUES]


def test_the_files_of_the_analysis_have_no_circle():
    files = [file for file in (PACKAGE / "analysis").glob("*.py") if file.stem != "__init__"]
    assert not circle({file.stem: {name.split(".")[2] for _, name in imports(file) if ".analysis." in name} for file in files})


@pytest.mark.parametrize("library", ["torch", "pandas", "omegaconf", "yaml"])
def test_schedulers_import_no_heavy_library_not_even_inside_a_function(library):
    files = sorted((PACKAGE / "schedulers").rglob("*.py"))
    found = [(file.name, line) for file in files for line, name in imports(file) if name.split(".")[0] == library]
    assert not found
