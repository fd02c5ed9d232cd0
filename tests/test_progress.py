"""The line that says how far a long job is."""

from __future__ import annotations

import io
import re
import time

from piper.progress import ProgressLine, count_things


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_what_was_done_before_is_not_part_of_the_rate() -> None:
    terminal = Terminal()
    line = ProgressLine("a", 10_000_000, "MB", terminal, start=9_000_000, scale=1_000_000)
    line.show(9_000_000)
    time.sleep(0.25)
    line.show(9_500_000)
    first, second = terminal.getvalue().split("\r")[1:]
    assert first == "a: 9.0/10.0 MB"
    # The time left comes first: a narrow terminal leaves out what stands behind.
    found = re.fullmatch(r"a: 0:0\d left · 9\.5/10\.0 MB \(95 %\) · (\S+) a second *", second)
    assert found and float(found[1]) <= 2.0


def test_other_text_begins_on_a_line_of_its_own() -> None:
    terminal = Terminal()
    line = ProgressLine("a", 3, "b", terminal)
    line.leave()
    line.show(1)
    line.leave()
    line.leave()
    line.finish(3)
    line.leave()
    assert re.fullmatch(r"\ra: 0:\d\d left · 1/3 b [^\n]+\na: 3 b in [^\n]+\n", terminal.getvalue())


def test_a_file_has_whole_lines_only() -> None:
    file = io.StringIO()
    line = ProgressLine("a", 3, "b", file)
    line.show(1)
    line.leave()
    line.finish(3)
    assert re.fullmatch(r"a: 3 b in \d\.\d s \(\S+ a second\)\n", file.getvalue())


def test_nothing_is_not_told_and_one_is_one() -> None:
    """Not "0 recordings in 0.0 s", nor "1 batches"."""
    file = io.StringIO()
    ProgressLine("a", 0, "recordings", file).finish(0)
    ProgressLine("a", 3, "recordings", file, start=3).finish(3)
    assert file.getvalue() == ""
    ProgressLine("a", 1, "recordings", file).finish(1)
    ProgressLine("a", 1, "batches", file).finish(1)
    lines = file.getvalue().splitlines()
    assert [line.partition(" in ")[0] for line in lines] == ["a: 1 recording", "a: 1 batch"]
    assert [count_things(n, "batch") for n in (1, 2000)] == ["1 batch", "2,000 batches"]
    assert count_things(3, "epoch") == "3 epochs"
