"""Vowel signs in Arabic texts by text2tashkeel (extra `ar`).

Arabic is written without its short vowels, and espeak-ng does not guess them. text2tashkeel brings
its model along. Piper's own client uses another one, libtashkeel's; given in the environment's
`PIPER_TASHKEEL_MODEL` (the file `model.onnx`), it gives the same signs here.
"""

from __future__ import annotations

import logging
import os
import re
from importlib import metadata
from pathlib import Path
from typing import Any

from piper.errors import PhonemizeError, describe_briefly
from piper.text.sentence import Edit

MODEL_VARIABLE = "PIPER_TASHKEEL_MODEL"

_LOGGER = logging.getLogger(__name__)
_LIBRARY = "text2tashkeel"
_SIGNS = "\u064b-\u0652\u0670"
_WORD = re.compile(rf"[\u0621-\u064a\u0671-\u06d3{_SIGNS}]*[\u0621-\u064a\u0671-\u06d3][{_SIGNS}]*")
# Letters that stand for a long vowel or carry none of their own.
_VOWEL_LETTERS = "اويىةآ"
# espeak-ng reads the vowel after the sign of doubling only; Unicode's order is the other one.
_VOWEL_BEFORE_SHADDA = re.compile("([\u064b-\u0650\u0652\u0670]+)\u0651")
# The model sees a line at once, but not more than this many characters.
_MAX_LENGTH = 1000
_SENTENCE = re.compile(rf"[^\n]{{1,{_MAX_LENGTH}}}(?:(?<=[.!?؟؛])(?=\s)|(?=\n)|$|(?<=\s))|\n+")


class Diacritizer:
    """Adds vowel signs to Arabic words that lack them.

    Where the library is missing, texts stay as they are, and a warning says so once.

    Attributes:
        name: The library and its version; empty where it is missing.
    """

    def __init__(self) -> None:
        self._has_warned = False
        self._model: Any = None
        self.name = ""
        path = os.environ.get(MODEL_VARIABLE) or ""
        if path and not Path(path).is_file():
            raise PhonemizeError(
                f"{path} does not exist; correct {MODEL_VARIABLE}, or unset it to use the model "
                f"that {_LIBRARY} brings along."
            )
        try:
            self.name = f"{_LIBRARY} {metadata.version(_LIBRARY)}"
        except metadata.PackageNotFoundError:
            return
        self._path = path
        if path:
            self.name += " with libtashkeel"

    def find_edits(self, text: str) -> list[Edit]:
        """Return the words that get vowel signs, or their signs in another order.

        A word that has nearly all of its signs keeps them.
        """
        edits: list[Edit] = []
        is_lacking = any(not _has_signs(match[0]) for match in _WORD.finditer(text))
        if is_lacking and not (self.name or self._has_warned):
            self._has_warned = True
            _LOGGER.warning(
                "Arabic texts without vowel signs are spoken without most vowels; install the "
                "extra with `pip install piper-workshop[ar]`, or write the signs."
            )
        for line in _SENTENCE.finditer(text):
            if _WORD.search(line[0]):
                spoken = self._add_signs(line[0]) if is_lacking and self.name else line[0]
                edits += _pair_words(line, spoken)
        return edits

    def _add_signs(self, line: str) -> str:
        try:
            return str(self._load()(line))
        except Exception as error:
            if not self._path:
                raise
            # Another model's inputs, or no model: whatever ONNX Runtime says.
            raise PhonemizeError(
                f"{self._path} is not the model of libtashkeel ({describe_briefly(error)}); "
                f"correct {MODEL_VARIABLE}, or unset it."
            ) from None

    def _load(self) -> Any:
        if self._model is None:
            import text2tashkeel  # type: ignore[import-not-found, import-untyped, unused-ignore]

            if self._path:
                maps = Path(str(text2tashkeel.__file__)).parent / "models" / "libtashkeel.maps.json"
                text2tashkeel.register_model("given", self._path, str(maps), arch="libtashkeel")
            self._model = text2tashkeel.Diacritizer(*(["given"] if self._path else []))
        return self._model


def _has_signs(word: str) -> bool:
    signs = len(re.findall(f"[{_SIGNS}]", word))
    letters = sum(letter not in _VOWEL_LETTERS for letter in re.sub(f"[{_SIGNS}]", "", word))
    return signs >= max(2, letters - 1)


def _pair_words(line: re.Match[str], spoken: str) -> list[Edit]:
    """Return an edit for each word that is to change; none where the words do not pair."""
    words, others = list(_WORD.finditer(line[0])), _WORD.findall(spoken)
    if len(words) != len(others):
        return []
    edits: list[Edit] = []
    for word, other in zip(words, others, strict=True):
        new = _VOWEL_BEFORE_SHADDA.sub("\u0651\\1", word[0] if _has_signs(word[0]) else other)
        if new != word[0]:
            edits.append(Edit(line.start() + word.start(), line.start() + word.end(), new))
    return edits
