"""Words that espeak-ng stresses wrongly are found by silero-stress; marked ones are left alone."""

from __future__ import annotations

from pathlib import Path

import pytest

from piper.train.check import cli
from piper.train.check.entries import Entry
from piper.train.check.rules_text import find_stresses


def create_entries(*texts: str) -> list[Entry]:
    return [Entry(n, f"{n}.wav", Path(f"{n}.wav"), None, text) for n, text in enumerate(texts, 1)]


def test_disagreements_are_counted_and_named() -> None:
    texts = ("Он потом пришёл.", "Она потом ушла домой.", "Берега этой земли.", "Мама дома.")
    issues = find_stresses(create_entries(*texts))
    found = {issue.message.split(":")[0]: issue for issue in issues}
    issue = found["espeak-ng п+отом, silero-stress пот+ом"]
    assert (issue.line, issue.score) == (1, 2)
    assert "2 times" in issue.message
    assert "espeak-ng з+емли, silero-stress земл+и" in found
    assert not any("дома" in message or "мама" in message for message in found)


def test_a_word_with_a_sign_is_left_alone() -> None:
    assert find_stresses(create_entries("Он пот+ом пришёл.", "Без гласных: вв.")) == []


def test_other_languages_have_no_such_stress(
    dataset: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (dataset / "config.json").write_text('{"espeak": {"voice": "en-us"}}')
    assert cli.main([str(dataset), "--quick", "--stress"]) == 1
    assert "error: --stress compares Russian stresses" in capsys.readouterr().err
