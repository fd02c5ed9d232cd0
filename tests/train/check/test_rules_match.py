"""Pace and length tell which recordings cannot say their texts."""

from __future__ import annotations

from pathlib import Path

import pytest

from piper.train.check.entries import AudioMeasures, Entry, TextMeasures
from piper.train.check.issues import Issue
from piper.train.check.rules_audio import FEWEST, find_in_matches

FRAME_SECONDS = 256 / 22050


def create_measures(seconds: float, silence: float = 0.3) -> AudioMeasures:
    return AudioMeasures(
        seconds=seconds + 2 * silence,
        sample_rate=22050,
        channels=1,
        subtype="PCM_16",
        has_all_data=True,
        digest="",
        peak=0.5,
        clipped_share=0.0,
        crowding=1.0,
        crowded_level=0.0,
        dc_offset=0.0,
        loud_db=-15.0,
        floor_db=-60.0,
        speech_db=-20.0,
        start_silence_seconds=silence,
        end_silence_seconds=silence,
        inner_silence_seconds=0.0,
        inner_silence_start=0.0,
        start_edge_db=-60.0,
        end_edge_db=-60.0,
        bandwidth_hertz=11025.0,
        outline=(),
    )


def check(recordings: list[tuple[int, float]], speakers: list[str] | None = None) -> list[Issue]:
    """Check recordings of so many phonemes in so many seconds of speech."""
    entries = []
    for line, (phonemes, seconds) in enumerate(recordings, 1):
        path = Path(f"{line}.wav")
        speaker = speakers[line - 1] if speakers else None
        # Signs of stress and pauses take no time.
        signs = ("a",) * phonemes + ("ˈ", ",", " ") * 5
        read = TextMeasures(signs, (), (), 2 * len(signs) + 3)
        audio = create_measures(seconds)
        entries.append(Entry(line, path.name, path, speaker, "text", audio, read))
    return find_in_matches(entries, frame_seconds=FRAME_SECONDS)


def usual(count: int, rate: float = 13.0) -> list[tuple[int, float]]:
    """Recordings at a pace that varies by a tenth, as a reader's does."""
    steps = [-0.1, 0.05, 0.0, 0.1, -0.05]
    return [(40 + i, (40 + i) / (rate * (1 + steps[i % 5]))) for i in range(count)]


def test_a_reader_s_own_variation_is_no_issue() -> None:
    assert check(usual(40)) == []


@pytest.mark.parametrize(
    ("seconds", "rule", "how"),
    [(60 / 26, "rate", "faster"), (60 / 6.5, "rate", "slower"), (60 / 3.0, "wrong-rate", "slower")],
)
def test_another_pace_is_found(seconds: float, rule: str, how: str) -> None:
    [issue] = check([*usual(40), (60, seconds)])
    assert (issue.rule.name, issue.line) == (rule, 41)
    assert how in issue.message


def test_texts_that_were_swapped_are_found_where_their_lengths_differ() -> None:
    recordings = usual(40)
    (short, seconds), (long, longer) = (20, 20 / 13), (120, 120 / 13)
    found = check([*recordings, (short, longer), (long, seconds)])
    assert {issue.line for issue in found} == {41, 42}
    assert {issue.rule.severity.value for issue in found} == {"error"}


def test_speakers_have_paces_of_their_own() -> None:
    recordings = [*usual(20, 10.0), *usual(20, 19.0)]
    assert check(recordings, ["slow"] * 20 + ["fast"] * 20) == []


def test_of_a_few_recordings_the_pace_is_not_known() -> None:
    assert check([*usual(FEWEST - 2), (60, 30.0)]) == []


def test_fewer_frames_than_ids_cannot_be_trained() -> None:
    [issue] = check([*usual(20), (400, 1.0)])
    assert issue.rule.name == "too-short-for-text"
    assert "frames for 833 phoneme ids" in issue.message
