"""Phonemes of Japanese voices by Open JTalk (extra `ja`).

IPA with the pitch accent between the phonemes: `↑` where it rises, `↓` where it falls, `#` between
accent phrases, `,` for a pause. Where they stand follows Kurihara et al. 2021, "Prosodic features
control by symbols as input of sequence-to-sequence acoustic modeling for neural TTS", section 3.
"""

from __future__ import annotations

import re
import unicodedata
from importlib import metadata
from itertools import pairwise
from typing import Any

from piper.config import Phonemizer
from piper.errors import PhonemizeError
from piper.text.phonemizers import (
    MarkedTextPhonemizer,
    ends_with_blank_line,
    split_at_pauses,
    split_sentences,
)
from piper.text.pieces import TextPart
from piper.text.sentence import ELLIPSIS, SpokenClause

_LIBRARY = "pyopenjtalk-plus"
_RISE, _FALL, _PHRASE_END, _PAUSE = "↑", "↓", "#", ","
# A full stop between digits is a decimal point.
_ENDS = r"[。｡！？!?‼⁇⁈⁉]|(?<!\d)．|．(?!\d)"
_PAUSES = r"[、,，.;；:：・…‥—―–「」『』（）()【】\s]"
_QUESTION = re.compile("[？?⁇⁈⁉]")
# Open JTalk's phones to IPA; upper case is a devoiced vowel, `cl` the first half of a long
# consonant.
_CONSONANTS = {phone: phone for phone in ("k", "s", "z", "t", "ts", "d", "n", "h", "b", "p", "m")}
_CONSONANTS |= {"g": "ɡ", "sh": "ɕ", "j": "dʑ", "ch": "tɕ", "f": "ɸ", "y": "j", "r": "ɾ"}
_CONSONANTS |= {"w": "w", "v": "v"}
_VOWELS = {"a": "a", "i": "i", "u": "ɯ", "e": "e", "o": "o"}
_PHONES = {
    **_CONSONANTS,
    **{f"{phone}y": f"{_CONSONANTS[phone]}ʲ" for phone in "kgtdnhbpmrfv"},
    "kw": "kʷ",
    "gw": "ɡʷ",
    **_VOWELS,
    **{phone.upper(): ipa for phone, ipa in _VOWELS.items()},
    "N": "ɴ",
    "cl": "ʔ",
}
_MORA_ENDS = frozenset(("a", "i", "u", "e", "o", "A", "I", "U", "E", "O", "N", "cl"))
# Of a full-context label: the phone; in its accent phrase the mora's distance from the accent and
# its place from the start and the end; the phrase's number of moras.
_LABEL = re.compile(
    r"-(?P<phone>[^+]+)\+.*/A:(?P<distance>[^+]+)\+(?P<place>[^+]+)\+(?P<left>[^/]+)/B:"
    r".*/F:(?P<moras>[^_]+)_"
)


class JapanesePhonemizer(MarkedTextPhonemizer):
    """Phonemes by Open JTalk."""

    def __init__(self) -> None:
        try:
            import pyopenjtalk  # type: ignore[import-not-found, import-untyped, unused-ignore]
        except ImportError:
            raise PhonemizeError(
                f"Japanese voices need the library {_LIBRARY}; "
                "install the extra with `pip install piper-workshop[ja]`."
            ) from None
        self._jtalk: Any = pyopenjtalk
        self.phonemizer = Phonemizer(_LIBRARY, metadata.version(_LIBRARY))

    def speak_alone(self, word: str) -> str:
        """Return the phonemes of a word that stands alone."""
        return "".join(self._find_phonemes(word))

    def find_words(self, source: str) -> list[tuple[int, int]]:
        """Return start and end of the words that Open JTalk finds."""
        letters = [
            (letter, place)
            for place, character in enumerate(source)
            for letter in unicodedata.normalize("NFKC", character).lower()
            if not letter.isspace()
        ]
        text = "".join(letter for letter, _ in letters)
        spans: list[tuple[int, int]] = []
        for feature in self._jtalk.run_frontend(source) if _has_letters(source) else []:
            surface = unicodedata.normalize("NFKC", feature["string"]).lower().strip()
            end = spans[-1][1] if spans else 0
            start = text.find(surface, end)
            if start < 0 or not _has_letters(surface):
                continue
            if _has_letters(text[end:start]):  # figures, which Open JTalk has written out
                spans.append((end, start))
            spans.append((start, start + len(surface)))
        end = spans[-1][1] if spans else 0
        if _has_letters(text[end:]):
            spans.append((end, len(text)))
        return [_trim(source, letters[start][1], letters[end - 1][1] + 1) for start, end in spans]

    def _split_part(
        self, part: TextPart, *, after_raw: bool, before_raw: bool
    ) -> list[list[SpokenClause]]:
        """Return the clauses of each sentence; one that goes on has no full stop."""
        sentences: list[list[SpokenClause]] = []
        for start, end in split_sentences(part.content, _ENDS):
            source = part.content[start:end]
            goes_on = before_raw and end == len(part.content) and not re.search(_ENDS, source)
            sentences.append(self._speak_sentence(source, part.start + start, goes_on=goes_on))
        return sentences

    def _speak_sentence(self, source: str, start: int, *, goes_on: bool) -> list[SpokenClause]:
        spoken = "".join(self._find_phonemes(source)).split(_PAUSE)
        is_last = ends_with_blank_line(source)
        if not spoken[0]:
            return [SpokenClause(source, start, "", ends_paragraph=is_last)]
        pieces = split_at_pauses(source, _PAUSES)
        if len(pieces) != len(spoken):  # Open JTalk pauses elsewhere
            pieces, spoken = [(0, len(source))], [_PAUSE.join(spoken)]
        clauses: list[SpokenClause] = []
        for (first, last), phonemes in zip(pieces, spoken, strict=True):
            ends_here = last == len(source)
            mark = "" if goes_on else "?" if _QUESTION.search(source) else "."
            clauses.append(
                SpokenClause(
                    source[first:last],
                    start + first,
                    phonemes,
                    mark if ends_here else _PAUSE,
                    is_break=not ends_here,
                    is_ellipsis=not ends_here and ELLIPSIS in source[first:last],
                    ends_paragraph=ends_here and is_last,
                )
            )
        return clauses

    def _find_phonemes(self, text: str) -> list[str]:
        """Return phonemes, accents and pauses."""
        # Without letters Open JTalk prints warnings of its own.
        labels = self._jtalk.extract_fullcontext(text.strip()) if _has_letters(text) else []
        found = [match for match in map(_LABEL.search, labels) if match]
        phonemes: list[str] = []
        for label, following in pairwise(found):
            if label["phone"] == "pau":
                phonemes.append(_PAUSE)
            elif label["phone"] in _PHONES:
                phonemes += [_PHONES[label["phone"]], _find_accent(label, following)]
        return phonemes


def _has_letters(text: str) -> bool:
    return any(character.isalnum() and character != "ー" for character in text)


def _trim(source: str, start: int, end: int) -> tuple[int, int]:
    """Return start and end of a word without the punctuation around it."""
    while not source[start].isalnum():
        start += 1
    while not source[end - 1].isalnum():
        end -= 1
    return start, end


def _find_accent(label: re.Match[str], following: re.Match[str]) -> str:
    """Return the sign between two phones."""
    place, place_after = label["place"], following["place"]
    if label["left"] == "1" and place_after == "1" and label["phone"] in _MORA_ENDS:
        return _PHRASE_END
    is_next_mora = place_after.isdigit() and int(place_after) == int(place) + 1
    if label["distance"] == "0" and is_next_mora and place != label["moras"]:
        return _FALL
    return _RISE if place == "1" and place_after == "2" else ""
