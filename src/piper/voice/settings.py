"""What a call asks for, against the voice's JSON: checked, nothing left open."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Literal

from piper.config import SynthesisConfig, VoiceConfig
from piper.errors import PiperError
from piper.voice.session import SpeechSettings

# A voice may have hundreds; an error should stay readable.
_MAX_NAMES = 10


def find_speaker(config: VoiceConfig, speaker: int | str | None) -> int:
    """Return a speaker's number.

    Args:
        config: The voice.
        speaker: A number, a name, or a number as text; None means the voice's default.

    Raises:
        PiperError: The voice has no such speaker.
    """
    if speaker is None:
        speaker = config.default_speaker_id
    num_speakers = max(1, config.num_speakers)
    number = speaker
    if isinstance(speaker, str):
        number = int(speaker) if speaker.isascii() and speaker.isdecimal() else -1
        # Names may be numbers, too (those of LibriTTS-R are). A number means what it means to
        # other clients, and is a name only where there is no such number.
        if not 0 <= number < num_speakers:
            number = config.speaker_id_map.get(speaker, -1)
    if isinstance(number, int) and 0 <= number < num_speakers:
        return number
    if num_speakers == 1:
        has = "one speaker, 0"
    else:
        has = f"speakers 0 to {num_speakers - 1}"
        names = list(config.speaker_id_map)
        if names:
            more = ", …" if len(names) > _MAX_NAMES else ""
            has += f" ({', '.join(names[:_MAX_NAMES])}{more})"
    raise PiperError(f"There is no speaker {speaker}: the voice has {has}; choose one of these.")


def parse_speaker_mix(config: VoiceConfig, text: str) -> dict[int, float]:
    """Return the shares of speakers written as `3:0.7,anna:0.3`.

    Args:
        config: The voice.
        text: Numbers or names with their shares.

    Raises:
        PiperError: The text is written otherwise, or the voice has no such speaker.
    """
    mix: dict[int, float] = {}
    for part in text.split(","):
        name, colon, share = part.strip().rpartition(":")
        try:
            value = float(share)
        except ValueError:
            colon = ""
        if not colon:
            raise PiperError(
                f"{text!r} is no mixture of speakers; write speakers and shares like 3:0.7,5:0.3."
            )
        number = find_speaker(config, name)
        mix[number] = mix.get(number, 0.0) + value
    return check_speaker_mix(config, mix)


def check_speaker_mix(config: VoiceConfig, mix: Mapping[int, float]) -> dict[int, float]:
    """Return the shares divided by their sum.

    Raises:
        PiperError: A speaker is not there, or a share makes no sense.
    """
    total = math.fsum(mix.values())
    if not math.isfinite(total) or total <= 0 or min(mix.values()) < 0:
        raise PiperError(
            f"The speakers' shares are {', '.join(map(str, mix.values())) or 'none'}; "
            "give shares of 0 or more whose sum is more than 0."
        )
    return {find_speaker(config, number): share / total for number, share in mix.items()}


Loudness = Literal["sentence", "utterance", "off"]
LONGEST_SILENCE_SECONDS = 600
LARGEST_PITCH = 12
"""Semitones up or down: an octave, beyond which no voice is like itself."""
_LOUDNESS = ("sentence", "utterance", "off")


def resolve_settings(syn_config: SynthesisConfig, config: VoiceConfig) -> SpeechSettings:
    """Return what the network is to be told.

    Raises:
        PiperError: The voice has no such speaker, or a value makes no sense.
    """
    if syn_config.speaker_mix is not None:
        speakers = check_speaker_mix(config, syn_config.speaker_mix)
    else:
        speakers = {find_speaker(config, syn_config.speaker_id): 1.0}
    return SpeechSettings(
        noise_scale=_check_scale("noise_scale", syn_config.noise_scale, config.noise_scale),
        length_scale=_check_scale(
            "length_scale", syn_config.length_scale, config.length_scale, is_zero_allowed=False
        ),
        noise_w_scale=_check_scale("noise_w_scale", syn_config.noise_w_scale, config.noise_w_scale),
        speakers=speakers,
        pitch=_check_pitch(syn_config.pitch),
    )


def resolve_loudness(syn_config: SynthesisConfig, *, is_streamed: bool) -> Loudness:
    """Return over what the sound is brought to full range.

    Raises:
        PiperError: There is no such way.
    """
    if syn_config.normalize is None:
        return "sentence" if syn_config.normalize_audio and not is_streamed else "off"
    if syn_config.normalize not in _LOUDNESS:
        raise PiperError(
            f"normalize is {syn_config.normalize!r}, but it must be one of {', '.join(_LOUDNESS)}."
        )
    return syn_config.normalize


def check_silence(name: str, seconds: float) -> None:
    """Check that a silence can be made.

    Raises:
        PiperError: It is negative, not a number, or so long that it can only be a mistake.
    """
    if not 0 <= seconds <= LONGEST_SILENCE_SECONDS:
        raise PiperError(
            f"{name} is {seconds}, but it must be from 0 to {LONGEST_SILENCE_SECONDS} seconds."
        )


def check_ids(ids: Sequence[int], config: VoiceConfig) -> None:
    """Check that the network has a row for each id.

    Raises:
        PiperError: It has not, or there are no ids.
    """
    highest = max(ids, default=0)
    if not ids or min(ids) < 0 or highest >= config.num_symbols:
        raise PiperError(
            f"The phoneme ids must not be empty and lie between 0 and "
            f"{config.num_symbols - 1}, which is what the voice's num_symbols allows, but the "
            f"highest is {highest}; check phoneme_id_map and num_symbols in its JSON."
        )


def _check_pitch(semitones: float) -> float:
    # Written so that a NaN is wrong, too.
    if not -LARGEST_PITCH <= semitones <= LARGEST_PITCH:
        raise PiperError(
            f"pitch is {semitones}, but it must be from -{LARGEST_PITCH} to {LARGEST_PITCH} "
            "semitones."
        )
    return semitones


def _check_scale(
    name: str, value: float | None, default: float, *, is_zero_allowed: bool = True
) -> float:
    value = default if value is None else value
    if not math.isfinite(value) or value < 0 or (value == 0 and not is_zero_allowed):
        bound = "0 or more" if is_zero_allowed else "more than 0"
        raise PiperError(f"{name} is {value}, but it must be {bound}.")
    return value
