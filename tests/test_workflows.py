"""GitHub's workflows, the task for SkyPilot and the notebook: what they name is there, and runs."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from documents import ROOT, check_command, check_make, split_commands

WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
TASK = ROOT / "tools" / "skypilot.yaml"
NOTEBOOK = ROOT / "tools" / "colab.ipynb"
BIN = Path(sys.executable).parent


def find_steps(workflow: Path) -> Iterator[dict[str, Any]]:
    for job in yaml.safe_load(workflow.read_text(encoding="utf-8"))["jobs"].values():
        yield from job.get("steps", [])


def find_scripts() -> Iterator[Any]:
    for workflow in WORKFLOWS:
        for number, step in enumerate(step for step in find_steps(workflow) if "run" in step):
            yield pytest.param(step["run"], id=f"{workflow.stem}-{number}")
    task = yaml.safe_load(TASK.read_text(encoding="utf-8"))
    for key in ("setup", "run"):
        yield pytest.param(task[key], id=f"skypilot-{key}")


def run_schema(workflow: Path) -> subprocess.CompletedProcess[str]:
    command = [BIN / "check-jsonschema", "--builtin-schema", "vendor.github-workflows", workflow]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=lambda path: path.stem)
def test_a_workflow_fits_githubs_schema(workflow: Path, tmp_path: Path) -> None:
    done = run_schema(workflow)
    assert done.returncode == 0, done.stdout
    wrong = tmp_path / workflow.name
    text = workflow.read_text(encoding="utf-8")
    wrong.write_text(text.replace("runs-on:", "run-on:"), encoding="utf-8")
    assert run_schema(wrong).returncode == 1


@pytest.mark.parametrize("script", find_scripts())
def test_a_script_passes_shellcheck(script: str) -> None:
    script = re.sub(r"\$\{\{.*?\}\}", "value", script)
    command = [BIN / "shellcheck", "--shell=bash", "-"]
    done = subprocess.run(command, input=script, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_packages_have_a_readme_whose_links_work_elsewhere(tmp_path: Path) -> None:
    """On PyPI a relative link leads nowhere, and neither does one within the page."""
    (step,) = [
        step
        for step in find_steps(ROOT / ".github" / "workflows" / "tests.yml")
        if step.get("name") == "Make the links of README absolute"
    ]
    shutil.copy(ROOT / "README.md", tmp_path)
    for command in (["init", "-q"], ["add", "README.md"]):
        subprocess.run(["git", *command], cwd=tmp_path, check=True)
    environment = {**os.environ, "FILES": "https://example.org/blob/abc"}
    shell = ["bash", "-euo", "pipefail", "-c", step["run"]]
    subprocess.run(shell, cwd=tmp_path, env=environment, check=True)
    text = (tmp_path / "README.md").read_text(encoding="utf-8")
    links = re.findall(r"\]\(([^)]+)\)", text)
    assert {link for link in links if not link.startswith("https://")} == set()
    assert "https://example.org/blob/abc/docs/pictures/speak.png?raw=true" in links
    for target in (
        "docs/RESULTS.md#the-demo-of-a-quick-voice",
        "README.md#which-voice-for-which-machine",
    ):
        assert f"https://example.org/blob/abc/{target}" in links
    status = subprocess.run(["git", "diff", "--quiet"], cwd=tmp_path, check=False)
    assert status.returncode == 0  # else the version would be a changed tree's


def test_what_workflows_name_exists() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    supported = {
        name.rpartition(" ")[2] for name in project["classifiers"] if "Python :: 3." in name
    }
    supported = {name for name in supported if name.startswith("3.")}
    for workflow in WORKFLOWS:
        text = workflow.read_text(encoding="utf-8")
        assert set(re.findall(r'"(3\.\d+)"', text)) <= supported
        for lists in re.findall(r"python: \[(.*)\]", text):
            assert set(re.findall(r"3\.\d+", lists)) == supported
        for target in re.findall(r"make (\w+)", text):
            check_make([target])
        for extra in re.findall(r'"\.\[([\w,]+)\]"', text):
            assert set(extra.split(",")) <= set(project["optional-dependencies"])
        for path in re.findall(r"(?<![\w/.])(?:tests|docs)/[\w/.]+", text):
            assert (ROOT / path.rstrip(".")).exists(), path
        for called in re.findall(r"uses: \./(\S+)", text):
            assert (ROOT / called).is_file()
    images = re.search(r"image: \[(.*)\]", (ROOT / ".github/workflows/release.yml").read_text())
    assert images
    for name in images[1].split(", "):
        assert (ROOT / "docker" / f"{name}.Dockerfile").is_file()


def test_the_task_of_skypilot_trains() -> None:
    task = yaml.safe_load(TASK.read_text(encoding="utf-8"))
    assert set(task) == {"name", "workdir", "resources", "envs", "setup", "run"}
    for variable in re.findall(r"\$(\w+)", task["run"]):
        assert variable in task["envs"]
    values = {"BUCKET": "s3://bucket/anna", **{k: v for k, v in task["envs"].items() if v}}
    script = re.sub(r"\$(\w+)", lambda found: values[found[1]], task["run"])
    [words] = split_commands(script)
    check_command(words)
    assert "--ckpt_path=last" in words


def read_cells() -> list[str]:
    """Return the notebook's code cells as Python; `!command` becomes a call of `system`."""
    cells = json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"]
    code = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]
    code = [re.sub(r"\\\n\s*", "", text) for text in code]
    code = [re.sub(r"(?m)^(\s*)!(.*)$", r"\1system(f'''\2''')", text) for text in code]
    return [re.sub(r"(?m)^(\s*)%cd (.*)$", r"\1chdir('\2')", text) for text in code]


def test_the_notebooks_commands_are_understood() -> None:
    commands: list[str] = []
    parameters, *cells = read_cells()
    names: dict[str, Any] = {"system": commands.append, "chdir": lambda folder: None}
    exec(parameters, names)
    for cell in cells[:-1]:
        exec(cell, names)
    compile(cells[-1], "cell", "exec")
    assert len(commands) == 7
    for command in commands:
        for words in split_commands(command):
            check_command(words)


@pytest.mark.long
def test_the_notebook_makes_a_voice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Cell by cell by papermill, but for the installation; with a tiny network and seconds."""
    import papermill

    (tmp_path / "tools").symlink_to(ROOT / "tools")
    notebook = json.loads(NOTEBOOK.read_text(encoding="utf-8"))
    cells = [cell for cell in notebook["cells"] if "pip install" not in "".join(cell["source"])]
    assert len(cells) == len(notebook["cells"]) - 1
    made = tmp_path / "colab.ipynb"
    made.write_text(json.dumps({**notebook, "cells": cells}), encoding="utf-8")
    monkeypatch.setenv("PATH", f"{BIN}{os.pathsep}{os.environ['PATH']}")
    parameters = {"QUALITY": "tiny", "TIME": "00:00:00:20"}
    papermill.execute_notebook(
        made, tmp_path / "done.ipynb", parameters, cwd=tmp_path, progress_bar=False
    )
    # A command that fails does not end a cell.
    assert "error: " not in (tmp_path / "done.ipynb").read_text(encoding="utf-8")
    assert (tmp_path / "voice.onnx.json").is_file()
    assert (tmp_path / "hello.wav").stat().st_size > 10_000
