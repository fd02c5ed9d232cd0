"""Measures recordings and texts on all cores. Knows no rules.

What was measured of a recording is kept in the cache at once, line by line: a stopped check goes
on, and a second one measures only what has changed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from piper.config import VoiceConfig
from piper.errors import DatasetError, PiperError
from piper.text.frontend import create_frontend
from piper.text.words import find_words
from piper.train.check.entries import AudioMeasures, Entry, TextMeasures
from piper.train.check.kept import keep_result, load_results
from piper.train.check.recordings import measure_recording
from piper.train.data.metadata import remove_stress_marks
from piper.train.data.scripts import find_named_letters
from piper.train.data.settings import DataSettings
from piper.train.data.workers import run_jobs

MEASURES_NAME = "check-2.jsonl"
"""In the cache; the number is raised when measures change."""


@dataclass(frozen=True)
class _AudioMeasurer:
    """What a worker process runs: a recording to its measures, kept at once."""

    kept_path: Path

    def __call__(self, path: Path) -> AudioMeasures | str:
        try:
            result: AudioMeasures | str = measure_recording(path)
        except DatasetError as error:
            result = str(error)
        value = result if isinstance(result, str) else asdict(result)
        keep_result(self.kept_path, create_key(path), value)
        return result


@dataclass(frozen=True)
class TextMeasurer:
    """What a worker process runs: a text to its measures, by the phonemes of one voice."""

    voice: VoiceConfig

    def __call__(self, text: str) -> TextMeasures | None:
        """Return what training would make of a text; None where nothing can be made of it."""
        frontend = create_frontend(self.voice)
        try:
            sentences = frontend.text_to_phonemes(text)
        except PiperError:
            return None
        known = self.voice.phoneme_id_map
        phonemes = [phoneme for sentence in sentences for phoneme in sentence]
        num_ids = 0
        for sentence in sentences:
            if heard := [phoneme for phoneme in sentence if phoneme in known]:
                num_ids += len(frontend.phonemes_to_ids(heard))
        return TextMeasures(
            tuple(phonemes),
            tuple(phoneme for phoneme in phonemes if phoneme not in known),
            tuple(text[start:end] for start, end in find_words(text)),
            num_ids,
            find_named_letters(text, self.voice),
        )


def measure_audio(
    paths: Sequence[Path], cache_dir: Path, num_processes: int | None = None
) -> dict[Path, AudioMeasures | str]:
    """Return the measures of recordings, or the sentences that say why there are none.

    Raises:
        DatasetError: The cache folder cannot be written.
    """
    try:
        cache_dir.mkdir(parents=True, exist_ok=True)
        kept = load_results(cache_dir / MEASURES_NAME, _parse_measures)
    except OSError as error:
        raise DatasetError(
            f"The cache folder {cache_dir} cannot be used ({error.strerror}); name another with "
            "--cache-dir."
        ) from None
    measured = {path: kept[key] for path in paths if (key := create_key(path)) in kept}
    missing = [path for path in paths if path not in measured]
    measurer = _AudioMeasurer(cache_dir / MEASURES_NAME)
    results = run_jobs(measurer, missing, "Measuring", "recordings", num_processes)
    return measured | dict(zip(missing, results, strict=True))


def create_key(path: Path) -> str:
    """By size and time, as preparation's cache has it: a digest would take as long as measuring."""
    stat = path.stat()
    return f"{path.absolute()}|{stat.st_size}|{stat.st_mtime_ns}"


def _parse_measures(value: Any) -> AudioMeasures | str:
    if isinstance(value, str):
        return value
    return AudioMeasures(**{**value, "outline": tuple(value["outline"])})


def measure_texts(
    entries: Sequence[Entry],
    settings: DataSettings,
    voice: VoiceConfig,
    num_processes: int | None,
) -> dict[int, TextMeasures]:
    """Return the measures of texts by line; of those that cannot be phonemised there are none."""
    spoken = [entry for entry in entries if entry.text]
    texts = [find_trained_text(entry, settings) for entry in spoken]
    results = run_jobs(TextMeasurer(voice), texts, "Reading", "texts", num_processes)
    found = zip(spoken, results, strict=True)
    return {entry.line: measures for entry, measures in found if measures is not None}


def find_trained_text(entry: Entry, settings: DataSettings) -> str:
    """Return the text as training reads it."""
    return entry.text if settings.has_stress_marks else remove_stress_marks(entry.text)
