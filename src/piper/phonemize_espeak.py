"""Import path that other programs use; the work is done in `piper.text`."""

from __future__ import annotations

import unicodedata
from pathlib import Path
from typing import Any

from piper.text.phonemizers import Espeak, find_espeak_data
from piper.text.sentence import join_clauses


def __getattr__(name: str) -> Any:
    if name == "ESPEAK_DATA_DIR":  # looked for when asked for
        return find_espeak_data()
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


class EspeakPhonemizer:
    """Phonemes of a text by espeak-ng; `[[ raw phonemes ]]` are not parsed here.

    Args:
        espeak_data_dir: The folder `espeak-ng-data`; None takes the one that came with the package.
    """

    def __init__(self, espeak_data_dir: str | Path | None = None) -> None:
        self._espeak = Espeak(data_dir=espeak_data_dir)

    def phonemize(self, voice: str, text: str) -> list[list[str]]:
        """Return sentences of single code points (NFD).

        A sentence is empty where punctuation or a blank line stood alone (`Yes. [!]` is two), as
        in Piper.

        Raises:
            PhonemizeError: espeak-ng cannot be loaded, or lacks the voice.
        """
        sentences = join_clauses(self._espeak.translate(voice, text))
        return [list(unicodedata.normalize("NFD", sentence)) for sentence in sentences]
