"""docs/ARCHITECTURE.md shows the packages as they are: imports go one way."""

from __future__ import annotations

import ast
import re
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "src" / "piper"


@pytest.fixture(scope="module")
def rows() -> list[list[str]]:
    """The table of packages, from top to bottom: what stands in each row."""
    text = (ROOT / "docs" / "ARCHITECTURE.md").read_text(encoding="utf-8")
    lines = [line.split("|")[1] for line in text.splitlines() if re.match(r"\| `[^|]+` \|", line)]
    return [re.findall(r"`([^` ]+(?:/|\.py))`", line) for line in lines]


def find_row(path: Path, rows: list[list[str]]) -> int:
    """Return the row of a file: where it stands itself, else where its folder does."""
    name = path.relative_to(PACKAGE).as_posix()
    folders = [f"{parent.as_posix()}/" for parent in Path(name).parents]
    for wanted in (name, *folders):
        for place, row in enumerate(rows):
            if wanted in row:
                return place
    raise AssertionError(f"{name} has no row in docs/ARCHITECTURE.md")


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


@pytest.fixture(scope="module")
def imports() -> dict[Path, set[Path]]:
    """Each file of this package, and what it imports of it."""
    return {path: find_imports(path) - {path} for path in sorted(PACKAGE.rglob("*.py"))}


def test_packages_use_only_what_stands_above_them(
    rows: list[list[str]], imports: dict[Path, set[Path]]
) -> None:
    upward = [
        f"{path.relative_to(PACKAGE)} uses {other.relative_to(PACKAGE)}"
        for path, others in imports.items()
        for other in others
        if find_row(other, rows) > find_row(path, rows)
    ]
    assert not upward


def test_modules_import_in_no_circle(imports: dict[Path, set[Path]]) -> None:
    # Late imports and those for types count: who reads one of a circle has to read them all.
    graph = {
        str(path.relative_to(PACKAGE)): {str(other.relative_to(PACKAGE)) for other in others}
        for path, others in imports.items()
    }
    TopologicalSorter(graph).prepare()  # its error names a circle


def test_every_package_of_the_table_is_there(rows: list[list[str]]) -> None:
    assert len(rows) > 10
    assert [name for row in rows for name in row if not (PACKAGE / name).exists()] == []


def test_json_of_others_comes_in_one_way() -> None:
    # json.loads ends in a RecursionError where brackets lie deep, and in a bare ValueError where a
    # number is long; the reader bounds both, and the size of a file.
    pattern = re.compile(r"\bjson\.loads?\(")
    own = {PACKAGE / "files.py", PACKAGE / "train/evaluate/run.py"}
    """The other one stands in the program that it starts, and reads what it wrote itself."""
    found = {path for path in PACKAGE.rglob("*.py") if pattern.search(path.read_text("utf-8"))}
    assert found == own


def test_what_differs_between_systems_is_in_one_place() -> None:
    # Locks of files are in files.py. Who asks which system this is elsewhere forgets one of them.
    pattern = re.compile(
        r"\bsys\.platform\b|\bos\.name\b|\bimport (fcntl|resource|pwd|msvcrt)\b|\"/(proc|sys)/"
    )
    found = {path for path in PACKAGE.rglob("*.py") if pattern.search(path.read_text("utf-8"))}
    assert found == {PACKAGE / "system.py", PACKAGE / "files.py"}
