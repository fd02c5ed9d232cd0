"""All that a review works with, in one place. Knows nothing of HTTP."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from piper.errors import DatasetError
from piper.train.check.run import count_speakers, entries_to_rows
from piper.train.data.hearing import Hearing
from piper.train.data.settings import DataSettings
from piper.train.review.clips import Clip
from piper.train.review.gathering import Gathered
from piper.train.review.media import MediaStore
from piper.train.review.session import Review


@dataclass(frozen=True)
class Desk:
    """What lies before the reviewer.

    Attributes:
        folder: The dataset.
        config_path: Its config.json; need not exist.
        language: Of the texts, for the browser's spell-check.
        gathered: All its clips.
        clips: Those that are shown.
        review: The decisions.
        hearing: Texts to phonemes.
        media: What is seen and heard.
    """

    folder: Path
    config_path: Path
    language: str
    gathered: Gathered
    clips: Sequence[Clip]
    review: Review
    hearing: Hearing
    media: MediaStore

    @cached_property
    def indices(self) -> dict[str, int]:
        """Places in `clips` by key."""
        return {clip.key: index for index, clip in enumerate(self.clips)}

    def find_clip(self, index: int) -> Clip:
        """Return the clip with a number.

        Raises:
            DatasetError: There is none.
        """
        if not 0 <= index < len(self.clips):
            raise DatasetError(f"There is no clip {index}; reload the page.")
        return self.clips[index]


def create_desk(
    settings: DataSettings,
    gathered: Gathered,
    clips: Sequence[Clip],
    review: Review,
    media_folder: Path,
) -> Desk:
    """Return what a review works with.

    Args:
        settings: Of the dataset.
        gathered: All its clips.
        clips: Those that are shown.
        review: Of all.
        media_folder: For WAVs, as long as the review lasts.

    Raises:
        ConfigError: config.json holds something wrong.
        PhonemizeError: The espeak voice is unknown.
    """
    rows = entries_to_rows(gathered.entries)
    return Desk(
        settings.csv_path.parent,
        settings.config_path,
        settings.espeak_voice,
        gathered,
        clips,
        review,
        Hearing(count_speakers(settings, gathered.entries), rows),
        MediaStore(media_folder),
    )
