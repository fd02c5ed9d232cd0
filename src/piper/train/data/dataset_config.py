"""A dataset's config.json: completed to a valid voice JSON."""

from __future__ import annotations

import json
import logging
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from piper.config import Phonemizer, VoiceConfig
from piper.errors import ConfigError, DatasetError
from piper.files import load_json_object, remove_link, replace_on_success
from piper.languages import describe_language
from piper.phoneme_ids import BOS, EOS, PAD
from piper.text.frontend import VOICE_KEY, create_frontend
from piper.train.data.metadata import PHONEME_IDS, Row
from piper.train.data.remote_dataset import store_config
from piper.train.data.settings import DataSettings

_LOGGER = logging.getLogger(__name__)
# Objects whose missing keys are filled in; a map of ids is taken as a whole.
_MERGED_KEYS = frozenset(("audio", "espeak", "inference"))


def create_voice_config(settings: DataSettings, rows: Sequence[Row]) -> VoiceConfig:
    """Return the voice that this dataset makes: what export writes beside the ONNX.

    The same on every process, and the same before and after config.json was completed.
    """
    voice = VoiceConfig(
        num_symbols=settings.num_symbols,
        num_speakers=settings.num_speakers,
        sample_rate=settings.sample_rate,
        espeak_voice=settings.espeak_voice,
        phoneme_id_map=settings.phoneme_id_map or _create_text_id_map(settings, rows),
        phoneme_type=settings.phoneme_type,
        speaker_id_map=_assign_speaker_ids(settings, rows),
        hop_length=settings.hop_length,
        quality=settings.quality,
        language=describe_language(settings.espeak_voice),
        extra={"dataset": settings.voice_name, VOICE_KEY: settings.text_options.to_dict()},
    )
    path, existing = settings.config_path, settings.found
    made = replace(voice, phonemizer=_find_phonemizer(settings, existing, voice))
    completed = _complete(existing, made)
    if settings.quality:
        # What is trained, also where a flag says otherwise than the file.
        completed["audio"] = {**completed["audio"], "quality": settings.quality}
    return VoiceConfig.from_dict(completed, str(path))


def _find_phonemizer(
    settings: DataSettings, existing: Mapping[str, Any], voice: VoiceConfig
) -> Phonemizer:
    """Return what makes the phonemes, or made them.

    Ids that were made beforehand are as true where there is no espeak-ng, or another one.
    """
    made = existing.get("phonemizer")
    if settings.dataset_type == PHONEME_IDS and isinstance(made, Mapping):
        return Phonemizer(str(made.get("name", "")), str(made.get("version", "")))
    frontend = create_frontend(voice)
    return Phonemizer(frontend.phonemizer.name, frontend.phonemizer.version)


def complete_dataset_config(settings: DataSettings, voice: VoiceConfig) -> None:
    """Write what config.json lacks; what it has stays, keys that we do not know included."""
    path = settings.config_path
    existing = load_json_object(path) if path.is_file() else {}
    completed = _complete(existing, voice)
    if completed == existing:
        return
    old = existing.get("phonemizer")
    if old is not None and old != completed["phonemizer"]:
        _LOGGER.warning("%s: phonemes are now made by %s, not %s.", path, voice.phonemizer, old)
    remove_link(path)
    with replace_on_success(path) as temporary:
        text = json.dumps(completed, ensure_ascii=False, indent=2)
        temporary.write_text(text + "\n", encoding="utf-8")
    if settings.address is not None:
        store_config(settings.address, path)


def _complete(existing: Mapping[str, Any], voice: VoiceConfig) -> dict[str, Any]:
    defaults = voice.to_dict()
    result = _merge(existing, defaults)
    # These two follow from the texts and the program at hand; an old value would be untrue.
    result["phonemizer"] = defaults["phonemizer"]
    result["speaker_id_map"] = defaults["speaker_id_map"]
    # Earlier versions took espeak-ng's name for the code, by which no program finds a voice.
    said = result["language"]
    if isinstance(said, Mapping) and said.get("code") == voice.espeak_voice:
        result["language"] = {**said, **defaults["language"]}
    return result


def _merge(existing: Mapping[str, Any], defaults: Mapping[str, Any]) -> dict[str, Any]:
    result = dict(existing)
    for key, default in defaults.items():
        value = existing.get(key)
        if value is None or (value in ("", {}) and default):
            result[key] = default
        elif key in _MERGED_KEYS and isinstance(value, Mapping):
            result[key] = _merge(value, default)
    return result


def _assign_speaker_ids(settings: DataSettings, rows: Sequence[Row]) -> dict[str, int]:
    """Keep the ids that config.json gives; new speakers get the lowest free ones, in order."""
    result: dict[str, int] = dict(settings.speaker_id_map or {})
    for name, speaker_id in result.items():
        if type(speaker_id) is not int or not 0 <= speaker_id < max(settings.num_speakers, 1):
            raise ConfigError(
                f'{settings.config_path}: "speaker_id_map" gives {name!r} the id {speaker_id!r}, '
                f"but ids from 0 to {settings.num_speakers - 1} are wanted."
            )
    for row in rows:
        if row.speaker is None or row.speaker in result:
            continue
        free = set(range(settings.num_speakers)) - set(result.values())
        if not free:
            raise DatasetError(
                f"{settings.csv_path} line {row.line}: no id is left for the speaker "
                f"{row.speaker!r}; raise num_speakers, or remove speakers from "
                f'"speaker_id_map" in {settings.config_path}.'
            )
        result[row.speaker] = min(free)
    return result


def _create_text_id_map(settings: DataSettings, rows: Sequence[Row]) -> dict[str, list[int]]:
    """Return ids for the code points (NFD) of the texts, for `phoneme_type=text`."""
    symbols = {symbol for row in rows for symbol in unicodedata.normalize("NFD", row.text)}
    ordered = [PAD, BOS, EOS, " ", *sorted(symbols - {PAD, BOS, EOS, " "})]
    if len(ordered) > settings.num_symbols:
        raise DatasetError(
            f"{settings.csv_path} uses {len(ordered)} different characters, but the network has "
            f"{settings.num_symbols} symbols; pass --data.num_symbols={len(ordered)} or clean "
            "the texts."
        )
    return {symbol: [number] for number, symbol in enumerate(ordered)}
