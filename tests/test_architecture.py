"""docs/ARCHITECTURE.md draws the house as it stands: its table of rooms equals the imports."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "src" / "piper"
SHARED = {"errors.py", "atomic.py", "json_reader.py", "messages.py"}
"""Rooms that every other one may use; the table leaves them out."""


@pytest.fixture(scope="module")
def drawn() -> dict[str, list[str]]:
    """The table: each room and the rooms that it uses, from top to bottom."""
    text = (ROOT / "docs" / "ARCHITECTURE.md").read_text(encoding="utf-8")
    rows = [line.split("|") for line in text.splitlines() if re.match(r"\| `[^`]+` \|", line)]
    return {row[1].strip(" `"): re.findall(r"`([^`]+)`", row[3]) for row in rows}


def find_room(path: Path, drawn: dict[str, list[str]]) -> str:
    """Return a file's room: its own row where it has one, else its folder's."""
    name = path.relative_to(PACKAGE).as_posix()
    folder = f"{path.parent.relative_to(PACKAGE).as_posix()}/"
    return name if name in drawn or name in SHARED or folder not in drawn else folder


def find_file(module: str) -> Path:
    """Return the file of `piper.a.b`, or of the module that the last part is a name of."""
    path = PACKAGE.joinpath(*module.split(".")[1:])
    while not path.with_suffix(".py").is_file() and not (path / "__init__.py").is_file():
        path = path.parent
    return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")


def find_imports(path: Path) -> set[Path]:
    """Return the files of this package that a file imports, anywhere in it."""
    names: list[str] = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names += [f"{node.module}.{alias.name}" for alias in node.names]
    return {find_file(name) for name in names if name.split(".")[0] == "piper"}


def test_no_arrow_runs_back_up(drawn: dict[str, list[str]]) -> None:
    above: set[str] = set()
    for room, used in drawn.items():
        assert set(used) <= above, f"{room} uses a room that does not stand above it"
        above.add(room)


def test_the_rooms_and_what_they_use_are_those_of_the_imports(drawn: dict[str, list[str]]) -> None:
    found: dict[str, set[str]] = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        room = find_room(path, drawn)
        used = {find_room(other, drawn) for other in find_imports(path)}
        found.setdefault(room, set()).update(used - SHARED - {room})
    # Packages' own files hold a line of text and no code.
    rooms = {
        room: used for room, used in found.items() if room not in SHARED | {"train/__init__.py"}
    }
    assert {room: sorted(used) for room, used in rooms.items()} == {
        room: sorted(used) for room, used in drawn.items()
    }


def test_json_of_others_comes_in_one_way() -> None:
    # json.loads ends in a RecursionError where brackets lie deep, and in a bare ValueError where a
    # number is long; the reader bounds both, and the size of a file.
    pattern = re.compile(r"\bjson\.loads?\(")
    own = {PACKAGE / "json_reader.py", PACKAGE / "train/evaluate/cost.py"}
    """cost.py's stands in the program that it starts, and reads what it wrote itself."""
    found = {path for path in PACKAGE.rglob("*.py") if pattern.search(path.read_text("utf-8"))}
    assert found == own
