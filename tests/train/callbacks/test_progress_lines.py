"""Lines of progress: what changes on a terminal fits it, what stays is whole."""

from __future__ import annotations

import fcntl
import logging
import os
import pty
import select
import struct
import sys
import termios
from typing import BinaryIO

import pytest

from piper.progress import ChangingLine
from piper.train.callbacks.progress import clock, describe_figures


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
