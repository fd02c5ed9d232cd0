"""Which speaker is meant: a number or a name, against the voice's JSON. Knows nothing else."""

from __future__ import annotations

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
