"""The border for voice JSON: what others wrote becomes a `VoiceConfig`, and back.

Extra keys are tolerated, because other programs write these files; missing or wrong ones raise
`ConfigError` naming file, key and what to do.
"""

from __future__ import annotations

import logging
import math
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

from piper.errors import ConfigError, name_some
from piper.files import load_json_object

_LOGGER = logging.getLogger(__name__)

DEFAULT_HOP_LENGTH = 256
DEFAULT_NOISE_SCALE = 0.667
DEFAULT_LENGTH_SCALE = 1.0
DEFAULT_NOISE_W_SCALE = 0.8


class PhonemeType(StrEnum):
    """How a voice turns text into phonemes (`phoneme_type` of its JSON)."""

    ESPEAK = "espeak"
    TEXT = "text"
    PINYIN = "pinyin"
    HEBREW = "hebrew"
    JAPANESE = "japanese"
    THAI = "thai"


@dataclass(frozen=True)
class Phonemizer:
    """The program that made a voice's training phonemes: an extra key of voices trained here."""

    name: str
    version: str


@dataclass
class VoiceConfig:
    """What a voice's JSON says.

    Attributes:
        num_symbols: Rows of the phoneme embedding.
        num_speakers: Speakers of the voice; 1 means that the network takes no speaker id.
        sample_rate: Hertz of the audio that the network gives.
        espeak_voice: Voice (language) for espeak-ng, such as `ru` or `en-us`.
        phoneme_id_map: Phoneme (one code point) to its ids.
        phoneme_type: How text becomes phonemes.
        speaker_id_map: Speaker's name to its id.
        noise_scale: Default deviation of the prior's noise.
        length_scale: Default factor on durations; above 1 is slower.
        noise_w_scale: Default deviation of the duration predictor's noise (JSON: `noise_w`).
        hop_length: Samples per frame of the spectrogram; durations count frames.
        quality: Name of the preset (JSON: `audio.quality`), empty where the file has none.
        language: The file's `language` object, as it is.
        default_speaker_id: Speaker where none is asked for.
        phoneme_map: Phoneme to the phonemes that replace it.
        vowel_clusters: Phonemes of several code points, such as `aɪ`, which have ids of their own.
        phonemizer: What made the training phonemes, if the file says so.
        piper_version: As the file says; kept for writing.
        extra: All other keys of the file, kept for writing.
        source: What to call the file in errors; not written.
    """

    num_symbols: int
    num_speakers: int
    sample_rate: int
    espeak_voice: str
    phoneme_id_map: dict[str, list[int]]
    phoneme_type: PhonemeType = PhonemeType.ESPEAK
    speaker_id_map: dict[str, int] = field(default_factory=dict)
    noise_scale: float = DEFAULT_NOISE_SCALE
    length_scale: float = DEFAULT_LENGTH_SCALE
    noise_w_scale: float = DEFAULT_NOISE_W_SCALE
    hop_length: int = DEFAULT_HOP_LENGTH
    quality: str = ""
    language: dict[str, Any] = field(default_factory=dict)
    default_speaker_id: int = 0
    phoneme_map: dict[str, list[str]] = field(default_factory=dict)
    vowel_clusters: list[str] = field(default_factory=list)
    phonemizer: Phonemizer | None = None
    piper_version: str = ""
    extra: dict[str, Any] = field(default_factory=dict)
    source: str = field(default="", repr=False, compare=False)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any], source: str = "voice config") -> VoiceConfig:
        """Parse a voice's JSON; `source` is what to call it in errors, usually the file's path."""
        return _parse_voice_config(_Reader(data, source))

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON object of this voice, in the layout that Piper's clients read."""
        data: dict[str, Any] = {
            "audio": {"sample_rate": self.sample_rate, "quality": self.quality},
            "espeak": {"voice": self.espeak_voice},
            "language": self.language,
            "inference": {
                "noise_scale": self.noise_scale,
                "length_scale": self.length_scale,
                "noise_w": self.noise_w_scale,
            },
            "phoneme_type": self.phoneme_type.value,
            "phoneme_map": self.phoneme_map,
            "phoneme_id_map": self.phoneme_id_map,
            "num_symbols": self.num_symbols,
            "num_speakers": self.num_speakers,
            "speaker_id_map": self.speaker_id_map,
            "hop_length": self.hop_length,
            "piper_version": self.piper_version,
        }
        if self.vowel_clusters:
            data["vowel_clusters"] = self.vowel_clusters
        if self.default_speaker_id:
            data["default_speaker_id"] = self.default_speaker_id
        if self.phonemizer is not None:
            data["phonemizer"] = asdict(self.phonemizer)
        return {**self.extra, **data}


@dataclass
class SynthesisConfig:
    """How to speak; None takes the voice's own default.

    Attributes:
        speaker_id: Speaker of a voice with several.
        length_scale: Factor on durations; above 1 is slower.
        noise_scale: Deviation of the prior's noise; 0 always gives the same audio.
        noise_w_scale: Deviation of the duration predictor's noise.
        normalize_audio: Scale each sentence to full range; read where `normalize` is None.
        volume: Factor on the audio after that.
        normalize: `sentence` scales each sentence to full range, `utterance` the whole text by
            one factor, so that its sentences keep their loudness to each other (nothing is heard
            before all is spoken), `off` nothing. None means what `normalize_audio` says, and
            `off` in streaming, because only a whole sentence shows its peak.
        seed: The same seed gives the same samples at each call, on one machine. None: other noise
            each time.
        speaker_mix: Speaker's number to its share, in place of `speaker_id`; shares are divided
            by their sum.
        sentence_silence_seconds: Silence between sentences.
        paragraph_silence_seconds: Silence between paragraphs; None takes that of sentences.
        clause_silence_seconds: Silence added after `, ; :` inside a sentence.
        ellipsis_silence_seconds: Silence added after `…` inside a sentence; None takes that of
            clauses.
        pitch: Semitones that are added to the voice's pitch, from -12 to 12; only quick voices can
            (`audio.quality` of their JSON is `quick`), others say so once and speak as ever.
        whole_ends: Give the network a run-up before the first sound of each sentence, and a full
            stop after one without a mark, so that neither its first nor its last phoneme is cut.
            It changes the ids, and so the samples. None does it for sentences of a single word,
            letter or number, which suffer most.
    """

    speaker_id: int | None = None
    length_scale: float | None = None
    noise_scale: float | None = None
    noise_w_scale: float | None = None
    normalize_audio: bool = True
    volume: float = 1.0
    normalize: Literal["sentence", "utterance", "off"] | None = None
    seed: int | None = None
    speaker_mix: dict[int, float] | None = None
    sentence_silence_seconds: float = 0.0
    paragraph_silence_seconds: float | None = None
    clause_silence_seconds: float = 0.0
    ellipsis_silence_seconds: float | None = None
    whole_ends: bool | None = None
    pitch: float = 0.0


def load_voice_config(path: Path | str) -> VoiceConfig:
    """Read the JSON beside a voice."""
    path = Path(path)
    return VoiceConfig.from_dict(load_json_object(path), str(path))


_Bounds = tuple[float, float] | None
"""Of a number; both are included."""


class _Reader:
    """Typed access to nested JSON, with errors that name file and key.

    Other programs write these files: a number may be a float or stand in quotation marks.
    """

    def __init__(self, data: Mapping[str, Any], source: str) -> None:
        self.data = data
        self.source = source

    def find(self, dotted: str, kind: type, default: Any, bounds: _Bounds = None) -> Any:
        """Return the value at a dotted key, or the default where it is absent or null."""
        value: Any = self.data
        for part in dotted.split("."):
            if not isinstance(value, Mapping) or value.get(part) is None:
                return default
            value = value[part]
        found: Any = _to_number(value, kind) if kind in (int, float) else value
        is_wrong = not isinstance(found, kind)
        if is_wrong:
            raise self.mistake(dotted, value, _WANTED[kind])
        if bounds is not None and not bounds[0] <= found <= bounds[1]:
            raise self.mistake(dotted, value, f"a number from {bounds[0]:,} to {bounds[1]:,}")
        return found

    def require(self, dotted: str, kind: type, bounds: _Bounds = None) -> Any:
        """Return the value at a dotted key, or raise."""
        value = self.find(dotted, kind, None, bounds)
        if value is None:
            raise ConfigError(
                f'{self.source}: the key "{dotted}" is missing; is this the JSON of a Piper voice?'
            )
        return value

    def find_or_pass(self, dotted: str, kind: type, default: Any, bounds: _Bounds = None) -> Any:
        """Return the value at a key that speaking can do without; a wrong one is passed over.

        The existing client reads few keys, and programs wrote all sorts of things into the others.
        """
        try:
            return self.find(dotted, kind, default, bounds)
        except ConfigError as error:
            self.pass_over(error)
            return default

    def pass_over(self, error: ConfigError) -> None:
        """Warn of a value that counts as absent."""
        _warn_once(f"{error} It is passed over.")

    def mistake(self, key: str, value: Any, wanted: str) -> ConfigError:
        """Return an error about the value of a key."""
        return ConfigError(
            f'{self.source}: the key "{key}" holds {value!r:.60}, but {wanted} is wanted.'
        )


_WANTED = {dict: "an object", str: "a string", int: "a whole number", float: "a number"}
_SAMPLE_RATES = (1, 1_000_000)
"""Hertz; those of voices are from 8,000 to 48,000."""
_SPEAKERS = (1, 100_000)
_HOP_LENGTHS = (1, 65_536)
_NOISES = (0.0, 100.0)
_LENGTHS = (0.01, 100.0)
_MAX_IDS = 2**31 - 1
_MAX_EXPANSION = 16
"""Ids of a phoneme, and phonemes in place of one; voices have 1. It bounds what a text grows to."""


@lru_cache(maxsize=256)
def _warn_once(sentence: str) -> None:
    _LOGGER.warning("%s", sentence)


def _to_number(value: Any, kind: type) -> Any:
    """Return a number as an int or float, or what was given where it is none of that kind."""
    if isinstance(value, bool):
        return None
    if isinstance(value, str):
        try:
            value = float(value)
        except ValueError:
            return None
    if not isinstance(value, int | float) or not math.isfinite(value):
        return None
    if kind is float:
        return float(value)
    return int(value) if value == int(value) else None


def _parse_phoneme_id_map(reader: _Reader) -> dict[str, list[int]]:
    raw = reader.require("phoneme_id_map", dict)
    result: dict[str, list[int]] = {}
    for symbol, ids in raw.items():
        # Some trainers write a single number instead of a list, or null for no id.
        given = ids if isinstance(ids, list) else [] if ids is None else [ids]
        found = [_to_number(one, int) for one in given]
        if any(one is None or not 0 <= one < _MAX_IDS for one in found):
            raise ConfigError(
                f'{reader.source}: "phoneme_id_map" gives {ids!r:.60} for {symbol!r:.20}, '
                "but a list of whole numbers, 0 or more, is wanted."
            )
        if len(found) > _MAX_EXPANSION:
            raise ConfigError(
                f'{reader.source}: "phoneme_id_map" gives {len(found):,} ids for {symbol!r:.20}, '
                f"but {_MAX_EXPANSION} are the most; correct or replace the file."
            )
        if given or ids == []:
            result[symbol] = found
    return result


def _parse_phoneme_map(reader: _Reader) -> dict[str, list[str]]:
    result: dict[str, list[str]] = {}
    for phoneme, others in reader.find_or_pass("phoneme_map", dict, {}).items():
        given = [others] if isinstance(others, str) else others
        if not isinstance(given, list) or not all(isinstance(one, str) for one in given):
            key = f"phoneme_map.{phoneme:.20}"
            reader.pass_over(reader.mistake(key, others, "a list of phonemes"))
        elif (size := sum(map(len, given))) > _MAX_EXPANSION:
            raise ConfigError(
                f'{reader.source}: "phoneme_map" puts {size:,} characters in place of '
                f"{phoneme!r:.20}, but {_MAX_EXPANSION} are the most; correct or replace the file."
            )
        else:
            result[phoneme] = given
    return result


def _parse_speaker_id_map(reader: _Reader) -> dict[str, int]:
    result: dict[str, int] = {}
    for name, value in reader.find_or_pass("speaker_id_map", dict, {}).items():
        number = _to_number(value, int)
        if number is None or not 0 <= number < _SPEAKERS[1]:
            key = f"speaker_id_map.{name:.40}"
            reader.pass_over(reader.mistake(key, value, "a speaker's number"))
        else:
            result[name] = number
    return result


def _parse_phoneme_type(reader: _Reader) -> PhonemeType:
    written = reader.find("phoneme_type", str, "")
    # A trainer of 2023 wrote its enumeration's name: PhonemeType.ESPEAK.
    name = written.rpartition(".")[2].strip().lower() or PhonemeType.ESPEAK.value
    try:
        return PhonemeType(name)
    except ValueError:
        known = ", ".join(member.value for member in PhonemeType)
        raise ConfigError(
            f'{reader.source}: "phoneme_type" is {written!r:.60}, but only {known} are known.'
        ) from None


def _parse_language(reader: _Reader) -> dict[str, Any]:
    code = reader.data.get("language")
    if isinstance(code, str):
        return {"code": code} if code else {}
    found: dict[str, Any] = reader.find_or_pass("language", dict, {})
    return found


def _parse_vowel_clusters(reader: _Reader) -> list[str]:
    found = reader.data.get("vowel_clusters") or []
    clusters = list(found) if isinstance(found, list | dict) else None
    if clusters is None or not all(isinstance(cluster, str) for cluster in clusters):
        reader.pass_over(reader.mistake("vowel_clusters", found, "a list of phonemes"))
        return []
    return clusters


def _warn_about_unknown(reader: _Reader) -> None:
    """Say which keys look as if they change phonemes, and are not known here."""
    espeak = reader.find_or_pass("espeak", dict, {})
    keys = [f"espeak.{key}" for key in espeak if key != "voice"]
    keys += [key for key in reader.data if key not in _KNOWN_KEYS and _TEXT_KEY.search(key)]
    if keys:
        _warn_once(
            f"{reader.source}: these keys may change how texts are spoken, are not known here, and "
            f"have no effect: {name_some((f'{key:.40}' for key in keys), 10)}."
        )


def _parse_phonemizer(reader: _Reader) -> Phonemizer | None:
    raw = reader.find_or_pass("phonemizer", dict, None)
    if raw is None:
        return None
    return Phonemizer(str(raw.get("name", "")), str(raw.get("version", "")))


_KNOWN_KEYS = frozenset(
    {
        *("audio", "espeak", "language", "inference", "phoneme_type", "phoneme_map"),
        *("phoneme_id_map", "num_symbols", "num_speakers", "speaker_id_map", "hop_length"),
        *("piper_version", "default_speaker_id", "phonemizer", "vowel_clusters"),
    }
)


_TEXT_KEY = re.compile(
    r"phonem|grapheme|g2p|token|symbol|cluster|espeak|tashkeel|diacriti|normali|clean|stress|tone",
    re.IGNORECASE,
)


def _parse_voice_config(reader: _Reader) -> VoiceConfig:
    _warn_about_unknown(reader)
    phoneme_type = _parse_phoneme_type(reader)
    phoneme_id_map = _parse_phoneme_id_map(reader)
    highest = max((one for ids in phoneme_id_map.values() for one in ids), default=0)
    num_speakers = max(1, reader.require("num_speakers", int, (-_SPEAKERS[1], _SPEAKERS[1])))
    if phoneme_type is PhonemeType.ESPEAK:
        espeak_voice = reader.require("espeak.voice", str)
    else:
        espeak_voice = reader.find_or_pass("espeak.voice", str, "")
    return VoiceConfig(
        # The existing client does not read it, so a wrong one goes unnoticed.
        num_symbols=max(highest + 1, reader.find_or_pass("num_symbols", int, 0, (0, _MAX_IDS))),
        num_speakers=num_speakers,
        sample_rate=reader.require("audio.sample_rate", int, _SAMPLE_RATES),
        espeak_voice=espeak_voice,
        phoneme_id_map=phoneme_id_map,
        phoneme_type=phoneme_type,
        speaker_id_map=_parse_speaker_id_map(reader),
        noise_scale=reader.find("inference.noise_scale", float, DEFAULT_NOISE_SCALE, _NOISES),
        length_scale=reader.find("inference.length_scale", float, DEFAULT_LENGTH_SCALE, _LENGTHS),
        noise_w_scale=reader.find("inference.noise_w", float, DEFAULT_NOISE_W_SCALE, _NOISES),
        hop_length=reader.find_or_pass("hop_length", int, DEFAULT_HOP_LENGTH, _HOP_LENGTHS),
        quality=reader.find_or_pass("audio.quality", str, ""),
        language=_parse_language(reader),
        default_speaker_id=reader.find_or_pass("default_speaker_id", int, 0, (0, num_speakers - 1)),
        phoneme_map=_parse_phoneme_map(reader),
        vowel_clusters=_parse_vowel_clusters(reader),
        phonemizer=_parse_phonemizer(reader),
        piper_version=reader.find_or_pass("piper_version", str, ""),
        extra={key: value for key, value in reader.data.items() if key not in _KNOWN_KEYS},
        source=reader.source,
    )


PiperConfig = VoiceConfig
"""The name that other programs import."""
