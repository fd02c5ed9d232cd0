"""The layouts of VCTK, Multilingual LibriSpeech and festvox. Knows no audio."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from piper.errors import DatasetError
from piper.train.data.names import walk_recordings
from piper.train.formats.source import (
    Format,
    LeftOut,
    ReadOptions,
    Source,
    SourceRow,
    find_recording,
    read_lines,
    read_text,
)

MLS_SPLITS = ("train", "dev", "test")
MLS_TEXTS = "transcripts.txt"
FESTVOX_TEXTS = Path("etc", "txt.done.data")
_MICROPHONE = re.compile(r"_mic\d+$")
_TRANSCRIPT = re.compile(r'^\(\s*(\S+)\s+"(.*)"\s*\)$')


def _find_vctk_folders(source: Path) -> list[Path]:
    # wav48_silence_trimmed of release 0.92 before the wav48 of earlier ones.
    return sorted(
        (path for path in source.glob("wav48*") if path.is_dir()), key=lambda p: -len(p.name)
    )


def _is_vctk(source: Path) -> bool:
    return (source / "txt").is_dir() and bool(_find_vctk_folders(source))


def _load_vctk(source: Path, options: ReadOptions) -> Source:
    """Read wav48*/SPEAKER/NAME_mic1.flac and txt/SPEAKER/NAME.txt; of microphones the first."""
    folders = options.find_folders(*_find_vctk_folders(source))
    if not folders:
        raise DatasetError(f"{source} has no folder wav48*; is it the folder of VCTK?")
    rows: list[SourceRow] = []
    left_out: list[LeftOut] = []
    seen: set[tuple[str, str]] = set()
    for path in walk_recordings(folders[0]):
        speaker, stem = path.parent.name, _MICROPHONE.sub("", path.stem)
        if (speaker, stem) in seen:
            continue
        seen.add((speaker, stem))
        text_path = source / "txt" / speaker / f"{stem}.txt"
        if not text_path.is_file():
            left_out.append(LeftOut(stem, "no text file"))
            continue
        rows.append(SourceRow(path, read_text(text_path).strip(), speaker, stem))
    return Source(rows, left_out)


def _find_mls_splits(source: Path) -> list[Path]:
    folders = [source, *(source / name for name in MLS_SPLITS)]
    return [path for path in folders if (path / MLS_TEXTS).is_file() and (path / "audio").is_dir()]


def _is_mls(source: Path) -> bool:
    return bool(_find_mls_splits(source))


def _load_mls(source: Path, options: ReadOptions) -> Source:
    r"""Read transcripts.txt, `SPEAKER_BOOK_ID\ttext`, and audio/SPEAKER/BOOK/*."""
    splits = _find_mls_splits(source)
    if not splits:
        raise DatasetError(f"{source} has no train/, dev/ or test/ with {MLS_TEXTS} and audio/.")
    rows: list[SourceRow] = []
    left_out: list[LeftOut] = []
    for split in splits:
        for number, line in read_lines(split / MLS_TEXTS):
            name, _, text = line.partition("\t")
            parts = name.strip().split("_")
            if len(parts) != 3:
                where = f"{split.name}/{MLS_TEXTS} line {number}"
                left_out.append(LeftOut(where, "no SPEAKER_BOOK_ID"))
                continue
            below = f"{parts[0]}/{parts[1]}/{name.strip()}"
            audio_path = find_recording(below, options.find_folders(split / "audio"))
            rows.append(SourceRow(audio_path, text.strip(), parts[0], name.strip()))
    return Source(rows, left_out)


def _is_festvox(source: Path) -> bool:
    return (source / FESTVOX_TEXTS).is_file()


def _load_festvox(source: Path, options: ReadOptions) -> Source:
    """Read `( name "text" )` of etc/txt.done.data, and wav/."""
    path = source / FESTVOX_TEXTS
    folders: Sequence[Path] = options.find_folders(source / "wav", source / "wavs")
    rows: list[SourceRow] = []
    left_out: list[LeftOut] = []
    for number, line in read_lines(path):
        match = _TRANSCRIPT.match(line.strip())
        if match is None:
            left_out.append(LeftOut(f"{path.name} line {number}", 'no ( name "text" )'))
            continue
        text = match[2].replace('\\"', '"').replace("\\\\", "\\")
        rows.append(SourceRow(find_recording(match[1], folders), text, None, match[1]))
    return Source(rows, left_out)


VCTK = Format("vctk", "wav48*/pNNN/ and txt/pNNN/", _is_vctk, _load_vctk)
MLS = Format("mls", "train/transcripts.txt and train/audio/SPEAKER/BOOK/", _is_mls, _load_mls)
FESTVOX = Format("festvox", "etc/txt.done.data and wav/", _is_festvox, _load_festvox)
