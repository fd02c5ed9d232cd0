"""The verbs of the command line that need no training: they start at once, and end with a word."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from piper.train.verbs import VERBS, run_verb


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "piper.train", *arguments],
        capture_output=True,
        text=True,
        check=False,
    )


def test_every_verb_has_help_without_torch() -> None:
    code = (
        "import sys; from piper.train.verbs import VERBS; from importlib import import_module\n"
        "for module, _ in VERBS.values(): import_module(module).create_parser().format_help()\n"
        "assert not {'torch', 'lightning'} & set(sys.modules)"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr


def test_other_words_are_left_to_the_trainer() -> None:
    assert run_verb([]) is None
    assert run_verb(["fit", "check"]) is None
    before = {"import", "check", "review", "split", "excerpts", "phonemes", "prepare"}
    assert set(VERBS) == before | {"evaluate", "listening-test"}


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
