"""Speakers by number and by name."""

from __future__ import annotations

import pytest

from piper.config import VoiceConfig
from piper.errors import PiperError
from piper.voice.synthesizer import find_speaker


def create_config(num_speakers: int, names: dict[str, int], default: int = 0) -> VoiceConfig:
    return VoiceConfig(
        num_symbols=3,
        num_speakers=num_speakers,
        sample_rate=16000,
        espeak_voice="en-us",
        phoneme_id_map={},
        speaker_id_map=names,
        default_speaker_id=default,
    )


MANY = create_config(12, {"anna": 3, "7": 1, "3922": 5}, default=2)


@pytest.mark.parametrize(
    ("speaker", "number"),
    [(None, 2), (0, 0), (11, 11), ("4", 4), ("anna", 3), ("7", 7), ("3922", 5)],
)
def test_a_number_or_a_name(speaker: int | str | None, number: int) -> None:
    assert find_speaker(MANY, speaker) == number


@pytest.mark.parametrize("speaker", [12, -1, "12", "-1", "Anna", "", "٣"])
def test_a_speaker_that_is_not_there(speaker: int | str) -> None:
    with pytest.raises(PiperError) as caught:
        find_speaker(MANY, speaker)
    assert str(caught.value) == (
        f"There is no speaker {speaker}: the voice has speakers 0 to 11 (anna, 7, 3922); "
        "choose one of these."
    )


def test_many_names_are_cut_and_none_are_left_out() -> None:
    names = {f"s{number}": number for number in range(300)}
    with pytest.raises(PiperError, match=r"\(s0, .*, s9, and \d+ more\)"):
        find_speaker(create_config(300, names), "x")
    with pytest.raises(PiperError, match="speakers 0 to 1; choose"):
        find_speaker(create_config(2, {}), 2)


def test_a_json_that_maps_a_name_out_of_range() -> None:
    with pytest.raises(PiperError, match="no speaker anna"):
        find_speaker(create_config(2, {"anna": 2}), "anna")


@pytest.mark.parametrize("num_speakers", [0, 1])
def test_a_single_speaker_is_number_0(num_speakers: int) -> None:
    assert find_speaker(create_config(num_speakers, {}), None) == 0
    with pytest.raises(PiperError, match="the voice has one speaker, 0; choose"):
        find_speaker(create_config(num_speakers, {}), 1)
