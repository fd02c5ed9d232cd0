"""Which speaker is meant: a number or a name, against the voice's JSON. Knows nothing else."""

from __future__ import annotations

import math
from collections.abc import Mapping

from piper.config import VoiceConfig
from piper.errors import PiperError

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
