"""What is said of a training: lines that fit, where its scores stand, what it waits for."""

from __future__ import annotations

import fcntl
import logging
import math
import os
import pty
import random
import select
import struct
import sys
import termios
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

import pytest
import torch

from piper.progress import ChangingLine
from piper.train.callbacks import progress
from piper.train.callbacks.progress import (
    MAX_POINTS,
    DataWait,
    Plateau,
    Validation,
    _Mark,
    clock,
    describe_figures,
)
from piper.train.data.loader import UtteranceDataset
from trainings import read_scalars, train


def expect(screen: BinaryIO, written: bytes) -> None:
    """Compare what a terminal shows next, of which one reading may give the first write only."""
    shown = b""
    while len(shown) < len(written):
        shown += screen.read(len(written) - len(shown))
    assert shown == written
    assert select.select([screen], [], [], 0)[0] == []


def test_a_terminal_s_line_changes_and_never_wraps(monkeypatch: pytest.MonkeyPatch) -> None:
    shown, own = pty.openpty()
    fcntl.ioctl(own, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 40, 0, 0))
    with os.fdopen(own, "w") as terminal, os.fdopen(shown, "rb", buffering=0) as screen:
        monkeypatch.setattr(sys, "stderr", terminal)
        line = ChangingLine()
        line.change(["x" * 60])
        expect(screen, b"\r" + b"x" * 39)
        line.say("a validation " * 5)
        expect(screen, b"\r" + b"a validation " * 5 + b"\r\n")
        line.change(["y"])
        line.change(["zz"])
        line.say("w")
        expect(screen, b"\ry" + b"\rzz" + b"\rw \r\n")
        # What does not fit is left out whole, the first and most important never.
        line.change(["0:01:02 left", "epoch 3", "x" * 30, "9.1 utterances/s"])
        expect(screen, "\r0:01:02 left · epoch 3".encode())
        line.leave()
        expect(screen, b"\r\n")


def test_what_others_write_takes_the_line_s_place(monkeypatch: pytest.MonkeyPatch) -> None:
    """A warning in the middle of a training stuck to the end of the progress."""
    shown, own = pty.openpty()
    with os.fdopen(own, "w") as terminal, os.fdopen(shown, "rb", buffering=0) as screen:
        monkeypatch.setattr(sys, "stderr", terminal)
        handler = logging.StreamHandler(terminal)
        logger = logging.getLogger("piper.test_progress_lines")
        logger.addHandler(handler)
        try:
            line = ChangingLine()
            line.change(["0:12 left"])
            logger.warning("a warning")
            expect(screen, b"\r0:12 left\r         \ra warning\r\n")
            line.change(["0:11 left"])
            print("an error", file=sys.stderr)
            expect(screen, b"\r0:11 left\r         \ran error\r\n")
            line.leave()
            logger.warning("the end")
            expect(screen, b"the end\r\n")
        finally:
            logger.removeHandler(handler)
        assert sys.stderr is terminal
        assert handler.stream is terminal


def test_a_file_gets_whole_lines(capsys: pytest.CaptureFixture[str]) -> None:
    line = ChangingLine()
    line.change(["x" * 200])
    line.say("y")
    assert capsys.readouterr().err == "x" * 200 + "\ny\n"


def test_figures_in_a_few_words() -> None:
    figures = {
        "val_mel_whole": 0.4567,
        "val_mel_text": 0.7,
        "val_duration_error_ms": 21.4,
        "val_length_ratio": 0.987,
    }
    assert describe_figures(figures) == [
        "whole sentences: mel 0.457",
        "from text 0.700",
        "durations 21 ms off",
        "0.99 of the length",
    ]
    assert describe_figures({}) == []
    # What came out as no number is left out.
    assert describe_figures({"val_mel_whole": 1.0}) == ["whole sentences: mel 1.000"]


def test_days_are_hours() -> None:
    """A comma would part them from what is left, in other languages too."""
    assert [clock(seconds) for seconds in (53, 112_191)] == ["0:00:53", "31:09:51"]


def plateau_of(scores: list[float], seconds_apart: float = 600.0, patience: int = 0) -> Plateau:
    plateau = Plateau(patience)
    for number, score in enumerate(scores, 1):
        plateau.add(Validation(number, 1000 * number, number * seconds_apart, score))
    return plateau


def test_best_so_far_and_since_when() -> None:
    plateau = plateau_of([40.0, 31.2, 31.5, 31.4])
    plateau._seconds = 4 * 600.0
    said = plateau.describe()
    assert said is not None
    assert said.startswith(
        "best val_loss 31.2000 at step 2,000 (epoch 2, 20 min ago); no gain for 2 validations"
    )
    assert plateau_of([40.0, 31.2]).describe() == (
        "best val_loss so far, 8.8 better than the best before"
    )
    assert plateau_of([40.0]).describe() is None
    assert plateau.describe_best() == "best val_loss 31.20 found 20 min ago"
    assert Plateau().describe_best() is None
    assert "no gain for 1 of 3 validations" in str(plateau_of([2.0, 3.0], patience=3).describe())


def test_a_falling_loss_lets_expect_what_the_curve_gives() -> None:
    """On a + b log(t) itself the expectation is exact: twice the time, b log 2 more."""
    scores = [50.0 - 4.0 * math.log(600.0 * number) for number in range(1, 5)]
    plateau = plateau_of(scores)
    # Trained for 40 minutes, it does not look further than 40 minutes.
    expected = f"{4.0 * math.log(2):.2g}"
    assert plateau.expect() is None  # three of the later half are too few
    scores += [50.0 - 4.0 * math.log(600.0 * number) for number in range(5, 8)]
    said = plateau_of(scores).expect()
    gain = 4.0 * math.log((4200 + 3600) / 4200)
    assert said == f"the trend says {gain:.2g} better in 60 min more"
    short = plateau_of(scores[:7], seconds_apart=60.0).expect()
    assert short == f"the trend says {expected} better in 7 min more"


def test_scatter_is_no_trend_and_one_bad_validation_no_change_of_it() -> None:
    noise = random.Random(5)
    flat = [30.0 + noise.gauss(0.0, 0.3) for _ in range(40)]
    assert "no change larger than the noise" in str(plateau_of(flat, 60.0).expect())
    falling = [50.0 - 4.0 * math.log(number) + noise.gauss(0.0, 0.01) for number in range(1, 41)]
    before = plateau_of(falling).expect()
    falling[35] = 80.0
    assert plateau_of(falling).expect() == before
    rising = [20.0 + 4.0 * math.log(number) for number in range(1, 41)]
    assert "the trend is for the worse" in str(plateau_of(rising).expect())


def test_a_score_where_more_is_better() -> None:
    plateau = Plateau()
    plateau._rename("val_quality", False)
    for number in range(1, 13):
        plateau.add(Validation(number, number, 60.0 * number, 2.0 + 0.5 * math.log(number)))
    assert plateau.best is not None
    assert plateau.best.update == 12
    assert "better" in str(plateau.expect())


def test_scores_survive_an_interruption() -> None:
    plateau = plateau_of([40.0, 31.2, 31.5])
    plateau._seconds = 1800.0
    resumed = Plateau()
    resumed.load_state_dict(plateau.state_dict())
    assert resumed.state_dict() == plateau.state_dict()
    assert resumed.describe() == plateau.describe()
    # Another score's past says nothing about this one.
    resumed._rename("val_mel_text", True)
    assert resumed.best is None


def test_a_long_training_keeps_a_bounded_history() -> None:
    plateau = plateau_of([1.0 / number for number in range(1, 4 * MAX_POINTS)])
    history = plateau.state_dict()["history"]
    assert MAX_POINTS / 2 <= len(history) <= MAX_POINTS
    assert history[-1][0] == 4 * MAX_POINTS - 1
    assert plateau.expect() is not None


@pytest.mark.parametrize("scores", [[1.0, 1.0, 1.0], [math.inf, 2.0, 1.0, math.inf]])
def test_odd_scores_do_no_harm(scores: list[float]) -> None:
    assert plateau_of(scores).describe() is not None
    assert plateau_of(scores, seconds_apart=0.0).describe() is not None


FLAGS = ("--data.batch_size=2", "--trainer.limit_val_batches=0", "--validation_quality=off")


def logged_percents(dataset: Path, root: Path, *flags: str) -> list[float]:
    assert train(dataset, root, *FLAGS, "--trainer.max_steps=12", *flags) == 0
    return [*read_scalars(root, "data_wait_percent").values()]


def test_slow_data_are_noticed(
    dataset: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(progress, "LINE_SECONDS", 0.0)
    original = UtteranceDataset.__getitem__

    def slow(self: UtteranceDataset, index: int) -> Any:
        time.sleep(0.1)
        return original(self, index)

    monkeypatch.setattr(UtteranceDataset, "__getitem__", slow)
    begin = time.monotonic()
    percents = logged_percents(dataset, tmp_path)
    whole = time.monotonic() - begin
    # A fifth of a second before each of twelve batches but the first; what a batch itself takes
    # depends on the machine, and the batches cannot have taken longer than the whole run.
    assert 100.0 >= percents[-1] > 100.0 * 11 * 0.2 / whole
    assert "% waiting for data (raise --data.num_workers)" in capsys.readouterr().err


def add_batch(wait: DataWait, pause: float, work: float) -> None:
    moments = [_Mark(torch.device("cpu")) for _ in range(3)]
    for mark, seconds in zip(moments, (0.0, pause, pause + work), strict=True):
        mark._seconds = seconds
    wait._open.append((moments[0], moments[1], moments[2]))


def test_pauses_count_against_the_time_of_whole_batches() -> None:
    """One batch said "100 %"; so did epochs of one batch each, whose work was left out."""
    wait = DataWait()
    for _ in range(9):
        add_batch(wait, 1.0, 3.0)
        assert wait.percent() is None
        assert wait.describe() is None
    add_batch(wait, 1.0, 3.0)
    assert wait.percent() == pytest.approx(25.0)
    assert wait.describe() == "25 % waiting for data (raise --data.num_workers)"
    wait._pauses.extend([(0.0, 1000.0)])
    assert wait.describe() is None


def test_epochs_of_one_batch(
    speech_dataset: Path, copy_dataset: Callable[[Path], Path], tmp_path: Path
) -> None:
    dataset = copy_dataset(speech_dataset)
    rows = (dataset / "metadata.csv").read_text(encoding="utf-8").splitlines(keepends=True)
    (dataset / "metadata.csv").write_text("".join(rows[:2]), encoding="utf-8")
    assert all(0.0 <= percent < 90.0 for percent in logged_percents(dataset, tmp_path))
