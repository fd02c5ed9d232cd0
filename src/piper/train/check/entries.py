"""A dataset as it is found, mistakes included: what the check's rules look at.

`data.metadata` ends at the first mistake, since training cannot go on; a check names all of them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path


@dataclass(frozen=True)
class Entry:
    """One line of the CSV that has a name and a text.

    Attributes:
        line: Counted from 1.
        audio_path: Where it lies; None where it was not found.
        speaker: Its name where the set has several, else None.
        audio: What was measured of the recording; None where it cannot be read.
        read: What was measured of the text; None where it cannot be phonemised.
    """

    line: int
    name: str
    audio_path: Path | None
    speaker: str | None
    text: str
    audio: AudioMeasures | None = None
    read: TextMeasures | None = None

    @property
    def spoken(self) -> tuple[str | None, str]:
        """Who says what, by letters and digits alone: equal for takes of the same words."""
        return self.speaker, "".join(sign for sign in self.text.lower() if sign.isalnum())


@dataclass(frozen=True)
class AudioMeasures:
    """What was measured of one recording; levels in dB of full scale, times in seconds.

    Attributes:
        sample_rate: Hertz.
        subtype: libsndfile's name of the samples' format, such as `PCM_16`.
        has_all_data: False where the header promises more samples than there are.
        digest: Of the decoded samples: equal for the same audio under two names.
        peak: Largest absolute sample, 1 is full scale.
        clipped_share: Share of the samples in runs of at least three at full scale, or at the
            recording's own peak where it was turned down after clipping.
        crowding: How many times more samples there are at a loud level than at any quieter one, 1
            where they grow ever fewer: above that, tops were cut before an encoder rounded them.
        crowded_level: That level, 1 is full scale.
        loud_db: Level of the loudest 50 ms.
        floor_db: The noise between words: 5th percentile of the levels.
        speech_db: Mean level where there is speech.
        inner_silence_seconds: The longest silence inside.
        start_edge_db: Level of the first 10 ms, beside `speech_db`.
        end_edge_db: Level of the last 10 ms.
        bandwidth_hertz: Above it there is no energy: half the sample rate where there is.
        outline: Peaks of some hundred pieces, 0 to 1, to draw.
    """

    seconds: float
    sample_rate: int
    channels: int
    subtype: str
    has_all_data: bool
    digest: str
    peak: float
    clipped_share: float
    crowding: float
    crowded_level: float
    dc_offset: float
    loud_db: float
    floor_db: float
    speech_db: float
    start_silence_seconds: float
    end_silence_seconds: float
    inner_silence_seconds: float
    inner_silence_start: float
    start_edge_db: float
    end_edge_db: float
    bandwidth_hertz: float
    outline: tuple[float, ...]

    @property
    def speech_seconds(self) -> float:
        """How long is spoken: without silence at both ends, and without the longest inside."""
        silence = self.start_silence_seconds + self.end_silence_seconds
        return max(0.0, self.seconds - silence - self.inner_silence_seconds)


@dataclass(frozen=True)
class TextMeasures:
    """What was measured of one text.

    Attributes:
        missing: Phonemes that the id map lacks, once for each time they occur.
        num_ids: Phoneme ids that training would see.
        named: Letters that espeak-ng names instead of reading.
    """

    phonemes: tuple[str, ...]
    missing: tuple[str, ...]
    num_ids: int
    named: str = ""


def add_measures(
    entries: Sequence[Entry],
    audio: Mapping[Path, AudioMeasures],
    texts: Mapping[int, TextMeasures],
) -> list[Entry]:
    """Return the lines with what was measured of them: by paths, and by lines."""
    return [
        replace(entry, audio=audio.get(entry.audio_path or Path()), read=texts.get(entry.line))
        for entry in entries
    ]


@dataclass(frozen=True)
class TextFit:
    """How well a text fits its recording, by the aligner; scores are 0 at best, else below.

    Attributes:
        score: Mean over all speech.
        worst_score: Mean over the half second that fits worst.
    """

    score: float
    num_units: int
    worst_score: float
    worst_start: float
    worst_end: float


@dataclass(frozen=True)
class FitMeasures:
    """How well the texts of a set fit.

    Attributes:
        fits: By line; lines that could not be aligned are not in it.
        usual_score: Median of their scores.
        wrong_score: Median of the scores of texts laid over others' recordings.
        likely_lines: For lines whose text is another's: the line whose text fits.
    """

    fits: dict[int, TextFit]
    usual_score: float
    wrong_score: float
    likely_lines: dict[int, int]

    def score_to_share(self, score: float) -> float:
        """Return a score as a share: 1 is as usual here, 0 as another recording's text fits."""
        return (score - self.wrong_score) / max(1e-3, self.usual_score - self.wrong_score)
