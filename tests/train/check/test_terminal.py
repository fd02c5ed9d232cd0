"""What the check prints: facts, broken rules, verdict, and what to do next, in any width."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest
from made_reports import LEVELS, MISSING, RARE, SILENCE, make_issues, make_report, read_dataset

from piper.train.check.entries import Entry
from piper.train.check.issues import CheckReport, Issue
from piper.train.check.terminal import report_to_text


@pytest.fixture(scope="module")
def entries(speech_dataset: Path) -> list[Entry]:
    return read_dataset(speech_dataset)


@pytest.fixture(scope="module")
def report(speech_dataset: Path, entries: list[Entry]) -> CheckReport:
    return make_report(speech_dataset, make_issues(entries))


def test_facts_rules_and_verdict(report: CheckReport) -> None:
    lines = report_to_text(replace(report, folder=Path("recordings")), 100).splitlines()
    assert lines[0] == "16 recordings, 0.01 hours in recordings"
    assert lines[1:3] == ["The set: hours 0.01; speakers 1", "Split: held out 2"]
    assert lines[4].split() == ["severity", "rule", "count", "share", "example"]
    # By severity, then by group and number; the example is the worst.
    assert [line.split()[:2] for line in lines[5:9]] == [
        ["error", MISSING.name],
        ["warning", SILENCE.name],
        ["warning", LEVELS.name],
        ["note", RARE.name],
    ]
    assert re.fullmatch(
        r"warning   start-silence +8  50\.0 %  line 8: 0\.47 s of silence at the start", lines[6]
    )
    # What is about no line has no share of the recordings.
    assert re.fullmatch(r"note +rare-phonemes +1 +ʑ is heard 3 times", lines[8])
    assert lines[10] == "Verdict: not ready (1 error, 9 warnings, 1 note)"
    assert " ".join(lines[11:13]) == (
        "1 rule stands in the way: missing-file; correct what is named there, or have a copy "
        "corrected by --fix OUT, then check again."
    )
    assert lines[13:] == [
        "Listen, and decide on a page:",
        "  python -m piper.train review recordings",
    ]


def test_a_narrow_terminal_has_the_example_below(report: CheckReport) -> None:
    text = report_to_text(report, 70)
    assert "example" not in text
    assert "\n  line 8: 0.47 s of silence at the start\n" in text


@pytest.mark.parametrize("columns", [20, 33, 60, 80, 100, 101, 200])
def test_no_line_is_wider_than_the_terminal(
    report: CheckReport, entries: list[Entry], columns: int
) -> None:
    long = Issue(replace(MISSING, name="a-rule-" * 9), "слово " * 40, 3, entries[2].name)
    facts = {"A title of a group": {f"fact {index}": "value" * 3 for index in range(20)}}
    wide = replace(report, issues=[*report.issues, long], facts=facts)
    text = report_to_text(wide, columns)
    # Commands are there to be copied, and never cut.
    lines = [line for line in text.splitlines() if not line.startswith("  python -m ")]
    assert max(len(line) for line in lines) <= columns
    assert any(line.endswith("…") for line in lines)
    assert "Verdict: not ready"[: columns - 1] in text
    # A group of facts takes two lines.
    assert sum("fact " in line or line.startswith("A title") for line in lines) <= 2


def test_wide_letters_count_two(report: CheckReport) -> None:
    chinese = replace(report, issues=[Issue(SILENCE, "静" * 60, 1, "a.wav")])
    (line,) = [line for line in report_to_text(chinese, 60).splitlines() if "静" in line]
    assert line == "  line 1: " + "静" * 24 + "…"


def test_names_and_texts_cannot_steer_the_terminal(report: CheckReport) -> None:
    # An escape sequence, a line end, and a name that is no UTF-8 on the disk.
    issue = Issue(SILENCE, "a\x1b[31mb\nc\udcffd", 1, "a.wav")
    text = report_to_text(replace(report, issues=[issue]), 80)
    assert "line 1: a\ufffd[31mb c\ufffdd" in text
    assert "\x1b" not in text
    assert text.encode("utf-8")


def test_colours_only_when_asked_for(report: CheckReport) -> None:
    plain = report_to_text(report, 80)
    coloured = report_to_text(report, 80, has_colours=True)
    assert "\x1b" not in plain
    assert "\x1b[31merror\x1b[0m" in coloured
    assert "\x1b[1;31mVerdict: not ready" in coloured
    assert re.sub(r"\x1b\[[0-9;]*m", "", coloured) == plain


def test_ready_gives_the_command_that_trains(report: CheckReport, tmp_path: Path) -> None:
    folder = tmp_path / "my recordings" / ("long" * 25)
    ready = replace(report, folder=folder, issues=[])
    lines = report_to_text(ready, 80).splitlines()
    # Not cut, whatever it takes, and quoted for a shell: it is to be copied.
    assert lines[-4:] == [
        "Verdict: ready (nothing found)",
        "Nothing stands in the way of training:",
        "Less than an hour is little: start from another voice, --model.warmstart=FILE.",
        f"  python -m piper.train fit '--data.dataset_dir={folder}'",
    ]


def test_the_quality_that_was_chosen_is_in_the_command(report: CheckReport) -> None:
    """Without a GPU the default quality would take days, and an hour is not little for quick."""
    facts = {"Training": {"preset": "quick, for there is no GPU, without which medium takes days"}}
    text = report_to_text(replace(report, facts=facts, issues=[]), 80)
    assert text.endswith(f" --data.dataset_dir={report.folder} --model.quality=quick")
    assert "warmstart" not in text


def test_several_speakers_are_in_the_command(report: CheckReport, entries: list[Entry]) -> None:
    several = [replace(entry, speaker=f"s{entry.line % 3}") for entry in entries]
    text = report_to_text(replace(report, entries=several, issues=[]), 80)
    assert text.endswith(f"--data.dataset_dir={report.folder} --model.num_speakers=3")


def test_warnings_are_named_before_the_command(report: CheckReport) -> None:
    warnings = [issue for issue in report.issues if issue.rule is not MISSING]
    text = report_to_text(replace(report, issues=warnings), 100)
    assert "\nVerdict: ready with warnings (9 warnings, 1 note)\n" in text
    said = "\nTraining can start; before it, look at start-silence, loudness:\n"
    assert f"{said}  python -m piper.train review {report.folder}\n" in text
    assert text.endswith(f"  python -m piper.train fit --data.dataset_dir={report.folder}")
