"""What a speech recogniser hears in each recording, kept at once. Knows no rules, no recogniser."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path

from piper.progress import ProgressLine
from piper.train.check.entries import AudioMeasures, Entry
from piper.train.check.kept import keep_result, load_results
from piper.train.check.measuring import create_key
from piper.train.recognisers import Recogniser

RECOGNISED_NAME = "recognised-1.jsonl"
"""In the cache; the number is raised when what is kept changes."""


def load_heard(
    entries: Sequence[Entry], audio: Mapping[Path, AudioMeasures], cache_dir: Path
) -> tuple[str, dict[int, str]]:
    """Return what an earlier check's recogniser heard of the recordings, and the recogniser's name.

    Of several the one that heard most of them; the name is empty where there is none.
    """
    paths = {e.line: e.audio_path for e in entries if e.audio_path in audio and e.audio_path}
    lines = {create_key(path): line for line, path in paths.items()}
    heard: dict[str, dict[int, str]] = defaultdict(dict)
    for key, text in load_results(cache_dir / RECOGNISED_NAME, str).items():
        name, _, recording = key.partition("|")
        if recording in lines:
            heard[name][lines[recording]] = text
    return max(heard.items(), key=lambda item: len(item[1]), default=("", {}))


def recognise_recordings(
    entries: Sequence[Entry],
    audio: Mapping[Path, AudioMeasures],
    cache_dir: Path,
    recogniser: Recogniser,
    name: str,
) -> dict[int, str]:
    """Return what was heard, by line; one process, since recognisers use all cores by themselves.

    Args:
        entries: The dataset's lines.
        audio: Measures by path; recordings without are left out.
        cache_dir: Keeps what was heard.
        recogniser: The function.
        name: Of the recogniser and its model, for what is kept.

    Raises:
        ConfigError: The recogniser failed.
    """
    # Here, because it brings torch, which most checks do without.
    from piper.train.aligner.features import SAMPLE_RATE, load_samples

    kept = load_results(cache_dir / RECOGNISED_NAME, str)
    heard: dict[int, str] = {}
    progress = ProgressLine("Recognising", len(entries), "recordings")
    for done, entry in enumerate(entries, start=1):
        if entry.audio_path is not None and entry.audio_path in audio:
            key = f"{name}|{create_key(entry.audio_path)}"
            if key not in kept:
                kept[key] = recogniser(load_samples(entry.audio_path), SAMPLE_RATE)
                keep_result(cache_dir / RECOGNISED_NAME, key, kept[key])
            heard[entry.line] = kept[key]
        progress.show(done)
    progress.finish(len(entries))
    return heard
