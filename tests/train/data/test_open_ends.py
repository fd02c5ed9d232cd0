"""Utterances without their final stop: the ids are the frontend's, and the choice is stable."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
import torch

from piper.config import PhonemeType, VoiceConfig
from piper.phoneme_ids import DEFAULT_PHONEME_ID_MAP
from piper.text.frontend import create_frontend
from piper.train.data.cache import PreparedUtterance
from piper.train.data.metadata import Row
from piper.train.data.module import VitsDataModule
from piper.train.data.split import has_final_stop, remove_final_stop

LETTERS = {symbol: [place] for place, symbol in enumerate("_^$.…!? данет")}


def create_voice(kind: PhonemeType) -> VoiceConfig:
    id_map = LETTERS if kind is PhonemeType.TEXT else DEFAULT_PHONEME_ID_MAP
    return VoiceConfig(
        num_symbols=256,
        num_speakers=1,
        sample_rate=22050,
        espeak_voice="ru",
        phoneme_id_map=id_map,
        phoneme_type=kind,
        hop_length=256,
    )


def text_to_ids(text: str, voice: VoiceConfig) -> list[int]:
    frontend = create_frontend(voice)
    sentences = frontend.text_to_phonemes(text)
    return [i for sentence in sentences for i in frontend.phonemes_to_ids(sentence)]


def create_row(text: str, ids: list[int] | None = None) -> Row:
    return Row(1, Path("a.wav"), text, None, ids)


@pytest.mark.parametrize("kind", [PhonemeType.ESPEAK, PhonemeType.TEXT])
@pytest.mark.parametrize(
    ("text", "without"), [("да.", "да"), ("нет. да.", "нет. да"), ("да, нет.", "да, нет")]
)
def test_the_ids_are_those_of_the_text_without_its_stop(
    kind: PhonemeType, text: str, without: str
) -> None:
    voice = create_voice(kind)
    if kind is PhonemeType.TEXT:
        text, without = text.replace(",", ""), without.replace(",", "")
    ids = text_to_ids(text, voice)
    assert has_final_stop(create_row(text), voice)
    assert has_final_stop(create_row("", ids), voice)
    assert remove_final_stop(ids, voice) == text_to_ids(without, voice) != ids


@pytest.mark.parametrize("text", ["да?", "да!", "да", "да?..", "да!.."])
def test_other_ends_have_no_variant(text: str) -> None:
    """An open question would be another intonation."""
    for kind in (PhonemeType.ESPEAK, PhonemeType.TEXT):
        assert not has_final_stop(create_row(text), create_voice(kind))
    ids = text_to_ids(text, create_voice(PhonemeType.ESPEAK))
    assert remove_final_stop(ids, create_voice(PhonemeType.ESPEAK)) == ids


def test_an_ellipsis_is_heard_where_letters_are_the_symbols() -> None:
    espeak, letters = create_voice(PhonemeType.ESPEAK), create_voice(PhonemeType.TEXT)
    for text in ("да...", "да…"):
        assert text_to_ids(text, espeak) == text_to_ids("да", espeak)
        assert not has_final_stop(create_row(text), espeak)
        assert has_final_stop(create_row(text), letters)
        assert remove_final_stop(text_to_ids(text, letters), letters) == text_to_ids("да", letters)


def test_stops_behind_quotes_and_of_other_scripts_count() -> None:
    voice = create_voice(PhonemeType.ESPEAK)
    for text, without in (("Он: «Да.»", "Он: «Да»"), ("(Да.)", "(Да)"), ("Да。", "Да")):
        assert has_final_stop(create_row(text), voice)
        assert remove_final_stop(text_to_ids(text, voice), voice) == text_to_ids(without, voice)


def test_a_stop_alone_stays() -> None:
    voice = create_voice(PhonemeType.ESPEAK)
    alone = [1, 0, 10, 0, 2]
    assert remove_final_stop(alone, voice) == alone
    assert not has_final_stop(create_row("", alone), voice)


def test_a_share_is_trained_on_a_second_time(
    dataset: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, logger="piper")
    options = {"dataset_dir": str(dataset), "num_workers": 0}
    plain = VitsDataModule(**options)
    module = VitsDataModule(**options, open_ends=0.5)
    whole, validation = plain.split.training, plain.split.validation
    assert module.split.validation == validation
    assert module.split.training[: len(whole)] == whole
    ending = [u for u in whole if u.row.text.endswith(".")]
    variants = module.split.training[len(whole) :]
    assert len(variants) == round(len(ending) / 2) >= 3
    assert f"{len(variants)} of the {len(ending)} training utterances that end" in caplog.text
    lines = [u.row.line for u in variants]
    assert set(lines) <= {u.row.line for u in ending}
    assert VitsDataModule(**options, open_ends=0.5).split == module.split
    other = VitsDataModule(**options, seed=7, open_ends=0.5).split.training[len(whole) :]
    assert [u.row.line for u in other] != lines
    for place, variant in enumerate(variants, start=len(whole)):
        assert variant.drops_final_stop
        both = module.load_batch([find_place(whole, variant.row.line), place])
        frontend_ids = text_to_ids(variant.row.text.removesuffix("."), module.voice_config())
        lengths = both.id_lengths.tolist()
        assert lengths == [len(frontend_ids) + 2, len(frontend_ids)]
        assert both.ids[1, : lengths[1]].tolist() == frontend_ids
        assert torch.equal(both.audio[0], both.audio[1])


def find_place(utterances: list[PreparedUtterance], line: int) -> int:
    return next(place for place, u in enumerate(utterances) if u.row.line == line)
