"""Preparation: what the cache holds, what is reused, what is refused, what survives a kill."""

from __future__ import annotations

import json
import logging
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
from prepared import flip_byte, load, stamps

from piper.config import Phonemizer, load_voice_config
from piper.errors import ConfigError, DatasetError, PhonemizeError
from piper.text.frontend import create_frontend
from piper.train.check.run import check_dataset
from piper.train.data.cache import read_index
from piper.train.data.metadata import load_metadata
from piper.train.data.prepare import load_prepared_dataset, prepare_dataset
from piper.train.data.settings import DataSettings, resolve_settings

CopyDataset = Callable[[Path], Path]


@pytest.fixture
def dataset(speech_dataset: Path, copy_dataset: CopyDataset) -> Path:
    return copy_dataset(speech_dataset)


@pytest.fixture
def settings(dataset: Path) -> DataSettings:
    return resolve_settings(dataset_dir=dataset)


def replace_line(dataset: Path, line: int, text: str) -> None:
    path = dataset / "metadata.csv"
    lines = path.read_text(encoding="utf-8").splitlines()
    lines[line - 1] = text
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def prepare_error(settings: DataSettings) -> str:
    with pytest.raises(DatasetError) as caught:
        prepare_dataset(settings)
    return str(caught.value).replace(str(settings.csv_path), "CSV")


def test_what_is_prepared(settings: DataSettings) -> None:
    prepared = prepare_dataset(settings)
    assert [u.row.line for u in prepared.utterances] == list(range(1, 17))
    utterance = prepared.utterances[0]
    cached = load(utterance)
    sentences = create_frontend(prepared.voice).text_to_sentences("Привет, это тест.")
    assert cached.ids.tolist() == sentences[0].ids
    assert len(cached.ids) == utterance.num_ids
    assert len(cached.samples) == utterance.num_samples
    # A second of silence in the recording, half a second of it kept.
    duration = soundfile.info(utterance.row.audio_path).duration
    assert 0.35 < duration - utterance.num_samples / 22050 < 1.0


def test_several_sentences_are_complete_sequences(dataset: Path, settings: DataSettings) -> None:
    replace_line(dataset, 1, "utterance001.wav|Привет. Это тест.")
    prepared = prepare_dataset(settings)
    ids = load(prepared.utterances[0]).ids.tolist()
    first, second = create_frontend(prepared.voice).text_to_sentences("Привет. Это тест.")
    assert ids == first.ids + second.ids
    assert (ids.count(1), ids.count(2)) == (2, 2)


def test_texts_are_prepared_as_in_speaking(dataset: Path) -> None:
    """Numbers and stress signs become the phonemes that the finished voice will be asked for."""
    text = "З+амок стоит 25 руб."
    replace_line(dataset, 3, f"utterance003|{text}")
    ids = {}
    for flags in ({}, {"write_numbers": True}, {"stress": "off"}):
        settings = resolve_settings(dataset_dir=dataset, **flags)
        config_path = settings.config_path
        before = config_path.read_bytes() if config_path.is_file() else None
        prepared = prepare_dataset(settings)
        [found] = [u for u in prepared.utterances if u.row.line == 3]
        ids[str(flags)] = load(found).ids.tolist()
        spoken = text.replace("+", "") if "stress" in flags else text
        [sentence] = create_frontend(load_voice_config(config_path)).text_to_sentences(spoken)
        assert ids[str(flags)] == sentence.ids
        options = json.loads(config_path.read_text(encoding="utf-8"))["text_options"]
        assert options == settings.text_options.to_dict()
        config_path.unlink()
        if before is not None:
            config_path.write_bytes(before)
    assert len({tuple(found) for found in ids.values()}) == 3


def test_second_run_makes_nothing(
    settings: DataSettings, capsys: pytest.CaptureFixture[str]
) -> None:
    first = prepare_dataset(settings)
    assert "16 recordings in" in capsys.readouterr().err
    times = stamps(settings.cache_dir)
    second = prepare_dataset(settings)
    assert second.utterances == first.utterances
    assert second.voice == first.voice
    assert stamps(settings.cache_dir) == times
    assert capsys.readouterr().err == ""
    assert load_prepared_dataset(settings) == second


def test_only_what_changed_is_made_anew(
    dataset: Path, settings: DataSettings, capsys: pytest.CaptureFixture[str]
) -> None:
    prepare_dataset(settings)
    times = stamps(settings.cache_dir)
    replace_line(dataset, 2, "utterance002.wav|Сегодня выпал снег.")
    os.utime(dataset / "wavs/utterance007.wav")
    capsys.readouterr()
    after = prepare_dataset(settings)
    assert "Preparing: 2 recordings in" in capsys.readouterr().err
    assert stamps(settings.cache_dir).items() > times.items()
    assert len(stamps(settings.cache_dir)) == len(times) + 2
    assert after.utterances[1].row.text == "Сегодня выпал снег."


def test_changed_audio_gives_changed_samples(dataset: Path, settings: DataSettings) -> None:
    before = prepare_dataset(settings).utterances[0]
    path = before.row.audio_path
    samples, sample_rate = soundfile.read(path, dtype="float32")
    soundfile.write(path, samples * 0.5, sample_rate)
    after = prepare_dataset(settings).utterances[0]
    old, new = load(before).samples, load(after).samples
    np.testing.assert_allclose(new, old * 0.5, atol=1e-4)


def test_one_damaged_entry_is_made_anew(settings: DataSettings) -> None:
    prepared = prepare_dataset(settings).utterances
    before, expected = stamps(settings.cache_dir), load(prepared[3])
    flip_byte(prepared[3].entry, offset=1000)
    again = prepare_dataset(settings, is_verified=True).utterances
    [(key, _)] = stamps(settings.cache_dir).items() - before.items()
    assert key == prepared[3].key
    np.testing.assert_array_equal(load(again[3]).samples, expected.samples)


def test_several_processes_give_the_same(settings: DataSettings, tmp_path: Path) -> None:
    alone = prepare_dataset(settings, num_processes=1)
    other = replace(settings, cache_dir=tmp_path / "other")
    together = prepare_dataset(other, num_processes=2)
    assert together == alone
    for one, two in zip(alone.utterances, together.utterances, strict=True):
        assert load(one).ids.tolist() == load(two).ids.tolist()
        np.testing.assert_array_equal(load(one).samples, load(two).samples)
    # A process has two files; beside them lie the lock.
    assert len(list(other.cache_dir.iterdir())) <= 5


def test_bad_recordings_are_collected(dataset: Path, settings: DataSettings) -> None:
    wavs = dataset / "wavs"
    (wavs / "utterance002.wav").write_bytes(b"no audio" * 100)
    (wavs / "utterance003.wav").write_bytes(b"")
    soundfile.write(wavs / "utterance005.wav", np.zeros(22050), 22050)
    replace_line(dataset, 6, "utterance006.wav|…")
    message = prepare_error(settings)
    assert message.startswith("CSV: 4 of 16 lines cannot be used; correct or remove them: line 2: ")
    assert "utterance002.wav cannot be decoded" in message
    assert f"line 3: {wavs / 'utterance003.wav'} is empty (0 bytes)" in message
    assert f"line 5: {wavs / 'utterance005.wav'} holds only silence" in message
    assert "line 6: the text '…' gives no phonemes" in message


def test_one_bad_recording_is_left_out(
    dataset: Path, settings: DataSettings, caplog: pytest.LogCaptureFixture
) -> None:
    """One file of thousands once ended the work of hours."""
    path = dataset / "wavs/utterance002.wav"
    path.write_bytes(b"")
    with caplog.at_level(logging.WARNING):
        prepared = prepare_dataset(settings)
    assert caplog.messages == [
        f"{settings.csv_path}: of 16 lines 1 cannot be used and is left out: line 2: {path} "
        "is empty (0 bytes); replace the recording."
    ]
    assert [u.row.line for u in prepared.utterances] == [1, *range(3, 17)]
    assert load_prepared_dataset(settings) == prepared


@pytest.mark.parametrize("ending", [".wav", ".flac"])
def test_ten_hours_in_two_megabytes_are_one_line(
    dataset: Path, settings: DataSettings, caplog: pytest.LogCaptureFixture, ending: str
) -> None:
    """Decoded, it would take six gigabytes; the check says so of that line, too."""
    path = dataset / f"wavs/utterance002{ending}"
    with soundfile.SoundFile(dataset / "long", "w", 8000, 1, "PCM_16", format="FLAC") as file:
        for _ in range(60):
            file.write(np.zeros(60 * 8000, dtype=np.int16))
    (dataset / "wavs/utterance002.wav").unlink()
    (dataset / "long").rename(path)
    replace_line(dataset, 2, f"{path.name}|Раз.")
    with caplog.at_level(logging.WARNING):
        assert len(prepare_dataset(settings).utterances) == 15
    said = f"line 2: {path} has 1.0 hours, and an utterance at most 10 minutes; cut it into"
    assert said in caplog.text
    report = check_dataset(settings, is_quick=True)
    [issue] = [one for one in report.issues if one.rule.name == "unreadable"]
    assert issue.line == 2
    assert "has 1.0 hours" in issue.message


def test_text_longer_than_its_recording(dataset: Path, settings: DataSettings) -> None:
    replace_line(dataset, 4, f"utterance004.wav|{'Очень длинный текст ' * 40}.")
    message = prepare_error(settings)
    assert message.startswith("CSV: 1 recordings are too short for their texts")
    assert "line 4: " in message


def test_unknown_espeak_voice(dataset: Path) -> None:
    (dataset / "config.json").unlink()
    settings = resolve_settings(dataset_dir=dataset, espeak_voice="xx-none")
    with pytest.raises(PhonemizeError, match="xx-none"):
        prepare_dataset(settings)


def test_config_is_completed_not_overwritten(dataset: Path) -> None:
    path = dataset / "config.json"
    mine = {
        "audio": {"sample_rate": 22050, "room": "studio"},
        "espeak": {"voice": "ru"},
        "language": {"code": "ru_RU", "name_native": "Русский"},
        "inference": {"noise_scale": 0.3},
        "comment": "mine",
    }
    elsewhere = dataset.with_name("elsewhere.json")
    elsewhere.write_text(json.dumps(mine), encoding="utf-8")
    path.unlink(missing_ok=True)
    path.symlink_to(elsewhere)
    voice = prepare_dataset(resolve_settings(dataset_dir=dataset)).voice
    assert json.loads(elsewhere.read_text(encoding="utf-8")) == mine  # a link of a stranger's
    written = json.loads(path.read_text(encoding="utf-8"))
    assert written["audio"] == {"sample_rate": 22050, "room": "studio", "quality": ""}
    assert written["language"] == mine["language"]
    assert written["inference"] == {"noise_scale": 0.3, "length_scale": 1.0, "noise_w": 0.8}
    assert written["comment"] == "mine"
    assert written["num_symbols"] == 256
    assert written["phonemizer"]["name"] == "espeak-ng"
    assert load_voice_config(path) == replace(voice)
    stamp = path.stat().st_mtime_ns
    assert prepare_dataset(resolve_settings(dataset_dir=dataset)).voice == voice
    assert path.stat().st_mtime_ns == stamp


@pytest.mark.parametrize(("sample_rate", "is_warned"), [(44100, True), (16000, False)])
def test_upsampling_is_warned_about_once(
    dataset: Path, caplog: pytest.LogCaptureFixture, sample_rate: int, is_warned: bool
) -> None:
    (dataset / "config.json").unlink()
    settings = resolve_settings(dataset_dir=dataset, espeak_voice="ru", sample_rate=sample_rate)
    with caplog.at_level(logging.WARNING):
        assert prepare_dataset(settings).voice.sample_rate == sample_rate
    said = "16 of 16 recordings (16 of 22050 Hz) are resampled up to 44100 Hz"
    assert [said in message for message in caplog.messages] == [True] * is_warned


def test_missing_phonemes_are_counted_once(dataset: Path, caplog: pytest.LogCaptureFixture) -> None:
    config = json.loads((dataset / "config.json").read_text())
    id_map = prepare_dataset(resolve_settings(dataset_dir=dataset)).voice.phoneme_id_map
    id_map = {symbol: ids for symbol, ids in id_map.items() if symbol != "p"}
    (dataset / "config.json").write_text(json.dumps({**config, "phoneme_id_map": id_map}))
    settings = resolve_settings(dataset_dir=dataset)
    for _ in range(2):
        caplog.clear()
        with caplog.at_level(logging.WARNING):
            prepare_dataset(settings)
        assert len(caplog.records) == 1
        assert "'p' (U+0070) " in caplog.text
        assert " times" in caplog.text


def test_text_phonemes(dataset: Path) -> None:
    settings = resolve_settings(dataset_dir=dataset, phoneme_type="text")
    prepared = prepare_dataset(settings)
    id_map = prepared.voice.phoneme_id_map
    assert [id_map[symbol] for symbol in "_^$ "] == [[0], [1], [2], [3]]
    assert "П" in id_map
    assert "й" not in id_map  # NFD: и and a breve
    assert not any(u.missing for u in prepared.utterances)
    # Resolved again from the completed config.json, another process gets the same ids.
    assert prepare_dataset(resolve_settings(dataset_dir=dataset)) == prepared


def test_phoneme_ids_dataset(dataset: Path) -> None:
    path = dataset / "metadata.csv"
    path.write_text("utterance001|Привет.|1 0 14 0 2\n", encoding="utf-8")
    settings = resolve_settings(dataset_dir=dataset, dataset_type="phoneme_ids")
    cached = load(prepare_dataset(settings).utterances[0])
    assert cached.ids.tolist() == [1, 0, 14, 0, 2]
    path.write_text("utterance001|Привет.|1 0 999 0 2\n", encoding="utf-8")
    assert "line 1: the phoneme id 999" in prepare_error(settings)


def test_ids_that_were_made_elsewhere_need_no_espeak(
    dataset: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A rented machine without espeak-ng could not train on them; and who made them stays true."""
    prepared = prepare_dataset(resolve_settings(dataset_dir=dataset))
    config = json.loads((dataset / "config.json").read_text(encoding="utf-8"))
    config["phonemizer"] = {"name": "espeak-ng", "version": "1.0"}
    (dataset / "config.json").write_text(json.dumps(config), encoding="utf-8")
    name = prepared.utterances[0].row.audio_path.stem
    (dataset / "metadata.csv").write_text(f"{name}|Привет.|1 0 14 0 2\n", encoding="utf-8")
    monkeypatch.setenv("PIPER_ESPEAK_LIBRARY", str(dataset / "nothing.so"))
    settings = resolve_settings(dataset_dir=dataset, dataset_type="phoneme_ids")
    prepared = prepare_dataset(settings)
    assert load(prepared.utterances[0]).ids.tolist() == [1, 0, 14, 0, 2]
    assert prepared.voice.phonemizer == Phonemizer("espeak-ng", "1.0")


def test_speakers(two_speaker_dataset: Path, copy_dataset: CopyDataset) -> None:
    dataset = copy_dataset(two_speaker_dataset)
    prepared = prepare_dataset(resolve_settings(dataset_dir=dataset))
    assert prepared.voice.speaker_id_map == {"speaker1": 0, "speaker2": 1}
    assert [u.speaker_id for u in prepared.utterances] == [0, 1] * 4
    assert prepare_dataset(resolve_settings(dataset_dir=dataset)) == prepared


def test_speaker_ids_of_the_config_stay(
    two_speaker_dataset: Path, copy_dataset: CopyDataset
) -> None:
    dataset = copy_dataset(two_speaker_dataset)
    path = dataset / "config.json"
    config = json.loads(path.read_text())
    path.write_text(json.dumps({**config, "speaker_id_map": {"speaker2": 0}}))
    prepared = prepare_dataset(resolve_settings(dataset_dir=dataset))
    assert prepared.voice.speaker_id_map == {"speaker2": 0, "speaker1": 1}
    assert [u.speaker_id for u in prepared.utterances] == [1, 0] * 4
    path.write_text(json.dumps({**config, "speaker_id_map": {"speaker2": 5}}))
    with pytest.raises(ConfigError, match="gives 'speaker2' the id 5"):
        prepare_dataset(resolve_settings(dataset_dir=dataset))
    path.write_text(json.dumps({**config, "speaker_id_map": {"other": 0}}))
    with pytest.raises(DatasetError, match="line 2: no id is left for the speaker 'speaker2'"):
        prepare_dataset(resolve_settings(dataset_dir=dataset))


def test_rows_may_be_given(settings: DataSettings) -> None:
    rows = load_metadata(settings.csv_path, settings.audio_dir)[:3]
    assert len(prepare_dataset(settings, rows).utterances) == 3


PROGRAM = """
from piper.train.data.prepare import prepare_dataset
from piper.train.data.settings import resolve_settings
import sys
if __name__ == "__main__":
    prepare_dataset(resolve_settings(dataset_dir=sys.argv[1]), num_processes=2)
"""


@pytest.fixture
def program(tmp_path: Path) -> Path:
    """Prepares a dataset by two processes."""
    path = tmp_path / "program.py"
    path.write_text(PROGRAM, encoding="utf-8")
    return path


def test_killed_preparation_goes_on(dataset: Path, program: Path) -> None:
    """What a SIGKILL leaves is good, no worker stays, and the next run goes on."""
    cache = dataset / ".cache"
    process = subprocess.Popen([sys.executable, program, dataset], start_new_session=True)
    deadline = time.monotonic() + 120
    while not stamps(cache) and time.monotonic() < deadline:
        time.sleep(0.001)
    process.send_signal(signal.SIGKILL)
    process.wait()
    while _has_processes(process.pid) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not _has_processes(process.pid)
    before = stamps(cache)
    assert before
    prepared = prepare_dataset(resolve_settings(dataset_dir=dataset)).utterances
    assert len(prepared) == 16
    assert stamps(cache).items() >= before.items()
    assert len(stamps(cache)) == 16
    for utterance in prepared:
        assert len(load(utterance).samples) == utterance.num_samples


def _has_processes(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


def test_two_runs_at_once_share_the_work(dataset: Path, program: Path) -> None:
    command = [sys.executable, program, dataset]
    runs = [subprocess.Popen(command, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    said = "".join(run.communicate(timeout=120)[1] for run in runs)
    assert [run.returncode for run in runs] == [0, 0]
    made = [int(count) for count in re.findall(r"Preparing: (\d+) recordings? in", said)]
    assert sum(made) == 16, said
    entries = [entry for path in (dataset / ".cache").glob("*.pack") for entry in read_index(path)]
    assert len(entries) == 16


def test_a_full_disk_is_one_sentence_and_spoils_nothing(dataset: Path, program: Path) -> None:
    """A limit on the size of files is answered as a full disk is."""
    cache = dataset / ".cache"
    code = (
        "import resource, runpy, sys; from piper.errors import PiperError\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, 300_000))\n"
        "from piper.train.data.prepare import prepare_dataset\n"
        "from piper.train.data.settings import resolve_settings\n"
        f"prepare_dataset(resolve_settings(dataset_dir={str(dataset)!r}), num_processes=1)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (
        f"DatasetError: The cache folder {cache} cannot be written (File too large)" in done.stderr
    )
    before = stamps(cache)
    assert 0 < len(before) < 16
    for utterance in prepare_dataset(resolve_settings(dataset_dir=dataset)).utterances:
        assert len(load(utterance).samples) == utterance.num_samples
    assert stamps(cache).items() >= before.items()
