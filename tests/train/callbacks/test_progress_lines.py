"""Lines of progress: what changes on a terminal fits it, what stays is whole."""

from __future__ import annotations

import fcntl
import os
import pty
import select
import struct
import sys
import termios
from typing import BinaryIO

import pytest

from piper.train.callbacks.judge import Judge
from piper.train.callbacks.plateau import Plateau
from piper.train.callbacks.progress import Progress, describe_figures
from piper.train.callbacks.waiting import DataWait


def create_progress() -> Progress:
    return Progress(Plateau(), Judge(), DataWait())


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
        progress = create_progress()
        progress._change("x" * 60)
        expect(screen, b"\r" + b"x" * 39)
        progress._say("a validation " * 5)
        expect(screen, b"\r" + b"a validation " * 5 + b"\r\n")
        progress._change("y")
        progress._change("zz")
        progress._say("w")
        expect(screen, b"\ry" + b"\rzz" + b"\rw \r\n")


def test_a_file_gets_whole_lines(capsys: pytest.CaptureFixture[str]) -> None:
    progress = create_progress()
    progress._change("x" * 200)
    progress._say("y")
    assert capsys.readouterr().err == "x" * 200 + "\ny\n"


def test_figures_in_a_few_words() -> None:
    figures = {
        "val_mel_whole": 0.4567,
        "val_mel_text": 0.7,
        "val_duration_error_ms": 21.4,
        "val_length_ratio": 0.987,
        "val_quality": 3.456,
    }
    assert describe_figures(figures, 4.13) == [
        "whole sentences: mel 0.457",
        "from text 0.700",
        "durations 21 ms off",
        "0.99 of the length",
        "quality 3.46 (recordings 4.13)",
    ]
    assert describe_figures({}, 4.13) == []
    # What came out as no number is left out.
    assert describe_figures({"val_mel_whole": 1.0}, None) == ["whole sentences: mel 1.000"]
