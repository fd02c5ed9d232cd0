"""The Dockerfiles: linted, and what they name is there. They are not built here."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
DOCKERFILES = {name: ROOT / "docker" / f"{name}.Dockerfile" for name in ("serve", "train")}
LINTER = Path(sys.executable).with_name("hadolint")


@pytest.fixture(params=DOCKERFILES)
def dockerfile(request: pytest.FixtureRequest) -> Path:
    return DOCKERFILES[request.param]


@pytest.fixture
def instructions(dockerfile: Path) -> list[tuple[str, str]]:
    """Instructions and their arguments."""
    return read_instructions(dockerfile)


def read_instructions(dockerfile: Path) -> list[tuple[str, str]]:
    """Return instructions and their arguments, continued lines joined."""
    text = re.sub(r"^\s*#.*\n", "", dockerfile.read_text(encoding="utf-8"), flags=re.MULTILINE)
    lines = re.sub(r"\\\n\s*", "", text).splitlines()
    return [(line.split(maxsplit=1)[0], line.split(maxsplit=1)[1]) for line in lines if line]


def find_all(instructions: list[tuple[str, str]], name: str) -> list[str]:
    return [argument for instruction, argument in instructions if instruction == name]


def test_the_linter_has_nothing_to_say(dockerfile: Path) -> None:
    result = subprocess.run(
        [LINTER, "--no-color", dockerfile], capture_output=True, text=True, check=False
    )
    assert (result.returncode, result.stdout) == (0, "")


def test_the_linter_is_awake(dockerfile: Path, tmp_path: Path) -> None:
    bad = tmp_path / "Dockerfile"
    text = dockerfile.read_text(encoding="utf-8")
    bad.write_text(text.replace("FROM python:3.12.12-slim-bookworm", "FROM python"), "utf-8")
    result = subprocess.run([LINTER, bad], capture_output=True, text=True, check=False)
    assert result.returncode == 1
    assert "DL3006" in result.stdout


def test_the_base_has_a_fixed_version(instructions: list[tuple[str, str]]) -> None:
    bases = {argument.split(" AS ")[0] for argument in find_all(instructions, "FROM")}
    # One for all stages: what was built for one Python does not run on another.
    (base,) = bases
    assert re.fullmatch(r"python:3\.\d+\.\d+-slim-[a-z]+", base)


def test_it_runs_as_nobody_special_and_hears_signals(instructions: list[tuple[str, str]]) -> None:
    assert find_all(instructions, "USER") == ["1000:1000"]
    # The form with brackets starts no shell in between, which would keep SIGTERM to itself.
    assert json.loads(find_all(instructions, "ENTRYPOINT")[0])[:2] == ["python", "-m"]
    json.loads(find_all(instructions, "CMD")[0])


def test_everything_that_is_copied_is_there_and_let_through(
    dockerfile: Path, instructions: list[tuple[str, str]]
) -> None:
    ignored = dockerfile.with_name(f"{dockerfile.name}.dockerignore").read_text(encoding="utf-8")
    let_through = {line[1:] for line in ignored.splitlines() if line.startswith("!")}
    copied = {
        word.removeprefix("./")
        for argument in find_all(instructions, "COPY")
        if not argument.startswith("--from=")
        for word in argument.split()[:-1]
    }
    assert copied == let_through
    for name in copied:
        assert (ROOT / name).exists(), name


def test_extras_exist(dockerfile: Path, instructions: list[tuple[str, str]]) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    arguments = dict(argument.split("=") for argument in find_all(instructions, "ARG"))
    assert set(arguments) == {"EXTRAS", "VERSION"}
    extras = arguments["EXTRAS"]
    assert set(extras.split(",")) <= set(project["optional-dependencies"])
    needed = {"serve": {"http", "wyoming"}, "train": {"train"}}[dockerfile.stem]
    assert needed <= set(extras.split(","))
    # What the wheel is built from must be among what is copied.
    assert project["readme"] == "README.md"


def test_no_secrets(instructions: list[tuple[str, str]]) -> None:
    words = " ".join(f"{name} {argument}" for name, argument in instructions).lower()
    for word in ("secret", "token", "password", "aws_", "api_key"):
        assert word not in words
