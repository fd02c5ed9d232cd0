"""What a voice hears of a text, as one line to read. Knows no files and no audio."""

from __future__ import annotations

from collections.abc import Sequence

from piper.text.frontend import create_frontend
from piper.train.data.dataset_config import create_voice_config
from piper.train.data.metadata import Row, remove_stress_marks
from piper.train.data.settings import DataSettings


class Hearing:
    """Turns texts into phonemes as training does.

    Args:
        settings: Of the dataset.
        rows: Its utterances, which may give the symbols and the speakers.

    Raises:
        ConfigError: config.json holds something wrong.
        PhonemizeError: The espeak voice is unknown.
    """

    def __init__(self, settings: DataSettings, rows: Sequence[Row]) -> None:
        voice = create_voice_config(settings, rows)
        self._known = voice.phoneme_id_map
        self._frontend = create_frontend(voice)
        self._has_stress_marks = settings.has_stress_marks

    def describe(self, text: str) -> str:
        """Return the phonemes of a text; those that the id map lacks stand in `<>`.

        Raises:
            PhonemizeError: The text cannot be turned into phonemes.
        """
        spoken = text if self._has_stress_marks else remove_stress_marks(text)
        sentences = self._frontend.text_to_phonemes(spoken)
        return " ".join("".join(map(self._show, sentence)) for sentence in sentences)

    def _show(self, phoneme: str) -> str:
        return phoneme if phoneme in self._known else f"<{phoneme}>"
