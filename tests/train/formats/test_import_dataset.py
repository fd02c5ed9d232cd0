"""The import itself: recordings of any kind, hostile names, mistakes, and runs that stopped."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import av
import numpy as np
import pytest
import soundfile

from piper.errors import DatasetError
from piper.files import UniqueNames
from piper.train.formats.cli import main
from piper.train.formats.convert import mend_name, mend_text

Write = Callable[..., Path]


def list_tree(folder: Path) -> dict[str, tuple[bytes, int]]:
    return {
        str(path.relative_to(folder)): (path.read_bytes(), path.stat().st_mtime_ns)
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def write_rows(source: Path, *rows: dict) -> Path:
    source.mkdir(parents=True, exist_ok=True)
    text = "".join(json.dumps(row) + "\n" for row in rows)
    (source / "rows.jsonl").write_text(text, encoding="utf-8")
    return source


STOPPED_CLIPS = 3840


def list_clips(source: Path, write_audio: Write, count: int) -> Path:
    """Write a source of `count` FLAC files."""
    rows = []
    for number in range(count):
        write_audio(source / f"{number}.flac", number)
        rows.append({"audio_path": f"{number}.flac", "text": f"Текст {number}."})
    return write_rows(source, *rows)


RECORDINGS = {
    "flac_24.flac": {"subtype": "PCM_24", "rate": 48000},
    "stereo.wav": {"channels": 2},
    "float.wav": {"subtype": "FLOAT", "rate": 44100},
    "pcm_32.wav": {"subtype": "PCM_32", "rate": 96000},
    "pcm_24.wav": {"subtype": "PCM_24", "rate": 8000},
    "pcm_u8.wav": {"subtype": "PCM_U8"},
    "exact.flac": {},
    "mp3.mp3": {"format": "MP3", "rate": 24000},
    "vorbis.ogg": {"format": "OGG", "subtype": "VORBIS"},
    "opus.opus": {"format": "OGG", "subtype": "OPUS", "rate": 48000},
    "extensible.wav": {"format": "WAVEX"},
    "aiff.aiff": {"rate": 16000},
}


def test_every_kind_of_recording(tmp_path: Path, write_audio: Write, import_source) -> None:
    source = tmp_path / "source"
    for name, options in RECORDINGS.items():
        write_audio(source / name, **options)
    write_rows(source, *({"audio_path": name, "text": "Текст."} for name in RECORDINGS))
    before = list_tree(source)
    imported = import_source(source)
    assert list_tree(source) == before
    assert imported.reasons == []
    expected, _ = soundfile.read(source / "exact.flac", dtype="int16")
    for row, (name, options) in zip(imported.rows, RECORDINGS.items(), strict=True):
        samples, rate = soundfile.read(row.audio_path, dtype="int16")
        assert rate == options.get("rate", 22050), name
        assert len(samples) / rate == pytest.approx(0.6, abs=0.06), name  # MP3 pads
        if name in ("exact.flac", "extensible.wav"):
            np.testing.assert_array_equal(samples, expected)
        if name == "stereo.wav":  # the other channel has half the level
            np.testing.assert_allclose(samples, expected * 0.75, atol=1)


def encode_with_av(path: Path, samples: np.ndarray, rate: int, codec: str, kind: str) -> None:
    with av.open(path, "w", format=kind) as container:
        stream = container.add_stream(codec, rate=rate, layout="mono")
        frame = av.AudioFrame.from_ndarray(samples[None], format="s16", layout="mono")
        frame.sample_rate = rate
        converter = av.AudioResampler(stream.format, "mono", rate, stream.frame_size or None)
        for piece in [*converter.resample(frame), *converter.resample(None)]:
            container.mux(stream.encode(piece))
        container.mux(stream.encode(None))


def test_what_libsndfile_does_not_read(
    tmp_path: Path, recordings: Sequence[Path], import_source
) -> None:
    import soxr

    source = tmp_path / "source"
    source.mkdir()
    speech, rate = soundfile.read(recordings[1], dtype="float32")
    wide = soxr.resample(speech, rate, 16000)
    samples = np.rint(wide * 32767).astype(np.int16)
    encode_with_av(source / "prompt.g722", samples, 16000, "g722", "g722")
    encode_with_av(source / "phone.m4a", samples, 16000, "aac", "ipod")
    rows = ({"audio_path": name, "text": "Да."} for name in ("prompt.g722", "phone.m4a"))
    imported = import_source(write_rows(source, *rows))
    assert imported.rates == [16000, 16000]
    decoded, _ = soundfile.read(imported.rows[0].audio_path, dtype="float32")
    assert len(decoded) == pytest.approx(len(wide), abs=2)
    # G.722 delays by 22 samples, and keeps speech to about 20 dB.
    delayed, original = decoded[22:], wide[: len(decoded) - 22]
    error = np.sqrt(np.mean((delayed - original) ** 2) / np.mean(original**2))
    assert error < 0.25


def test_peaks_above_full_scale_are_not_clipped(tmp_path: Path, import_source) -> None:
    source = tmp_path / "source"
    source.mkdir()
    wave = 2 * np.sin(np.arange(8000) / 5).astype(np.float32)
    soundfile.write(source / "loud.wav", wave, 16000, subtype="FLOAT")
    imported = import_source(write_rows(source, {"audio_path": "loud.wav", "text": "А."}))
    samples, _ = soundfile.read(imported.rows[0].audio_path, dtype="float32")
    np.testing.assert_allclose(samples, wave / np.abs(wave).max(), atol=1e-4)
    (change,) = imported.journal["changes"]
    assert change["audio"].startswith("made 6.0 dB quieter")


def test_what_cannot_be_imported_is_listed(
    tmp_path: Path, write_audio: Write, import_source, capsys: pytest.CaptureFixture[str]
) -> None:
    source = tmp_path / "source"
    write_audio(source / "good.wav")
    (source / "empty.wav").write_bytes(b"")
    (source / "noise.mp3").write_bytes(b"no sound at all" * 99)
    (source / "noise.g722").write_bytes(b"")
    (source / "noise.m4a").write_bytes(b"no sound at all" * 99)
    soundfile.write(source / "nan.wav", np.full(4000, np.nan, np.float32), 16000, subtype="FLOAT")
    soundfile.write(source / "none.wav", np.zeros(0, np.float32), 16000)
    soundfile.write(source / "slow.wav", np.zeros(4000, np.float32), 4000)
    names = ["empty.wav", "noise.mp3", "noise.g722", "noise.m4a", "nan.wav", "none.wav", "slow.wav"]
    rows = [{"audio_path": name, "text": "Текст."} for name in ["good.wav", *names, "gone.wav"]]
    rows += [{"audio_path": "good.wav", "text": "Ещё раз."}, {"audio_path": "x", "text": "|\n"}]
    write_audio(source / "x.wav")
    folder = tmp_path / "dataset"
    assert main([str(write_rows(source, *rows)), str(folder), "--language", "ru"]) == 0
    said = capsys.readouterr().out
    assert "1 recording (0.0 min, 1 speaker; 1 at 22050 Hz) of jsonl are in" in said
    assert "Read as: audio=audio_path, text=text.\n" in said
    assert said.endswith(f"Next: python -m piper.train check {folder}\n")
    assert (
        "10 left out: 7 undecodable, 1 missing recording, 1 recording listed twice, 1 empty text"
    ) in said
    journal = json.loads((folder / "import.json").read_text(encoding="utf-8"))
    details = {one["name"]: one["detail"] for one in journal["left_out"]}
    assert "NaN" in details["nan"]
    assert details["slow"] == "4000 Hz, below 8000"
    assert list((folder / "wavs").iterdir()) == [folder / "wavs/good.wav"]


HOSTILE = ["../x", "/etc/passwd", "a/../../x", "..\\x", "link", "zero\0byte", "n" * 5000, ""]


def test_no_recording_outside_the_source_is_touched(
    tmp_path: Path, write_audio: Write, import_source
) -> None:
    source = tmp_path / "source"
    outside = write_audio(tmp_path / "x.wav")
    write_audio(source / "good.wav")
    (source / "a").mkdir()
    (source / "link.wav").symlink_to(outside)
    (source / "loop.wav").symlink_to(source / "loop.wav")
    names = [*HOSTILE, "loop.wav", str(outside)]
    rows = [{"audio_path": name, "text": "Текст."} for name in names]
    imported = import_source(
        write_rows(source, {"audio_path": "good", "text": "Да."}, *rows), tmp_path / "d"
    )
    assert imported.names == ["good.wav"]
    outside_names = ["../x", "/etc/passwd", "a/../../x", "link", str(outside)]
    assert imported.reasons.count("recording outside the source") == len(outside_names)
    assert imported.reasons.count("missing recording") == len(names) - len(outside_names)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["d", "source", "x.wav"]


def test_names_are_unique_and_safe(tmp_path: Path, write_audio: Write, import_source) -> None:
    source = tmp_path / "source"
    files = ["a/один.wav", "b/один.wav", "b/Один.wav", "c/con.wav", "c/.h — 1.wav", "c/x|y.wav"]
    for index, name in enumerate(files):
        write_audio(source / name, index)
    rows = [{"audio_path": name, "text": "Текст.", "speaker": "../я|ты"} for name in files]
    rows[-1]["speaker"] = "b"
    imported = import_source(write_rows(source, *rows))
    names = ["я_ты_один", "я_ты_один-2", "я_ты_Один-3", "я_ты_con", "я_ты_.h_1", "b_x_y"]
    assert imported.names == [f"{name}.wav" for name in names]
    assert imported.speakers == ["../я ты"] * 5 + ["b"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["dataset", "source"]


def test_mending_of_names_and_texts() -> None:
    assert mend_name("con.x") == "_con.x"
    assert mend_name("../..") == "recording"
    assert mend_name("и\u0306") == "й"
    assert len(mend_name("я" * 500).encode()) <= 120
    names = UniqueNames()
    assert [names.take(name) for name in ("a", "A", "a-2", "a")] == ["a", "A-2", "a-2-2", "a-3"]
    # On a disk that takes the two for one, a copy's second recording went over its first.
    assert [names.take(name, ".wav") for name in ("b", "B")] == ["b.wav", "B-2.wav"]
    assert (
        mend_text("\ufeff один|два\r\nтри\u2028четыре\x00пять \ud800") == "один два три четыре пять"
    )


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_a_stopped_run_goes_on(
    tmp_path: Path, write_audio: Write, import_source, number: signal.Signals
) -> None:
    source = list_clips(tmp_path / "source", write_audio, 16)
    rows = (source / "rows.jsonl").read_text(encoding="utf-8").splitlines()
    # So many that a machine which lets this process wait for a second has not made them all.
    for copy in range(1, STOPPED_CLIPS // 16):
        for clip in range(16):
            (source / f"{copy}_{clip}.flac").hardlink_to(source / f"{clip}.flac")
            rows.append(json.dumps({"audio_path": f"{copy}_{clip}.flac", "text": "Да."}))
    (source / "rows.jsonl").write_text("\n".join(rows), encoding="utf-8")
    folder = tmp_path / "dataset"
    command = [sys.executable, "-m", "piper.train.formats.cli", str(source), str(folder)]
    process = subprocess.Popen([*command, "--language", "ru"], stderr=subprocess.PIPE, text=True)
    end = time.monotonic() + 120
    while len(list(folder.glob("wavs/*.wav"))) < 20:
        assert process.poll() is None
        assert time.monotonic() < end
        time.sleep(0.002)
    process.send_signal(number)
    said = process.communicate()[1]  # ends with the last of its workers
    if number == signal.SIGINT:
        assert process.returncode == 130
        assert said.endswith("Stopped; run the same command again to go on with what is missing.\n")
        assert "Traceback" not in said
    made = list_tree(folder / "wavs")
    whole = {name for name in made if not name.startswith(".")}
    assert len(whole) < STOPPED_CLIPS
    assert not (folder / "metadata.csv").exists()
    (folder / "wavs/.left.1.2.part").write_bytes(b"half")

    imported = import_source(source, folder)
    assert len(imported.rows) == STOPPED_CLIPS
    assert imported.report.num_reused == len(whole)
    after = list_tree(folder / "wavs")
    assert all(after[name] == made[name] for name in whole), "made anew"
    assert not list((folder / "wavs").glob(".*"))


def test_only_what_changed_is_made_again(tmp_path: Path, write_audio: Write, import_source) -> None:
    source = tmp_path / "source"
    first = import_source(list_clips(source, write_audio, 4))
    before = list_tree(first.folder / "wavs")
    write_audio(source / "2.flac", 9)
    assert import_source(source).report.num_reused == 3
    after = list_tree(first.folder / "wavs")
    assert [name for name in before if after[name] != before[name]] == ["2.wav"]


def test_another_recording_of_the_same_name_is_not_taken_for_it(
    tmp_path: Path, write_audio: Write, import_source
) -> None:
    """Two recordings change places; names, sizes and times of the files stay."""
    source = tmp_path / "source"
    for folder, number in (("a", 0), ("b", 1)):
        write_audio(source / folder / "x.wav", number)
        os.utime(source / folder / "x.wav", (0, 0))
    rows = [{"audio_path": f"{folder}/x.wav", "text": folder} for folder in "ab"]
    import_source(write_rows(source, *rows))
    imported = import_source(write_rows(source, *reversed(rows)))
    assert imported.texts == ["b", "a"]
    for row in imported.rows:
        assert row.audio_path.read_bytes() == (source / row.text / "x.wav").read_bytes()


def test_limit_and_sample_rate(tmp_path: Path, write_audio: Write, import_source) -> None:
    source = list_clips(tmp_path / "source", write_audio, 4)
    imported = import_source(source, limit=2, sample_rate=16000)
    assert imported.texts == ["Текст 0.", "Текст 1."]
    assert imported.rates == [22050, 22050], "recordings keep their rate"
    assert imported.config["audio"]["sample_rate"] == 16000
    assert import_source(source, limit=3).report.num_reused == 2


def test_recordings_in_another_folder(tmp_path: Path, write_audio: Write, import_source) -> None:
    write_audio(tmp_path / "audio/a.flac")
    source = write_rows(tmp_path / "source", {"audio_path": "a", "text": "Да."})
    from piper.train.formats.source import ReadOptions

    read = ReadOptions(audio_dir=tmp_path / "audio")
    assert import_source(source, read=read).names == ["a.wav"]


def test_what_training_added_to_the_config_stays(
    tmp_path: Path, write_audio: Write, import_source
) -> None:
    source = list_clips(tmp_path / "source", write_audio, 2)
    folder = import_source(source).folder
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    config["audio"]["quality"] = "high"
    (folder / "config.json").write_text(json.dumps({**config, "mine": 1}), encoding="utf-8")
    assert import_source(source).config == {**config, "mine": 1}


def test_mistakes_end_with_one_sentence(
    tmp_path: Path, write_audio: Write, capsys: pytest.CaptureFixture[str]
) -> None:
    source = list_clips(tmp_path / "source", write_audio, 1)
    folder = tmp_path / "dataset"

    def say(*arguments: object) -> str:
        assert main([str(argument) for argument in arguments]) == 1
        said = capsys.readouterr()
        assert said.err.startswith("error: ")
        assert said.err.count("\n") == 1
        return said.err

    assert "--language" in say(source, folder)
    ru = ("--language", "ru")
    assert "nothing is changed" in say(source, source / "made", *ru)
    assert "nothing is changed" in say(source, source, *ru)
    assert "--limit is 0" in say(source, folder, *ru, "--limit", 0)
    assert "does not exist" in say(source, folder, *ru, "--audio-dir", tmp_path / "nowhere")
    assert not folder.exists(), "a mistake makes nothing"
    folder.mkdir()
    (folder / "diary.txt").write_text("mine", encoding="utf-8")
    assert "holds something that is no import" in say(source, folder, *ru)
    other = tmp_path / "other"
    assert main([str(source), str(other), *ru]) == 0
    capsys.readouterr()
    second = list_clips(tmp_path / "second", write_audio, 1)
    assert f"is an import of {source}" in say(second, other, *ru)
    (other / "metadata.csv").write_text("0.wav|Исправлено.\n", encoding="utf-8")
    assert "was edited after the import" in say(source, other, *ru)
    write_rows(source, {"audio_path": "gone", "text": "Да."})
    assert "None of the 1 rows" in say(source, tmp_path / "third", *ru)
    write_rows(source)
    assert "lists no recordings" in say(
        source / "rows.jsonl", tmp_path / "4", *ru, "--format", "jsonl"
    )


def test_a_list_of_another_encoding_is_read(
    tmp_path: Path, write_audio: Write, import_source
) -> None:
    source = list_clips(tmp_path / "source", write_audio, 1)
    (source / "rows.jsonl").write_bytes('{"audio_path": "0", "text": "Привет"}'.encode("cp1251"))
    assert import_source(source).texts == ["Привет"]


def test_libraries_that_are_not_installed(
    tmp_path: Path, write_audio: Write, import_source, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("av", "pyarrow"):
        monkeypatch.setitem(sys.modules, name, None)  # as where it is not there
    source = list_clips(tmp_path / "source", write_audio, 1)
    assert len(import_source(source).rows) == 1, "neither is needed for FLAC"
    (source / "a.g722").write_bytes(bytes(900))
    write_rows(source, {"audio_path": "a.g722", "text": "Да."})
    with pytest.raises(DatasetError, match=r"a\.g722 is read by the library av, .*pip install"):
        import_source(source, tmp_path / "other")
    (tmp_path / "hf").mkdir()
    (tmp_path / "hf/a.parquet").write_bytes(b"PAR1")
    with pytest.raises(DatasetError, match=r"need the library pyarrow: pip install"):
        import_source(tmp_path / "hf", tmp_path / "third")


def test_torch_is_not_loaded() -> None:
    code = (
        "import sys, piper.train.formats.cli\n"
        "print(sorted({'torch', 'av', 'pyarrow', 'soundfile'} & set(sys.modules)))"
    )
    command = [sys.executable, "-c", code]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == "[]\n"
