"""A set as a whole: speakers, hours, what is hardly ever heard, and what stands in the facts."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from test_rules_match import create_measures

from piper.train.check.entries import Entry, TextMeasures
from piper.train.check.issues import Issue
from piper.train.check.rules_set import describe_set, find_in_set, tabulate_speakers


def create_set(seconds: list[float], speakers: list[str | None] | None = None) -> list[Entry]:
    entries = []
    for line, length in enumerate(seconds, 1):
        path = Path(f"{line}.wav")
        speaker = speakers[line - 1] if speakers else None
        audio = create_measures(length, silence=0.0)
        read = TextMeasures(("d", "ˈ", "ɑ"), (), ("да",), 9)
        entries.append(Entry(line, path.name, path, speaker, "да", audio, read))
    return entries


def names(issues: list[Issue]) -> list[str]:
    return [issue.rule.name for issue in issues]


def test_an_hour_of_one_speaker_has_no_issues() -> None:
    assert find_in_set(create_set([9.0] * 400)) == []


def test_too_little_is_said() -> None:
    assert names(find_in_set(create_set([9.0] * 19))) == ["few-recordings", "little-speech"]
    assert names(find_in_set(create_set([9.0] * 40))) == ["little-speech"]


def test_three_columns_of_one_speaker_are_no_speakers() -> None:
    """LJSpeech's second column is the text as it is written."""
    issues = find_in_set(create_set([9.0] * 400, [f"text {n}" for n in range(400)]))
    assert "no-speakers" in names(issues)
    assert "speaker-speech" not in names(issues)


def test_speakers_with_little_speech_are_named() -> None:
    speakers: list[str | None] = ["anna"] * 800 + ["boris"] * 100 + ["vera"] * 10
    issues = find_in_set(create_set([9.0] * 910, speakers))
    assert [(f.rule.name, f.message.split(":")[0]) for f in issues] == [
        ("speaker-speech", "vera"),
        ("balance", "boris"),
    ]
    _, heads, rows = tabulate_speakers(create_set([9.0] * 910, speakers))
    assert len(heads) == len(rows[0]) == 3
    assert rows[0] == ["anna", "800", "2.00"]


def test_phonemes_that_are_hardly_heard_come_with_an_example() -> None:
    entries = create_set([9.0] * 400)
    read = TextMeasures(("ɕ", "i"), (), ("щи",), 7)
    entries[0] = replace(entries[0], text="щи", read=read)
    issues = find_in_set(entries)
    assert [(issue.rule.name, issue.message) for issue in issues] == [
        ("rare-phonemes", "'ɕ' once, in 'щи'"),
        ("rare-phonemes", "'i' once, in 'щи'"),
    ]


def test_facts_say_how_much_there_is() -> None:
    facts = describe_set(create_set([9.0] * 400))
    assert facts["recordings"] == "400"
    assert facts["hours"] == "1.00"
