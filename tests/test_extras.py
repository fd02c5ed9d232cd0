"""An installation with any extra, or none: each command works, or names the extra that it wants.

Distributions that are not asked for are not there at all: the interpreter sees this package and
links to those that it may have.
"""

from __future__ import annotations

import importlib.metadata
import os
import re
import shutil
import subprocess
import sys
import tomllib
import wave
from collections.abc import Iterator
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from piper.train.command import SUBCOMMANDS

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
EXTRAS = sorted(set(PROJECT["optional-dependencies"]) - {"dev", "long"})
SUPPORTED = [name.rpartition(" ")[2] for name in PROJECT["classifiers"] if ":: 3." in name]
SENTENCE = re.compile(r"error: .*pip install [^`]*(?:piper-workshop|\.)\[(\w+)\].*")

# Runs each command in a child of a process that has imported nothing of ours yet.
DRIVER = """
import os, runpy, sys, traceback
for line in sys.stdin.read().splitlines():
    module, *arguments = line.split("\\t")
    print(f"== {line}", file=sys.stderr, flush=True)
    child = os.fork()
    if child == 0:
        sys.argv = [module, *arguments]
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        code = 0
        try:
            if module.endswith(".py"):
                runpy.run_path(module, run_name="__main__")
            else:
                runpy.run_module(module, run_name="__main__", alter_sys=True)
        except SystemExit as end:
            code = end.code or 0
            if isinstance(code, str):
                print(code, file=sys.stderr)
                code = 1
        except BaseException:
            traceback.print_exc()
            code = 99
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    print(f"\\n-- {code}", file=sys.stderr, flush=True)
"""


def find_distributions(requirements: list[str]) -> Iterator[importlib.metadata.Distribution]:
    """Yield all distributions that requirements bring, as they are installed here."""
    pending = [Requirement(text) for text in requirements]
    seen = set()
    while pending:
        requirement = pending.pop()
        key = (requirement.name.lower(), frozenset(requirement.extras))
        if key in seen:
            continue
        seen.add(key)
        try:
            found = importlib.metadata.distribution(requirement.name)
        except importlib.metadata.PackageNotFoundError:
            continue
        yield found
        for text in found.requires or []:
            inner = Requirement(text)
            extras = requirement.extras or {""}
            if inner.marker is None or any(inner.marker.evaluate({"extra": e}) for e in extras):
                pending.append(inner)


def create_environment(folder: Path, requirements: list[str]) -> Path:
    """Make a virtual environment with links to what requirements bring; return its Python."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
    [site] = (folder / "lib").glob("python*/site-packages")
    for distribution in find_distributions(requirements):
        tops = {file.parts[0] for file in distribution.files or []}
        for top in tops - {"..", "__pycache__"}:
            source = Path(str(distribution.locate_file(top)))
            if source.exists() and not (site / top).exists():
                (site / top).symlink_to(source)
    return folder / "bin" / "python"


@pytest.fixture(scope="module")
def commands(tiny_voice: Path, tmp_path_factory: pytest.TempPathFactory) -> list[list[str]]:
    """Every command, with arguments that let it come as far as its imports."""
    folder = tmp_path_factory.mktemp("extras")
    (folder / "wavs").mkdir()
    with wave.open(str(folder / "wavs" / "a.wav"), "wb") as recording:
        recording.setparams((1, 2, 22050, 0, "NONE", ""))
        recording.writeframes(b"\0\1" * 22050)
    (folder / "metadata.csv").write_text("a.wav|One.\n", encoding="utf-8")
    dataset, out, voice = str(folder), str(folder / "out"), str(tiny_voice)
    (folder / "report.json").write_text("{}", encoding="utf-8")
    arguments = {
        "import": [dataset, f"{folder}.imported", "--language=en-us"],
        "split": [f"{dataset}/wavs/a.wav", out, f"--text={dataset}/metadata.csv", "--language=ru"],
        "check": [dataset],
        "review": [dataset, "--no-browser"],
        "excerpts": [dataset, out],
        "phonemes": [dataset],
        "evaluate": [f"--model={voice}", f"--dataset={dataset}", f"--output-dir={out}"],
        "prepare": [dataset],
        "copy": [voice, f"--output-file={out}/fast.onnx", "--license=mit", "--minutes=0.01"],
        "export": [voice, "--for=sonata", f"--output-dir={out}"],
        "publish": [voice, "--repo=anna/voice", "--license=mit"],
        "listening-test": ["--report", dataset, "-o", f"{out}.html"],
    }
    assert set(arguments) == set(SUBCOMMANDS)
    train = [["piper.train", verb, *rest] for verb, rest in arguments.items()]
    quick = [f"--data.dataset_dir={dataset}", "--data.num_workers=0", "--model.quality=tiny"]
    quick += ["--trainer.accelerator=cpu", "--trainer.fast_dev_run=true"]
    speak = ["piper", "-m", voice, "-f", f"{out}.wav"]
    return [
        *train,
        *(["piper.train", verb, *quick] for verb in ("fit", "validate")),
        ["piper.train", "--help"],
        ["piper.train", "fit", "--help"],
        ["piper.train.export_onnx", f"--checkpoint={folder / 'a.wav'}", f"--output-file={out}"],
        ["piper.http_server", "-m", "nobody"],
        ["piper.wyoming_server", "-m", "nobody"],
        ["piper.download_voices", "--help"],
        ["piper.patch_voice_with_alignment", voice, f"--output={out}.onnx"],
        [*speak, "--", "One."],
        ["piper", "-m", voice, "-f", f"{out}.mp3", "--", "One."],
        [*speak, "--sample-rate=8000", "--", "One."],
        [*speak, "--input-format=markdown", "--", "One."],
        [*speak, "--write-numbers", "--", "1"],
        ["piper", "-m", voice, "-d", f"{out}.d", "--ray=auto", "--", "One."],
        [str(ROOT / "start_training.py"), "--dry-run", f"--dataset={dataset}"],
        [str(ROOT / "tools" / "inference" / "test_model.py"), f"--model={voice}"],
    ]


def own_environment() -> dict[str, str]:
    """Return variables that let an interpreter see no package but its own."""
    return {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}


def run_commands(
    python: Path, commands: list[list[str]], folder: Path
) -> dict[str, tuple[int, str]]:
    """Run all commands; return exit code and standard error of each."""
    done = subprocess.run(
        [python, "-c", DRIVER],
        input="\n".join("\t".join(words) for words in commands),
        capture_output=True,
        text=True,
        cwd=folder,
        env=own_environment(),
        check=True,
    )
    results = {}
    for block in done.stderr.split("== ")[1:]:
        line, _, rest = block.partition("\n")
        said, _, code = rest.rpartition("\n-- ")
        results[line.replace("\t", " ")] = (int(code.split()[0]), said)
    assert len(results) == len(commands), done.stderr
    return results


def find_errors(results: dict[str, tuple[int, str]]) -> dict[str, str]:
    """Return the error of each command that failed; each is one line, and never a traceback."""
    errors = {}
    for command, (code, said) in results.items():
        assert "Traceback" not in said, f"{command}: {said}"
        if code:
            lines = [line for line in said.splitlines() if line.startswith("error: ")]
            assert len(lines) == 1, f"{command}: {code}: {said}"
            errors[command] = lines[0]
    return errors


def test_without_extras_every_command_names_the_one_that_it_wants(
    commands: list[list[str]], tmp_path: Path
) -> None:
    python = create_environment(tmp_path / "env", PROJECT["dependencies"])
    [site] = (tmp_path / "env" / "lib").glob("python*/site-packages")
    (site / "ours.pth").write_text(f"{ROOT / 'src'}\n", encoding="utf-8")
    errors = find_errors(run_commands(python, commands, tmp_path))
    unclear = {command: e for command, e in errors.items() if not SENTENCE.fullmatch(e)}
    assert not unclear
    wanted = {found[1] for error in errors.values() for found in SENTENCE.finditer(error)}
    assert wanted == {"train", "http", "wyoming", "codecs", "formats", "markdown", "numbers", "ray"}
    assert sum("[train]" in error for error in errors.values()) >= len(SUBCOMMANDS)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """This distribution, built outside of its source's folder."""
    folder = tmp_path_factory.mktemp("wheel")
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, folder)
    ignore = shutil.ignore_patterns("__pycache__", "*.egg-info")
    shutil.copytree(ROOT / "src", folder / "src", ignore=ignore)
    pip = [sys.executable, "-m", "pip", "-q", "wheel", "--no-deps", f"--wheel-dir={folder}"]
    subprocess.run([*pip, str(folder)], check=True)
    [path] = folder.glob("*.whl")
    return path


def find_pythons() -> list[Path]:
    """Return an interpreter of each supported version that is here, pyenv's included."""
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    found = []
    for version in SUPPORTED:
        places = [Path(path) for path in [shutil.which(f"python{version}")] if path]
        # A shim runs only the versions that are switched on.
        places = [path for path in places if path.parent.name != "shims"]
        places += sorted(pyenv.glob(f"versions/{version}.*/bin/python{version}"))
        found += places[:1]
    return found


@pytest.fixture(scope="module")
def packages(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Wheel and sdist of a tagged version, the wheel built from the sdist, as a release does."""
    folder = tmp_path_factory.mktemp("packages")
    subprocess.run([sys.executable, "-m", "venv", folder / "env"], check=True)
    python = folder / "env" / "bin" / "python"
    subprocess.run([python, "-m", "pip", "-q", "install", "build"], check=True)
    # What setuptools-scm reads of the tag, where there is one.
    environment = {**own_environment(), "SETUPTOOLS_SCM_PRETEND_VERSION": "9.8.7"}
    build = [python, "-m", "build", "--outdir", folder / "dist", wheel.parent]
    subprocess.run(build, env=environment, check=True, capture_output=True)
    names = {
        "wheel": "piper_workshop-9.8.7-py3-none-any.whl",
        "sdist": "piper_workshop-9.8.7.tar.gz",
    }
    return {kind: folder / "dist" / name for kind, name in names.items()}


@pytest.mark.long
@pytest.mark.timeout(900)
@pytest.mark.parametrize("kind", ["wheel", "sdist"])
@pytest.mark.parametrize("python", find_pythons(), ids=lambda path: path.name)
def test_a_package_speaks_in_a_clean_environment(
    python: Path, kind: str, packages: dict[str, Path], tiny_voice: Path, tmp_path: Path
) -> None:
    """With each Python that is here; nothing is shared, and no repository is near."""
    subprocess.run([python, "-m", "venv", tmp_path / "env"], check=True)
    scripts = tmp_path / "env" / "bin"

    def run(*command: str | Path) -> str:
        done = subprocess.run(
            [scripts / command[0], *command[1:]],
            cwd=tmp_path,
            env={**own_environment(), "PIPER_CACHE_DIR": str(tmp_path), "LANG": "ru_RU.UTF-8"},
            capture_output=True,
            text=True,
            check=True,
        )
        return done.stdout + done.stderr

    run("python", "-m", "pip", "-q", "install", packages[kind])
    assert run("piper", "--version").strip().endswith("9.8.7")
    assert "9.8.7" in run("piper-workshop", "--version")  # what pipx and uvx run
    run("piper", "-m", tiny_voice, "-f", "hello.wav", "--", "One.")
    with wave.open(str(tmp_path / "hello.wav")) as sound:
        assert sound.getnframes() > 1000
    assert "torch" not in run("python", "-m", "pip", "list")
    site = next((tmp_path / "env" / "lib").glob("python*/site-packages/piper"))
    for name in ("py.typed", "locale/ru/piper.po", "server/web/page.html"):
        assert (site / name).is_file()
    assert list((site / "train" / "pages" / "templates").glob("*.html"))


@pytest.mark.long
@pytest.mark.timeout(900)
@pytest.mark.parametrize("extra", EXTRAS)
def test_one_extra_alone(
    extra: str, wheel: Path, commands: list[list[str]], tmp_path: Path
) -> None:
    """Installed by pip; what all extras need, and torch, is shared with this environment."""
    shared = [*PROJECT["dependencies"], *(["torch"] if extra in ("train", "ru") else [])]
    python = create_environment(tmp_path / "env", shared)
    pip = [sys.executable, "-m", "pip", "--python", str(python), "-q", "install"]
    constraints = str(ROOT / "constraints.txt")
    subprocess.run(
        [*pip, "-c", constraints, f"{wheel}[{extra}]"], env=own_environment(), check=True
    )
    if "torch" in shared:  # as docs/GPU.md has it: what is there stays
        [site] = (tmp_path / "env" / "lib").glob("python*/site-packages")
        assert (site / "torch").is_symlink()
    errors = find_errors(run_commands(python, commands, tmp_path))
    assert not any(f"[{extra}]" in error for error in errors.values()), errors
    if extra != "train":
        assert sum("[train]" in error for error in errors.values()) >= len(SUBCOMMANDS) - 1
