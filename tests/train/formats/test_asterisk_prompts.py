"""Fetching telephone prompts, as far as it goes without the network."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from asterisk_prompts import (
    LANGUAGES,
    fetch_asterisk_prompts,
    gather_prompts,
    parse_prompts,
)

from piper.config import PhonemeType
from piper.errors import DatasetError
from piper.text.frontend import create_phonemizer

LINES = (
    "; Core Asterisk Sounds in Russian",
    "",
    "activated: Активировано",
    "beep: [this is a simple beep tone]",
    "confbridge-join: <beep ascending>",
    "is: ",
    "letters/at: at [@]",
    "letters/exclaimation-point: [!] punto: esclamativo",
    "letters/space: Пробел [ ]",
    "silence/1: (1 second of silence)",
    "invalid: Spiacente, [quello] non è (ancora) un interno valido.",
)


def test_texts_without_sounds_and_signs() -> None:
    assert dict(parse_prompts(LINES)) == {
        "activated": "Активировано",
        "letters/at": "at",
        "letters/exclaimation-point": "punto: esclamativo",
        "letters/space": "Пробел",
        "invalid": "Spiacente, quello non è (ancora) un interno valido.",
    }


def test_gathered_prompts_can_be_imported(
    tmp_path: Path, write_audio: Callable[..., Path], import_source
) -> None:
    voice = tmp_path / "ru_RU_f"
    for name in ("activated", "letters/at"):
        # Raw samples of half a second: G.722 has no header, so any bytes are a recording.
        path = voice / f"{name}.g722"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(bytes(range(250)) * 16)
    gather_prompts(voice, parse_prompts(LINES), tmp_path / "source")
    imported = import_source(tmp_path / "source")
    assert imported.names == ["activated.wav", "letters_at.wav"]
    assert imported.texts == ["Активировано", "at"]
    assert imported.rates == [16000, 16000]
    assert imported.reasons == ["missing recording"] * 3


def test_every_language_has_a_voice_of_espeak_ng() -> None:
    for voice in LANGUAGES.values():
        create_phonemizer(PhonemeType.ESPEAK, voice, None)  # checks it


def test_without_apt_and_with_another_language(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(DatasetError, match=r"apt-get.* is not there"):
        fetch_asterisk_prompts(tmp_path / "dataset", "fr")
    assert not (tmp_path / "dataset").exists()
    for name, data in (("import.json", {"is_complete": True}), ("config.json", {})):
        data = data or {"espeak": {"voice": "ru"}}
        (tmp_path / name).write_text(json.dumps(data), encoding="utf-8")
    (tmp_path / "COPYRIGHT").touch()
    assert fetch_asterisk_prompts(tmp_path, "ru") is None
    with pytest.raises(DatasetError, match="has prompts of the voice ru, not it"):
        fetch_asterisk_prompts(tmp_path, "it")
