"""`python -m piper.train excerpts DIR OUT` from end to end, on joined sentences of espeak-ng."""

from __future__ import annotations

import hashlib
import json
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import soundfile
from make_test_dataset import SENTENCES, make_test_dataset

from piper.train.check import cli as check_cli
from piper.train.excerpts import cli

FEW = "--ignore=few-recordings,little-speech"
pytestmark = pytest.mark.long  # an aligner learns, for 30 s of a processor
PHRASES = {
    "Да.",
    "Привет, это тест.",
    "Пожалуйста, говорите медленнее.",
    "Осторожно, двери закрываются!",
}
"""Of the sentences those of up to three words."""


@dataclass(frozen=True)
class Stopped:
    """A run that got Ctrl+C while it learnt.

    Attributes:
        code: Its exit code.
        said: Its messages.
        names: What lay in the folder beside the dataset then.
    """

    code: int
    said: str
    names: set[str]


def join_sentences(spoken: Path, folder: Path) -> Path:
    """Write a dataset of two speakers whose recordings are two sentences each, with 1 s between."""
    (folder / "wavs").mkdir(parents=True)
    shutil.copy(spoken / "config.json", folder)
    lines = []
    for first in range(0, len(SENTENCES), 4):
        for speaker in (1, 2):
            numbers = [n for n in (first + speaker, first + speaker + 2) if n <= len(SENTENCES)]
            parts = [soundfile.read(spoken / "wavs" / f"utterance{n:03}.wav") for n in numbers]
            name, text = f"s{numbers[0]:02}.wav", " ".join(SENTENCES[n - 1] for n in numbers)
            samples = np.concatenate([samples for samples, _ in parts])
            soundfile.write(folder / "wavs" / name, samples, parts[0][1], "PCM_16")
            lines.append(f"{name}|speaker{speaker}|{text}\n")
    (folder / "metadata.csv").write_text("".join(lines), encoding="utf-8")
    return folder


def stop_while_learning(dataset: Path) -> Stopped:
    """Send Ctrl+C to a real process after the aligner's first pass."""
    out = dataset.parent / "stopped"
    with subprocess.Popen(
        [sys.executable, "-m", "piper.train", "excerpts", str(dataset), str(out)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    ) as process:
        state, end = dataset / ".cache" / "aligner.pt.part", time.monotonic() + 120
        while not state.exists():
            assert process.poll() is None, process.communicate()
            assert time.monotonic() < end
            time.sleep(0.02)
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=120)
    return Stopped(process.returncode, said, {path.name for path in dataset.parent.iterdir()})


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Stopped]:
    """A dataset whose aligner is fitted, after a run that was stopped."""
    folder = tmp_path_factory.mktemp("excerpts")
    spoken = make_test_dataset(
        tmp_path_factory.mktemp("spoken"), sentences=len(SENTENCES), speakers=2
    )
    dataset = join_sentences(spoken, folder / "dataset")
    stopped = stop_while_learning(dataset)
    assert cli.main([str(dataset), "--list"]) == 0
    return dataset, stopped


@pytest.fixture
def learnt(runs: tuple[Path, Stopped]) -> Path:
    """The dataset with its aligner; not to be changed by a test."""
    return runs[0]


def digest(folder: Path) -> dict[str, str]:
    files = [folder / "metadata.csv", folder / "config.json", *(folder / "wavs").iterdir()]
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def find_rules(folder: Path) -> set[str]:
    """Return the rules that a quick check finds broken."""
    assert check_cli.main([str(folder), "--quick", FEW]) == 0
    report = json.loads((folder / "check" / "report.json").read_text(encoding="utf-8"))
    return {rule["rule"] for rule in report["rules"] if rule["severity"] != "note"}


def test_ctrl_c_leaves_nothing_and_the_next_run_goes_on(runs: tuple[Path, Stopped]) -> None:
    _, stopped = runs
    assert stopped.code == 130, stopped.said
    assert "Stopped; what was trained is kept, and the same command goes on." in stopped.said
    assert "Traceback" not in stopped.said
    assert stopped.names == {"dataset"}


def test_the_copy_has_all_lines_and_the_short_sentences(
    learnt: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before, out = digest(learnt), tmp_path / "out"
    assert cli.main([str(learnt), str(out)]) == 0
    assert "excerpts.json lists them" in capsys.readouterr().out
    assert digest(learnt) == before
    copied = digest(out)
    assert {name: copied[name] for name in before if name != "metadata.csv"} == {
        name: value for name, value in before.items() if name != "metadata.csv"
    }
    old, new = ((folder / "metadata.csv").read_text().splitlines() for folder in (learnt, out))
    assert new[: len(old)] == old
    added = [line.split("|") for line in new[len(old) :]]
    assert {text for *_, text in added} == PHRASES
    listed = json.loads((out / "excerpts.json").read_text(encoding="utf-8"))
    assert [(one["name"], one["text"]) for one in listed] == [(name, t) for name, _, t in added]
    speakers = dict(line.split("|")[:2] for line in old)
    assert [speaker for _, speaker, _ in added] == [speakers[one["source"]] for one in listed]
    assert json.loads((out / "changes.json").read_text()) == []
    assert find_rules(out) <= find_rules(learnt)


def test_an_excerpt_is_a_part_of_its_recording_with_silence_around(
    learnt: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    assert cli.main([str(learnt), str(out)]) == 0
    for one in json.loads((out / "excerpts.json").read_text(encoding="utf-8")):
        whole, rate = soundfile.read(learnt / "wavs" / one["source"], dtype="int16")
        cut, cut_rate = soundfile.read(out / "wavs" / one["name"], dtype="int16")
        first, fade = round(one["start"] * rate), round(0.005 * rate)
        source = whole[first : first + len(cut)]
        assert cut_rate == rate
        assert np.array_equal(cut[fade:-fade], source[fade:-fade])
        assert cut[0] == cut[-1] == 0
        # espeak-ng's silence is noise at -70 dB; the phrase is a sentence between two of them.
        edge = round(0.14 * rate)
        assert max(np.abs(cut[:edge]).max(), np.abs(cut[-edge:]).max()) < 100
        assert np.abs(cut[2 * edge : 3 * edge]).max() > 1000


def test_the_list_is_printed_and_nothing_written(
    learnt: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main([str(learnt), "--list"]) == 0
    said = capsys.readouterr()
    rows = [line.split("\t") for line in said.out.splitlines()]
    assert {text for *_, text in rows} == PHRASES
    assert all(0 <= float(start) < float(end) for _, start, end, *_ in rows)
    assert "4 excerpts" in said.err
    assert {path.name for path in learnt.parent.iterdir()} == {"dataset"}


def test_number_and_lengths_are_asked_for(learnt: Path, capsys: pytest.CaptureFixture[str]) -> None:
    counts = []
    for flags in (["--most=1"], ["--words=5"], ["--words=5", "--most=2", "--sentence-ends"]):
        assert cli.main([str(learnt), "--list", *flags]) == 0
        counts.append(len(capsys.readouterr().out.splitlines()))
    assert counts[0] == 1
    assert counts[1] > len(PHRASES)
    assert counts[2] == 2


def test_nothing_is_written_where_there_is_no_phrase(
    learnt: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    csv, out = learnt / "metadata.csv", tmp_path / "out"
    text = csv.read_text(encoding="utf-8")
    csv.write_text("".join(line for line in text.splitlines(True) if "Да." not in line))
    try:
        assert cli.main([str(learnt), str(out), "--words=1"]) == 1
    finally:
        csv.write_text(text, encoding="utf-8")
    assert "No phrase of 1 word or fewer was found" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
