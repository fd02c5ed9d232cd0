"""No decision is lost, and each can be taken back, also after a kill and a new start."""

from __future__ import annotations

import json
import math
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import soundfile
from reviews import open_table

from piper.errors import DatasetError
from piper.train.review import cli
from piper.train.review.session import Choice, Review, State, hold_journal

FIRST, SECOND = "utterance001.wav", "utterance002.wav"


def test_decisions_undo_and_redo_outlast_new_starts(doubted: Path) -> None:
    table = open_table(doubted)
    table.decide(FIRST, Choice.KEEP)
    table.decide(FIRST, Choice.KEEP, start_seconds=1.5)
    table.decide(SECOND, Choice.DROP)

    def states() -> list[State]:
        now = open_table(doubted)
        return [now.review.find_outcome(now.find(name)).state for name in (FIRST, SECOND)]

    assert states() == [State.CHANGED, State.DROPPED]
    assert open_table(doubted).review.undo() == SECOND
    assert open_table(doubted).review.undo() == FIRST
    assert states() == [State.KEPT, State.UNDECIDED]
    assert open_table(doubted).review.redo() == FIRST
    assert open_table(doubted).review.redo() == SECOND
    assert states() == [State.CHANGED, State.DROPPED]
    for _ in range(3):
        open_table(doubted).review.undo()
    assert states() == [State.UNDECIDED, State.UNDECIDED]
    assert open_table(doubted).review.undo() is None
    table = open_table(doubted)
    table.decide(SECOND, Choice.KEEP, text="Другой текст.")
    # What was taken back before a new decision is gone, as in every editor.
    assert table.review.redo() is None
    assert states() == [State.UNDECIDED, State.CHANGED]


def test_the_letters_of_one_text_are_one_step(doubted: Path) -> None:
    table = open_table(doubted)
    table.decide(FIRST, Choice.KEEP, text="П")
    table.decide(FIRST, Choice.KEEP, text="При", is_continued=True)
    table.decide(FIRST, Choice.KEEP, text="Привет", is_continued=True)
    assert open_table(doubted).review.undo() == FIRST
    table = open_table(doubted)
    assert table.review.find_outcome(table.find(FIRST)).state is State.UNDECIDED
    table.review.redo()
    assert table.review.find_outcome(table.find(FIRST)).text == "Привет"


def test_undecided_is_a_decision_that_takes_changes_back(doubted: Path) -> None:
    table = open_table(doubted)
    table.decide(FIRST, Choice.KEEP, text="Другой текст.", end_seconds=2.5)
    table.decide(FIRST, Choice.UNDECIDED)
    clip = table.find(FIRST)
    outcome = table.review.find_outcome(clip)
    assert (outcome.state, outcome.text) == (State.UNDECIDED, clip.text)
    assert table.review.undo() == FIRST
    assert table.review.find_outcome(clip).text == "Другой текст."


def test_a_killed_writer_loses_nothing_that_was_answered(doubted: Path) -> None:
    """A real process decides without end and is killed; each number that it printed is there."""
    code = (
        "import sys; sys.path.insert(0, sys.argv[2])\n"
        "from reviews import open_table; from pathlib import Path\n"
        "from piper.train.review.session import Choice\n"
        "table, number = open_table(Path(sys.argv[1])), 0\n"
        "while True:\n"
        f"    table.decide({FIRST!r}, Choice.KEEP, text=f'Текст {{number}}.')\n"
        "    print(number, flush=True); number += 1\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, str(doubted), str(Path(__file__).parent)],
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        said = [process.stdout.readline() for _ in range(40)]
        os.kill(process.pid, signal.SIGKILL)
        said += process.stdout.readlines()
    answered = max(int(line) for line in said if line.endswith("\n"))
    table = open_table(doubted)
    text = table.review.find_outcome(table.find(FIRST)).text
    # It may have been killed between saving and saying so.
    assert text in (f"Текст {answered}.", f"Текст {answered + 1}.")


def test_a_line_that_was_cut_off_is_passed_over_and_the_next_one_stays_whole(
    doubted: Path,
) -> None:
    table = open_table(doubted)
    table.decide(FIRST, Choice.DROP)
    path = doubted / "review.jsonl"
    with path.open("ab") as file:
        file.write(b'{"do":"decide","clip":"utterance002.wav","choi')
    table = open_table(doubted)
    table.decide(SECOND, Choice.KEEP)
    table = open_table(doubted)
    states = [table.review.find_outcome(table.find(name)).state for name in (FIRST, SECOND)]
    assert states == [State.DROPPED, State.KEPT]
    assert table.review.undo() == SECOND
    lines = path.read_bytes().split(b"\n")
    assert [bool(line) and line.endswith(b"}") for line in lines] == [
        True,
        False,
        True,
        True,
        False,
    ]


def test_a_recording_that_changed_makes_its_decision_void(
    doubted: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    open_table(doubted).decide(FIRST, Choice.DROP)
    path = doubted / "wavs" / FIRST
    data = path.read_bytes()
    shutil.copy(path, path.with_suffix(".copy"))
    # The same bytes at another time are the same recording: datasets are copied.
    path.with_suffix(".copy").replace(path)
    os.utime(path, ns=(1, 1))
    table = open_table(doubted)
    assert table.review.find_outcome(table.find(FIRST)).state is State.DROPPED
    samples, rate = soundfile.read(path)
    soundfile.write(path, 0.5 * samples, rate, "PCM_16")
    assert path.stat().st_size == len(data)
    table = open_table(doubted)
    outcome = table.review.find_outcome(table.find(FIRST))
    assert outcome.state is State.UNDECIDED
    assert outcome.note == (
        "Decided before (drop), but its recording has changed since: decide anew."
    )
    assert cli.main([str(doubted), f"--fix={tmp_path / 'copy'}"]) == 0
    assert "1 decided before and changed since did not count" in capsys.readouterr().out
    assert (tmp_path / "copy" / "wavs" / FIRST).read_bytes() == path.read_bytes()


def test_a_text_that_changed_makes_its_decision_void(doubted: Path) -> None:
    open_table(doubted).decide(SECOND, Choice.KEEP)
    csv = doubted / "metadata.csv"
    # A line more above it voids nothing; names count, not numbers.
    lines = csv.read_text(encoding="utf-8").splitlines(keepends=True)
    (doubted / "check" / "report.json").unlink()
    csv.write_text("".join([lines[4], *lines[:4], *lines[5:]]), encoding="utf-8")
    table = open_table(doubted)
    assert table.review.find_outcome(table.find(SECOND)).state is State.KEPT
    csv.write_text("".join([lines[0], f"{SECOND}|Иначе.\n", *lines[2:]]), encoding="utf-8")
    table = open_table(doubted)
    outcome = table.review.find_outcome(table.find(SECOND))
    assert (outcome.state, outcome.text) == (State.UNDECIDED, "Иначе.")
    assert "its text has changed" in outcome.note


def test_a_recording_that_changes_during_the_review_is_not_decided_on(doubted: Path) -> None:
    table = open_table(doubted)
    os.truncate(doubted / "wavs" / FIRST, 1000)
    with pytest.raises(DatasetError, match="has changed since the review was started"):
        table.decide(FIRST, Choice.KEEP)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"text": " "}, "The text is empty"),
        ({"text": "a|b"}, "must not hold"),
        ({"start_seconds": -0.5}, "The borders must lie between 0.00 and"),
        ({"end_seconds": 99.0}, "The borders must lie between 0.00 and"),
        ({"start_seconds": 1.0, "end_seconds": 1.05}, "0.1 s at least"),
        ({"start_seconds": 2.0, "end_seconds": 1.0}, "0.1 s at least"),
        ({"start_seconds": float("nan")}, "The borders must lie between"),
    ],
)
def test_what_cannot_be_is_a_sentence_and_not_saved(
    doubted: Path, changes: dict[str, object], sentence: str
) -> None:
    table = open_table(doubted)
    with pytest.raises(DatasetError, match=sentence):
        table.decide(FIRST, Choice.KEEP, **changes)
    assert not (doubted / "review.jsonl").exists()


def test_a_line_without_a_recording_can_only_be_dropped(doubted: Path) -> None:
    table = open_table(doubted)
    with pytest.raises(DatasetError, match="There is no recording of this name"):
        table.decide("utterance003.wav", Choice.KEEP)
    table.decide("utterance003.wav", Choice.DROP)
    table = open_table(doubted)
    clip = table.find("utterance003.wav")
    assert table.review.find_outcome(clip).state is State.DROPPED


def test_a_disk_that_refuses_is_a_sentence_and_changes_nothing(doubted: Path) -> None:
    table = open_table(doubted)
    table.decide(FIRST, Choice.KEEP)
    (doubted / "review.jsonl").rename(doubted / "moved")
    (doubted / "review.jsonl").mkdir()
    with pytest.raises(DatasetError, match="The decision is not saved"):
        table.decide(SECOND, Choice.DROP)
    assert table.review.find_outcome(table.find(SECOND)).state is State.UNDECIDED
    (doubted / "review.jsonl").rmdir()
    (doubted / "moved").rename(doubted / "review.jsonl")
    table.decide(SECOND, Choice.DROP)
    table = open_table(doubted)
    assert table.review.find_outcome(table.find(SECOND)).state is State.DROPPED


def test_two_reviews_of_one_dataset_do_not_mix(tmp_path: Path) -> None:
    path = tmp_path / "review.jsonl"
    with hold_journal(path), pytest.raises(DatasetError, match="reviewed by another process"):
        hold_journal(path).__enter__()
    with hold_journal(path):
        assert not Review([], path).can_undo


def test_a_link_is_not_written_through(tmp_path: Path) -> None:
    """A dataset of somebody else may bring one to a file of the user's."""
    path = tmp_path / "review.jsonl"
    path.symlink_to(tmp_path / "precious")
    with pytest.raises(DatasetError, match=r"review\.jsonl cannot be read or written"):
        hold_journal(path).__enter__()
    assert not (tmp_path / "precious").exists()


def test_foreign_lines_are_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "review.jsonl"
    endless = {"do": "decide", "clip": "a", "choice": "drop", "text": "", "start": 0, "end": 1}
    endless["of"] = {"bytes": math.inf, "mtime_ns": 0, "sha256": "", "text": "", "start": 0}
    lines = ["[1]", '{"do": "dance"}', '{"do": "undo"}', "7", '{"do": "decide", "clip": 3}']
    path.write_text("\n".join([*lines, json.dumps(endless), ""]))
    journal = Review([], path)
    assert not journal.can_undo
    assert not journal.can_redo
    assert [json.loads(line) for line in path.read_text().splitlines()][1] == {"do": "dance"}
