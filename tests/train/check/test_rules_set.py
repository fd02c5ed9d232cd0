"""A set as a whole: speakers, hours, pace, what is held out, and what stands in the facts."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from made_reports import MEASURES, SETTINGS, create_set, found, read_dataset

from piper.train.check.entries import Entry, TextMeasures
from piper.train.check.issues import Issue
from piper.train.check.rules_audio import FEWEST, find_in_matches
from piper.train.check.rules_set import (
    choose_held_out,
    describe_set,
    describe_split,
    find_in_set,
    find_in_split,
    find_usable,
    tabulate_speakers,
)
from piper.train.data.module import VitsDataModule
from piper.train.data.settings import resolve_settings

TEXTS = [f"text {n}" for n in range(400)]
"""In the second of three columns, as LJSpeech has them: no speakers."""


def say(issues: list[Issue]) -> list[tuple[str, str]]:
    return [(issue.rule.name, issue.message) for issue in issues]


def test_an_hour_of_one_speaker_has_no_issues() -> None:
    entries = create_set([9.0] * 400)
    assert find_in_set(entries) == []
    facts = describe_set(entries)
    assert (facts["recordings"], facts["hours"]) == ("400", "1.00")


@pytest.mark.parametrize(
    ("count", "rules"), [(19, ["few-recordings", "little-speech"]), (40, ["little-speech"])]
)
def test_too_little_is_said(count: int, rules: list[str]) -> None:
    assert [name for name, _ in found(find_in_set(create_set([9.0] * count)))] == rules


def test_texts_in_the_second_column_are_no_speakers() -> None:
    names = [name for name, _ in found(find_in_set(create_set([9.0] * 400, TEXTS)))]
    assert "no-speakers" in names
    assert "speaker-speech" not in names
    entries = create_set([9.0] * 20, TEXTS[:20])
    assert find_in_split(entries[2:], entries[:2]) == []


def test_speakers_with_little_speech_are_named() -> None:
    entries = create_set([9.0] * 910, ["anna"] * 800 + ["boris"] * 100 + ["vera"] * 10)
    issues = find_in_set(entries)
    assert [(name, message.split(":")[0]) for name, message in say(issues)] == [
        ("speaker-speech", "vera"),
        ("balance", "boris"),
    ]
    _, heads, rows = tabulate_speakers(entries)
    assert len(heads) == len(rows[0]) == 3
    assert rows[0] == ["anna", "800", "2.00"]


def test_phonemes_that_are_hardly_said_come_with_an_example() -> None:
    entries = create_set([9.0] * 400)
    entries[0] = replace(entries[0], text="щи", read=TextMeasures(("ɕ", "i"), (), 7))
    assert say(find_in_set(entries)) == [
        ("rare-phonemes", "'ɕ' once, in 'щи'"),
        ("rare-phonemes", "'i' once, in 'щи'"),
    ]


def test_what_is_held_out_is_training_s_choice(dataset: Path) -> None:
    """Without preparing; signs of stress are taken out as training takes them out."""
    text = (dataset / "metadata.csv").read_text(encoding="utf-8")
    (dataset / "metadata.csv").write_text(text.replace("о", "+о"), encoding="utf-8")
    config = json.loads((dataset / "config.json").read_text(encoding="utf-8"))
    config["text_options"] = {"stress": "off"}
    (dataset / "config.json").write_text(json.dumps(config), encoding="utf-8")
    for flags in ({}, {"validation_split": 0.4, "seed": 5}):
        settings = resolve_settings(dataset_dir=dataset, **flags)
        split = VitsDataModule(dataset_dir=str(dataset), num_workers=0, **flags).split
        held_out = [entry.line for entry in choose_held_out(read_dataset(dataset), settings)]
        assert held_out == [u.row.line for u in split.validation]


def test_lines_that_training_refuses_are_not_in_the_split() -> None:
    entries = create_set([9.0] * 20)
    entries[2] = replace(entries[2], read=None)
    entries[4] = replace(entries[4], audio=None)
    entries.append(Entry(21, "gone.wav", None, None, "нет"))
    assert [entry.line for entry in find_usable(entries)] == [1, 2, 4, *range(6, 21)]


def test_a_split_of_little_and_of_nothing() -> None:
    entries = create_set([60.0] * 20)
    held_out = choose_held_out(entries, SETTINGS)
    facts = describe_split(held_out, 5)
    assert facts["held out"] == "2 recordings, 2.0 minutes (--data.validation_split)"
    assert facts["spoken at each validation"] == f"{held_out[0].name}, {held_out[1].name}"
    assert choose_held_out(entries[:1], SETTINGS) == []
    assert choose_held_out(entries, replace(SETTINGS, validation_split=0.0)) == []
    assert describe_split([], 5)["held out"].startswith("none")
    assert find_in_split(entries, []) == []


def test_speakers_of_one_part_only_are_named() -> None:
    entries = create_set([9.0] * 6, ["anna", "anna", "boris", "vera", "vera", "vera"])
    assert say(find_in_split([entries[0], *entries[3:]], entries[1:3])) == [
        ("untrained-speaker", "boris"),
        ("unvalidated-speaker", "vera: 3 recordings"),
    ]


def test_phonemes_that_training_never_says_are_named() -> None:
    entries = create_set([9.0] * 4)
    entries[1] = replace(entries[1], read=TextMeasures(("ɕ", "!", "d"), (), 7))
    issues = find_in_split([entries[0], *entries[2:]], [entries[1]])
    assert say(issues) == [("untrained-phonemes", "'ɕ' in 'да'")]
    assert find_in_split(entries[1:], [entries[0]]) == []


def check_pace(
    recordings: list[tuple[int, float]], speakers: list[str | None] | None = None
) -> list[Issue]:
    """Check recordings of so many phonemes in so many seconds of speech."""
    entries = create_set([0.0] * len(recordings), speakers)
    for index, (phonemes, seconds) in enumerate(recordings):
        # Signs of stress, pauses and silence take no time.
        signs = ("a",) * phonemes + ("ˈ", ",", " ") * 5
        audio = replace(
            MEASURES,
            seconds=seconds + 0.6,
            start_silence_seconds=0.3,
            end_silence_seconds=0.3,
        )
        read = TextMeasures(signs, (), 2 * len(signs) + 3)
        entries[index] = replace(entries[index], audio=audio, read=read)
    return find_in_matches(entries, SETTINGS)


def usual(count: int, rate: float = 13.0) -> list[tuple[int, float]]:
    """Recordings at a pace that varies by a tenth, as a reader's does."""
    steps = [-0.1, 0.05, 0.0, 0.1, -0.05]
    return [(40 + i, (40 + i) / (rate * (1 + steps[i % 5]))) for i in range(count)]


@pytest.mark.parametrize(
    ("seconds", "rule", "how"),
    [(60 / 26, "rate", "faster"), (60 / 6.5, "rate", "slower"), (60 / 3.0, "wrong-rate", "slower")],
)
def test_another_pace_is_found(seconds: float, rule: str, how: str) -> None:
    [issue] = check_pace([*usual(40), (60, seconds)])
    assert (issue.rule.name, issue.line) == (rule, 41)
    assert how in issue.message


def test_texts_that_were_swapped_are_found_where_their_lengths_differ() -> None:
    issues = check_pace([*usual(40), (20, 120 / 13), (120, 20 / 13)])
    assert {issue.line for issue in issues} == {41, 42}
    assert {issue.rule.severity.value for issue in issues} == {"error"}


def test_a_pace_that_is_usual_or_unknown_is_no_issue() -> None:
    assert check_pace(usual(40)) == []
    # Each speaker has his own; of a few recordings it is not known.
    speakers: list[str | None] = ["slow"] * 20 + ["fast"] * 20
    assert check_pace([*usual(20, 10.0), *usual(20, 19.0)], speakers) == []
    assert check_pace([*usual(FEWEST - 2), (60, 30.0)]) == []


def test_fewer_frames_than_ids_cannot_be_trained() -> None:
    [issue] = check_pace([*usual(20), (400, 1.0)])
    assert issue.rule.name == "too-short-for-text"
    assert "frames for 833 phoneme ids" in issue.message
