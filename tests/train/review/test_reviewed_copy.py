"""The copy has all that was decided and nothing else; the original stays as it is."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile
from reviews import LEAD_SECONDS, RATE, list_digests, open_table

from piper.train.check import cli as check_cli
from piper.train.review import cli
from piper.train.review.session import Choice


def read_changes(folder: Path) -> list[tuple[object, ...]]:
    changes = json.loads((folder / "changes.json").read_text(encoding="utf-8"))
    return [tuple(change.values()) for change in changes]


def read_samples(path: Path) -> np.ndarray:
    return soundfile.read(path, dtype="int16")[0]


def test_the_copy_has_what_was_decided(
    doubted: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before, out = list_digests(doubted), tmp_path / "reviewed"
    table = open_table(doubted)
    table.decide("utterance001.wav", Choice.KEEP, start_seconds=1.75)
    old = table.find("utterance002.wav").text
    table.decide("utterance002.wav", Choice.KEEP, text=old.replace("o", "о"))
    table.decide("utterance004.wav", Choice.DROP)
    table.decide("utterance005.wav", Choice.KEEP)
    assert cli.main([str(doubted), f"--fix={out}"]) == 0
    said = capsys.readouterr().out
    assert said.startswith(f"reviewed: {out} (14 recordings, 4 changes, 2 lines left out: changes")
    assert list_digests(doubted) == before
    seconds = table.find("utterance001.wav").end_seconds
    assert read_changes(out) == [
        (1, "utterance001.wav", "review", f"cut anew: 1.75 to {seconds:.2f} s of utterance001.wav"),
        (2, "utterance002.wav", "review", f"the text was {old!r}"),
        (3, "utterance003.wav", "missing-file", "left out"),
        (4, "utterance004.wav", "review", "left out"),
    ]
    original = read_samples(doubted / "wavs" / "utterance001.wav")
    cut = read_samples(out / "wavs" / "utterance001.wav")
    np.testing.assert_array_equal(cut, original[round(1.75 * RATE) :])
    lines = (doubted / "metadata.csv").read_text(encoding="utf-8").splitlines()
    lines[1] = lines[1].replace("o", "о")
    copied = (out / "metadata.csv").read_text(encoding="utf-8").splitlines()
    assert copied == [*lines[:2], *lines[4:]]
    for name in ("utterance002.wav", "utterance005.wav"):
        assert (out / "wavs" / name).read_bytes() == (doubted / "wavs" / name).read_bytes()
    # The first line's text nobody has mended.
    few = "--ignore=few-recordings,little-speech,mixed-scripts"
    assert check_cli.main([str(out), "--quick", "--strict", few]) == 0


def test_pieces_join_and_grow_into_the_long_recording(cut: Path, tmp_path: Path) -> None:
    out = tmp_path / "reviewed"
    table = open_table(cut)
    long = read_samples(tmp_path / "long.flac")
    grown, joined = table.find("long-0002.wav"), table.find("long-0003")
    table.decide("long-0002.wav", Choice.KEEP, start_seconds=grown.start_seconds - 0.5)
    end = joined.end_seconds - 0.25
    table.decide("long-0003", Choice.KEEP, end_seconds=end, text="Третий кусок.")
    table.decide("long-0004", Choice.DROP)
    assert cli.main([str(cut), f"--fix={out}"]) == 0
    lines = (out / "metadata.csv").read_text(encoding="utf-8").splitlines()
    assert [line.split("|")[:2] for line in lines] == [
        ["long-0001.wav", "anna"],
        ["long-0002.wav", "anna"],
        ["other.wav", "boris"],
        ["long-0003.wav", "anna"],
    ]
    assert lines[3].endswith("|Третий кусок.")
    # The first piece was not touched, so it is the dataset's file and no new cut.
    for name in ("long-0001.wav", "other.wav"):
        assert (out / "wavs" / name).read_bytes() == (cut / "wavs" / name).read_bytes()
    start = round((grown.start_seconds - 0.5) * RATE)
    longer = read_samples(out / "wavs" / "long-0002.wav")
    np.testing.assert_array_equal(longer, long[start : start + len(longer)])
    assert abs(len(longer) / RATE - (grown.end_seconds - grown.start_seconds + 0.5)) < 1e-3
    assert len(read_samples(out / "wavs" / "long-0003.wav")) == pytest.approx(
        (end - joined.start_seconds) * RATE, abs=2
    )
    assert [change[2:] for change in read_changes(out)] == [
        ("review", f"cut anew: {grown.start_seconds - 0.5:.2f} to {grown.end_seconds:.2f} s of "
         "long.flac"),
        ("review", f"joined: {joined.start_seconds:.2f} to {end:.2f} s of long.flac"),
    ]  # fmt: skip


def test_borders_of_a_piece_may_move_outward_and_those_of_a_recording_only_inward(
    cut: Path,
) -> None:
    table = open_table(cut)
    first, other = table.find("long-0001.wav"), table.find("other.wav")
    # Before the first piece there is one second; after it, as much as is shown.
    assert first.limits == (0.0, pytest.approx(first.end_seconds + 3.0))
    assert first.start_seconds == LEAD_SECONDS
    assert other.limits == (other.start_seconds, other.end_seconds)


def test_spans_of_a_piece_follow_it_into_the_long_recording(cut: Path) -> None:
    assert check_cli.main([str(cut), "--quick", "--ignore=few-recordings,little-speech"]) == 0
    report = json.loads((cut / "check" / "report.json").read_text(encoding="utf-8"))
    same = {
        "rule": "inner-silence", "group": "audio", "severity": "warning", "summary": "",
        "threshold": "", "advice": "",
        "findings": [{"line": 2, "name": "long-0002.wav", "message": "", "span": [0.5, 0.75]}],
    }  # fmt: skip
    report["rules"] = [same]
    (cut / "check" / "report.json").write_text(json.dumps(report), encoding="utf-8")
    clip = open_table(cut).find("long-0002.wav")
    assert clip.issues[0].span == (clip.start_seconds + 0.5, clip.start_seconds + 0.75)


def test_without_its_long_recording_a_piece_is_an_ordinary_one(cut: Path, tmp_path: Path) -> None:
    (tmp_path / "long.flac").unlink()
    table = open_table(cut)
    assert table.find("long-0001.wav").limits[0] == 0.0
    assert table.find("long-0001.wav").path == cut / "wavs" / "long-0001.wav"
    assert "is not there any more" in table.find("long-0003").obstacle


def test_a_split_of_strangers_shows_no_recording_from_elsewhere(cut: Path) -> None:
    """A dataset's split.json once named any recording of the disk to be shown and cut into it."""
    path = cut / "split.json"
    split = json.loads(path.read_text())
    for sha256 in (None, "0" * 64, 1):
        path.write_text(json.dumps({**split, "sha256": sha256}))
        clip = open_table(cut).find("long-0003")
        assert clip.path is None and "is not the recording that was split" in clip.obstacle
    Path(split["source"]).rename(cut / "long.flac")
    path.write_text(json.dumps({**split, "source": "long.flac", "sha256": None}))
    assert open_table(cut).find("long-0003").path == cut / "long.flac"


def test_the_copy_is_whole_or_not_there(
    doubted: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    full = tmp_path / "full"
    full.mkdir()
    (full / "mine.txt").write_text("mine")
    assert cli.main([str(doubted), f"--fix={full}"]) == 1
    assert "is there already" in capsys.readouterr().err
    assert [path.name for path in full.iterdir()] == ["mine.txt"]
    table = open_table(doubted)
    for clip in table.gathered.clips:
        table.decide(clip.name, Choice.DROP)
    assert cli.main([str(doubted), f"--fix={tmp_path / 'empty'}"]) == 1
    assert "No line is left" in capsys.readouterr().err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["dataset", "full"]


@pytest.mark.parametrize(
    ("pieces", "sentence"),
    [
        ('{"source": "a.wav"}', "is no list of pieces"),
        ('{"source": "a.wav", "pieces": [{"name": "../x", "start": 0, "end": 1, "text": "x"}]}',
         "a name of its own without '/'"),
        ('{"source": "a.wav", "pieces": [{"name": "x", "start": 1, "end": 1, "text": "x"}]}',
         "the end must come after the start"),
    ],
)  # fmt: skip
def test_a_wrong_split_is_a_sentence(
    doubted: Path, pieces: str, sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (doubted / "split.json").write_text(pieces)
    assert cli.main([str(doubted), "--no-browser"]) == 1
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert sentence in error
    assert error.count("\n") == 1
