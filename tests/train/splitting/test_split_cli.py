"""`python -m piper.train split`: sentences that were joined come apart, each with its words."""

from __future__ import annotations

import json
import subprocess
import sys
import types
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import soundfile
from training_examples import Recogniser, read_rows

from piper.files import MAX_FILE_BYTES
from piper.train.command import run_subcommand
from piper.train.data.audio import find_speech
from piper.train.data.metadata import load_metadata
from piper.train.splitting import split as split_module

RATE = 16000


@dataclass(frozen=True)
class LongSpeech:
    """Sentences joined to one recording, and where each one's speech begins and ends."""

    recording: Path
    text: Path
    texts: list[str]
    speech: list[tuple[float, float]]


@pytest.fixture(scope="module")
def joined(spoken_dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> LongSpeech:
    """All sentences, 44.1 kHz and stereo, as a recorder writes them."""
    folder = tmp_path_factory.mktemp("long")
    parts, speech, start = [], [], 0
    for path, _ in read_rows(spoken_dataset):
        samples, _ = soundfile.read(path, dtype="float32")
        begin, end = find_speech(samples, RATE)
        speech.append(((start + begin) / RATE, (start + end) / RATE))
        parts.append(samples)
        start += len(samples)
    whole = np.concatenate(parts)
    soundfile.write(folder / "Глава 1.flac", np.stack([whole, 0.8 * whole], axis=1), RATE)
    texts = [text for _, text in read_rows(spoken_dataset)]
    (folder / "text.txt").write_text("\n".join(texts), encoding="utf-8")
    return LongSpeech(folder / "Глава 1.flac", folder / "text.txt", texts, speech)


def split(joined: LongSpeech, folder: Path, *options: str) -> int:
    command = ["split", str(joined.recording), str(folder), "--text", str(joined.text)]
    return run_subcommand([*command, "--language", "ru", *options]) or 0


def read_words(text: str) -> list[str]:
    words = ("".join(sign for sign in word if sign.isalnum()) for word in text.split())
    return [word for word in words if word]


def check_pieces(joined: LongSpeech, folder: Path) -> None:
    """Every sentence's end is a cut, but where one is too short to stand alone."""
    data = json.loads((folder / "split.json").read_text(encoding="utf-8"))
    pieces = data["pieces"]
    assert Path(data["source"]) == joined.recording
    assert [w for piece in pieces for w in read_words(piece["text"])] == [
        word for text in joined.texts for word in read_words(text)
    ]
    cuts = [(a["end"] + b["start"]) / 2 for a, b in pairwise(pieces)]
    lost = [
        number
        for number, (left, right) in enumerate(zip(joined.speech, joined.speech[1:], strict=False))
        if not any(left[1] - 0.15 <= cut <= right[0] + 0.15 for cut in cuts)
    ]
    short = [n for n, (start, end) in enumerate(joined.speech) if end - start < 1.5]
    assert all(number in short or number + 1 in short for number in lost), lost
    for piece in pieces:
        inside = [
            text
            for text, (start, end) in zip(joined.texts, joined.speech, strict=True)
            if piece["start"] < (start + end) / 2 < piece["end"]
        ]
        assert read_words(piece["text"]) == read_words(" ".join(inside))


def test_joined_sentences_come_apart(
    joined: LongSpeech, aligner_path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert split(joined, tmp_path / "out", "--aligner", str(aligner_path)) == 0
    check_pieces(joined, tmp_path / "out")
    rows = load_metadata(tmp_path / "out" / "metadata.csv", tmp_path / "out" / "wavs")
    data = json.loads((tmp_path / "out" / "split.json").read_text(encoding="utf-8"))
    good = [piece for piece in data["pieces"] if piece["doubt"] is None]
    assert [(row.audio_path.stem, row.text) for row in rows] == [
        (piece["name"], piece["text"]) for piece in good
    ]
    assert len(good) >= 0.9 * len(data["pieces"])
    info = soundfile.info(rows[0].audio_path)
    assert (info.channels, info.samplerate, info.subtype) == (1, RATE, "PCM_16")
    assert abs(info.duration - (good[0]["end"] - good[0]["start"])) < 0.01
    assert rows[0].audio_path.name == "Глава_1-0001.wav"
    config = json.loads((tmp_path / "out" / "config.json").read_text(encoding="utf-8"))
    assert config == {"audio": {"sample_rate": 16000}, "espeak": {"voice": "ru"}}
    assert f"{len(good)} utterances" in capsys.readouterr().out
    assert not (tmp_path / ".out.part").exists()


def test_texts_that_nobody_says_and_speech_that_nobody_wrote(
    joined: LongSpeech, aligner_path: Path, tmp_path: Path
) -> None:
    """Neither may end in the dataset: a wrong text teaches the voice to babble."""
    lines = list(joined.texts)
    del lines[20]
    lines.insert(
        9, "Жираф объявил голодовку, требуя пересмотра зоопарковых правил внутреннего распорядка."
    )
    text = tmp_path / "text.txt"
    text.write_text("\n".join(lines), encoding="utf-8")
    changed = LongSpeech(joined.recording, text, joined.texts, joined.speech)
    assert split(changed, tmp_path / "out", "--aligner", str(aligner_path)) == 0
    pieces = json.loads((tmp_path / "out" / "split.json").read_text(encoding="utf-8"))["pieces"]
    unsaid = [piece for piece in pieces if "голодовку" in piece["text"] or "Жираф" in piece["text"]]
    assert unsaid
    assert all("not heard" in (piece["doubt"] or "") for piece in unsaid)
    start, end = joined.speech[20]
    over = [
        min(piece["end"], end) - max(piece["start"], start)
        for piece in pieces
        if piece["doubt"] is None
    ]
    assert max(over) < 0.3


def test_a_recogniser_takes_the_aligner_s_place(
    joined: LongSpeech,
    aligner_path: Path,
    spoken_dataset: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    texts = [text for _, text in read_rows(spoken_dataset)][:10]
    runs = [" ".join(texts[a:b]) for a in range(len(texts)) for b in range(a + 1, a + 4)]
    module = types.ModuleType("run_recogniser")
    vars(module)["recognise"] = Recogniser(aligner_path, runs).recognise
    monkeypatch.setitem(sys.modules, "run_recogniser", module)
    samples, _ = soundfile.read(joined.recording, dtype="float32")
    end = round((joined.speech[9][1] + 0.3) * RATE)
    soundfile.write(tmp_path / "short.wav", samples[:end, 0], RATE)
    (tmp_path / "short.txt").write_text(" ".join(joined.texts[:10]), encoding="utf-8")
    part = LongSpeech(
        tmp_path / "short.wav", tmp_path / "short.txt", joined.texts[:10], joined.speech[:10]
    )
    assert split(part, tmp_path / "out", "--recogniser", "run_recogniser:recognise") == 0
    pieces = json.loads((tmp_path / "out" / "split.json").read_text(encoding="utf-8"))["pieces"]
    kept = [piece for piece in pieces if piece["doubt"] is None]
    assert len(kept) >= 0.6 * len(pieces)
    for piece in kept:
        inside = [
            text
            for text, (start, stop) in zip(part.texts, part.speech, strict=True)
            if piece["start"] < (start + stop) / 2 < piece["end"]
        ]
        assert read_words(piece["text"]) == read_words(" ".join(inside))


@pytest.mark.long
def test_it_learns_on_the_recording_itself(
    joined: LongSpeech, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Without its silences the synthetic speech has 1.4 minutes.
    monkeypatch.setattr(split_module, "MIN_MINUTES", 1.0)
    assert split(joined, tmp_path / "out") == 0
    check_pieces(joined, tmp_path / "out")
    assert (tmp_path / "out" / "aligner.pt").is_file()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("no recording", "does not exist; name a recording"),
        ("no text", "does not exist; name the text with --text"),
        ("encoding", "is not UTF-8"),
        ("endless", "is larger than 256 MiB; is it really a text file?"),
        ("empty", "holds no words"),
        ("folder", "is there already"),
        ("noise", "cannot be decoded"),
        ("short", "too little to learn"),
        ("language", 'no voice "xx"'),
    ],
)
def test_mistakes_are_sentences(
    joined: LongSpeech,
    tmp_path: Path,
    change: str,
    message: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    recording, text, folder, language = joined.recording, tmp_path / "t.txt", tmp_path / "out", "ru"
    text.write_text("Привет, это тест.", encoding="utf-8")
    if change == "no recording":
        recording = tmp_path / "gone.wav"
    elif change == "no text":
        text.unlink()
    elif change == "encoding":
        text.write_bytes("Привет".encode("cp1251"))
    elif change == "endless":
        with text.open("r+b") as file:
            file.truncate(MAX_FILE_BYTES + 1)
    elif change == "empty":
        text.write_text("…", encoding="utf-8")
    elif change == "folder":
        folder.mkdir()
        (folder / "metadata.csv").write_text("", encoding="utf-8")
    elif change == "noise":
        recording = tmp_path / "noise.wav"
        recording.write_bytes(b"no recording" * 100)
    elif change == "language":
        language = "xx"
    else:
        samples, _ = soundfile.read(joined.recording)
        recording = tmp_path / "short.wav"
        soundfile.write(recording, samples[: 5 * RATE], RATE)
    command = ["split", str(recording), str(folder), "--text", str(text), "--language", language]
    assert run_subcommand(command) == 1
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith("error: ")
    assert message in error


def test_ctrl_c_while_it_learns_keeps_what_was_learnt(
    joined: LongSpeech, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The state of each pass lies in the hidden folder that becomes the dataset."""
    states: list[Path] = []

    def stop(_examples: object, state_path: Path) -> None:
        state_path.write_bytes(b"of a pass")
        states.append(state_path)
        raise KeyboardInterrupt

    monkeypatch.setattr(split_module, "fit_aligner", stop)
    monkeypatch.setattr(split_module, "MIN_MINUTES", 1.0)
    assert split(joined, tmp_path / "out") == 130
    assert states[0].is_file()
    assert not (tmp_path / "out").exists()


def test_nothing_heavy_is_loaded_for_help() -> None:
    code = (
        "import sys; from piper.train.command import run_subcommand\n"
        "try:\n run_subcommand(['split', '--help'])\nexcept SystemExit: pass\n"
        "assert 'torch' not in sys.modules and 'soundfile' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
