"""The verbs of the command line that need no training: they start at once, and end with a word."""

from __future__ import annotations

import errno
import subprocess
import sys
from pathlib import Path

import pytest

from piper.errors import describe_os_error
from piper.train.command import SUBCOMMANDS, TRAINER_SUBCOMMANDS, run_subcommand
from trainings import succeed


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    words = [sys.executable, "-m", "piper.train", *arguments]
    return subprocess.run(words, capture_output=True, text=True)


def test_every_verb_has_help_without_torch() -> None:
    code = (
        "import sys; from importlib import import_module\n"
        "from piper.train.command import SUBCOMMANDS as names\n"
        "for module, _ in names.values(): import_module(module).create_parser().format_help()\n"
        "assert not {'torch', 'lightning'} & set(sys.modules)"
    )
    succeed([sys.executable, "-c", code])


def test_other_words_are_left_to_the_trainer() -> None:
    assert run_subcommand(["fit", "check"]) is None
    assert run_subcommand(["--config=run.yaml", "fit"]) is None
    before = {"import", "check", "review", "split", "excerpts", "phonemes", "prepare"}
    after = {"copy", "evaluate", "listening-test", "export", "publish"}
    assert set(SUBCOMMANDS) == before | after


@pytest.mark.parametrize(
    ("command", "today"),
    [
        ("piper_train --dataset-dir d", "python -m piper.train fit"),
        ("piper_train.preprocess --language en --input-dir d", "python -m piper.train import"),
        ("piper_train.export_onnx a.ckpt b.onnx", "python -m piper.train.export_onnx"),
        ("piper.train preprocess --input-dir d", "`import` makes a dataset"),
        ("piper.train train", "it is called `fit`"),
    ],
)
def test_commands_of_the_earlier_trainer_answer_with_the_new_name(command: str, today: str) -> None:
    words = [sys.executable, "-m", *command.split()]
    result = subprocess.run(words, capture_output=True, text=True, check=False)
    assert result.returncode == 2
    assert result.stdout == ""
    [line] = result.stderr.splitlines()
    assert line.startswith("error: ")
    assert today in line


def test_prepare_fills_the_cache_and_does_it_once(dataset: Path) -> None:
    first, second = run("prepare", str(dataset)), run("prepare", str(dataset))
    assert first.returncode == second.returncode == 0, first.stderr
    assert first.stdout == second.stdout
    assert first.stdout.startswith("16 utterances, 0.01 hours")
    assert "Preparing: 16 recordings" in first.stderr
    assert "Preparing" not in second.stderr


def test_phonemes_are_what_training_hears(dataset: Path) -> None:
    result = run("phonemes", str(dataset), "--limit=2")
    lines = [line.split("\t") for line in result.stdout.splitlines()]
    assert [len(line) for line in lines] == [3, 3]
    assert lines[0][1] == "Привет, это тест."
    assert lines[0][2] == "prʲivʲˈet, ˈɛtʌ tʲˈɛst."


def test_a_mistake_is_one_sentence(tmp_path: Path) -> None:
    for verb in ("check", "phonemes", "prepare"):
        result = run(verb, str(tmp_path / "none"))
        assert result.returncode == 1
        assert result.stderr.startswith("error: The dataset's folder")
        assert result.stderr.count("\n") == 1


def test_the_overview_lists_each_verb_and_a_wrong_one_is_guessed(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run_subcommand(["--help"]) == 0
    lines = [line.split()[0] for line in capsys.readouterr().out.splitlines() if line[:2] == "  "]
    assert sorted(lines) == sorted([*SUBCOMMANDS, *TRAINER_SUBCOMMANDS])
    assert lines.index("fit") < lines.index("evaluate")
    assert run_subcommand(["chekc", "recordings"]) == 2
    said = capsys.readouterr().err
    assert said.startswith(
        "error: python -m piper.train has no subcommand chekc; did you mean check? ("
    )
    assert run_subcommand([]) == 2
    capsys.readouterr()
    for verb in ("test", "predict"):  # of Lightning
        assert run_subcommand([verb, "--config=a.yaml"]) == 2
        assert capsys.readouterr().err.startswith(f"error: There is no `{verb}` here: ")


def test_a_wrong_flag_is_guessed(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        run_subcommand(["check", "recordings", "--outptu-dir=x"])
    assert stop.value.code == 2
    usage, error = capsys.readouterr().err.splitlines()
    assert usage == "usage: python -m piper.train check [options] DIR"
    assert error.endswith("unrecognized arguments: --outptu-dir=x; did you mean --output-dir?")


def test_no_more_processes_is_no_matter_of_files() -> None:
    error = BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable")
    assert "no more processes or threads" in describe_os_error(error)
