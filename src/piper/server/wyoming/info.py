"""What a Wyoming server says of itself and of its voices. Knows nothing of connections."""

from __future__ import annotations

from wyoming.info import Attribution, Info, TtsProgram, TtsVoice, TtsVoiceSpeaker

from piper import __version__
from piper.config import VoiceConfig
from piper.errors import VoiceNotFoundError
from piper.languages import describe_language, normalise_code
from piper.server.store import VoiceStore

_PIPER = Attribution(name="Piper", url="https://github.com/rhasspy/piper")
"""Whose voices these are, or whose kind."""
_MAX_ECHO = 60
_MAX_SPEAKERS = 10_000
"""The JSON alone says how many there are; published voices have up to 904."""


def create_info(voices: VoiceStore, *, is_streaming: bool) -> Info:
    """Return the answer to `describe`: every voice that can be loaded, the default one first.

    It is blocking.

    Args:
        voices: The voices.
        is_streaming: Whether a text may come in pieces.
    """
    program = TtsProgram(
        name="piper",
        description="Piper voices",
        attribution=_PIPER,
        installed=True,
        version=__version__,
        voices=[_describe(name, config) for name, config in _load_configs(voices).items()],
        supports_synthesize_streaming=is_streaming,
    )
    return Info(tts=[program])


def find_voice_of(voices: VoiceStore, language: str) -> str:
    """Return the name of the first voice of a language; blocking.

    Args:
        voices: The voices.
        language: As `ru_RU`, `ru-RU` or `ru`; a language alone takes any country's.

    Raises:
        VoiceNotFoundError: There is none.
    """
    wanted = normalise_code(language)
    languages = {name: find_language(config) for name, config in _load_configs(voices).items()}
    for name, its_language in languages.items():
        if its_language == wanted:
            return name
    for name, its_language in languages.items():
        # One who asks for Austrian German is better served with German than with nothing.
        if its_language.partition("_")[0] == wanted.partition("_")[0]:
            return name
    if voices.fallback is not None:
        return voices.fallback.model.stem
    raise VoiceNotFoundError(
        f"There is no voice for the language {language[:_MAX_ECHO]!r} here; "
        "describe lists those that there are."
    )


def find_language(config: VoiceConfig) -> str:
    """Return the language of a voice as `ru_RU`; of espeak-ng's voice where the JSON has none."""
    code = config.language.get("code")
    if isinstance(code, str) and code and code != config.espeak_voice:
        return normalise_code(code)
    return describe_language(config.espeak_voice)["code"]


def _load_configs(voices: VoiceStore) -> dict[str, VoiceConfig]:
    """Return the voices that can be loaded, the default one first."""
    listed = {name: voice.config for name, voice in voices.list().items()}
    first = {name: listed[name] for name in [voices.default_name] if name in listed}
    return first | listed


def _describe(name: str, config: VoiceConfig) -> TtsVoice:
    speakers = None
    if config.num_speakers > 1:
        numbers = [str(number) for number in range(min(config.num_speakers, _MAX_SPEAKERS))]
        names = list(config.speaker_id_map) or numbers
        speakers = [TtsVoiceSpeaker(name=speaker) for speaker in names]
    dataset = config.extra.get("dataset")
    return TtsVoice(
        name=name,
        description=name,
        attribution=Attribution(name=dataset, url="") if isinstance(dataset, str) else _PIPER,
        installed=True,
        version=config.piper_version or None,
        languages=[find_language(config)],
        speakers=speakers,
    )
