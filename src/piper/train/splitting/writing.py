"""Pieces to a dataset: recordings, metadata.csv, config.json, and split.json, which lists all."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile

from piper.atomic import digest_file
from piper.audio.encode import write_wav
from piper.progress import ProgressLine
from piper.train.data.trained_rates import find_trained_rate
from piper.train.splitting.long_audio import LongRecording
from piper.train.splitting.pieces import Piece

SPLIT_NAME = "split.json"


@dataclass(frozen=True)
class NamedPiece:
    """A piece and the name of its recording, without the ending."""

    name: str
    piece: Piece


def name_pieces(recording: LongRecording, pieces: Sequence[Piece]) -> list[NamedPiece]:
    """Return the pieces with names: the recording's, and a number."""
    digits = max(4, len(str(len(pieces))))
    stem = "".join(sign if sign.isalnum() or sign in "-_" else "_" for sign in recording.path.stem)
    return [
        NamedPiece(f"{stem}-{number:0{digits}}", piece)
        for number, piece in enumerate(pieces, start=1)
    ]


def write_pieces(
    folder: Path,
    recording: LongRecording,
    pieces: Sequence[NamedPiece],
    language: str,
    sample_rate: int | None,
) -> None:
    """Write the dataset of the pieces without a doubt, and a list of all.

    Args:
        folder: Where.
        recording: What the pieces are cut from, at its own rate.
        pieces: All of them.
        language: espeak-ng voice.
        sample_rate: Of the voice to be, in hertz; None takes what fits the recording.

    Raises:
        OSError: Something cannot be written.
    """
    (folder / "wavs").mkdir(parents=True, exist_ok=True)
    progress = ProgressLine("Cutting", len(pieces), "pieces")
    lines = []
    with soundfile.SoundFile(recording.path) as file:
        for done, named in enumerate(pieces, start=1):
            if named.piece.doubt is None:
                samples = _read(file, named.piece)
                write_wav(folder / "wavs" / f"{named.name}.wav", samples, recording.source_rate)
                lines.append(f"{named.name}.wav|{named.piece.text.replace('|', ' ')}\n")
            progress.show(done)
    progress.finish(len(pieces))
    rate = sample_rate or find_trained_rate(recording.source_rate)
    config = {"audio": {"sample_rate": rate}, "espeak": {"voice": language}}
    _write_json(folder / "config.json", config)
    _write_json(folder / SPLIT_NAME, _describe(recording, pieces))
    (folder / "metadata.csv").write_text("".join(lines), encoding="utf-8")


def _read(file: soundfile.SoundFile, piece: Piece) -> np.ndarray:
    first, last = (
        round(time * file.samplerate) for time in (piece.start_seconds, piece.end_seconds)
    )
    file.seek(min(first, file.frames))
    samples = file.read(max(0, last - first), dtype="float32", always_2d=True)
    return np.asarray(samples.mean(axis=1, dtype=np.float32))


def _describe(recording: LongRecording, pieces: Sequence[NamedPiece]) -> dict[str, object]:
    return {
        "source": str(recording.path.absolute()),
        "sha256": digest_file(recording.path),
        "pieces": [
            {
                "name": named.name,
                "start": named.piece.start_seconds,
                "end": named.piece.end_seconds,
                "text": named.piece.text,
                "score": named.piece.score,
                "doubt": named.piece.doubt,
            }
            for named in pieces
        ],
    }


def _write_json(path: Path, value: object) -> None:
    path.write_text(json.dumps(value, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
