"""The one registry of what turns texts into phonemes; knows no ids."""

from __future__ import annotations

from piper.config import PhonemeType, Phonemizer
from piper.errors import PhonemizeError
from piper.text.espeak import Espeak
from piper.text.markup import TextPart
from piper.text.sentence import SpokenClause, group_clauses
from piper.text.text_phonemizer import CodePointPhonemes, MarkedTextPhonemizer, TextPhonemizer

# The languages of phoneme types whose libraries need a compiler or a download, or are not kept up.
_UNSUPPORTED = {PhonemeType.HEBREW: "Hebrew", PhonemeType.THAI: "Thai"}


class EspeakTextPhonemizer(MarkedTextPhonemizer):
    """Phonemes by espeak-ng, with `[[ raw phonemes ]]` taken as they are.

    Raises:
        PhonemizeError: espeak-ng cannot be loaded, or lacks the voice.
    """

    def __init__(self, espeak_voice: str, espeak: Espeak | None = None) -> None:
        self._espeak = espeak or Espeak()
        self._voice = espeak_voice
        self._espeak.check_voice(espeak_voice)
        self.phonemizer = Phonemizer("espeak-ng", self._espeak.version)

    def speak_alone(self, word: str) -> str:
        """Return the phonemes of a word that stands alone."""
        clauses = self._espeak.translate(self._voice, word)
        return " ".join(clause.phonemes for clause in clauses)

    def _split_part(
        self, part: TextPart, *, after_raw: bool, before_raw: bool
    ) -> list[list[SpokenClause]]:
        """Return the clauses; beside raw phonemes one space is kept where there is any."""
        clauses = self._espeak.translate(self._voice, part.content)
        sentences = group_clauses(clauses, part.start) or [[]]
        if after_raw and part.content.startswith(" "):
            sentences[0].insert(0, SpokenClause("", part.start, "", " "))
        if before_raw and part.content.endswith(" "):
            end = part.start + len(part.content)
            sentences[-1].append(SpokenClause("", end, "", " "))
        return sentences


class CodePointPhonemizer(CodePointPhonemes):
    """Phonemes that are the text's own code points, in one sentence."""

    phonemizer = Phonemizer("text", "NFD")

    def split_clauses(self, text: str) -> list[list[SpokenClause]]:
        """Return the text as one clause."""
        return [[SpokenClause(text, 0, text)]]

    def speak_alone(self, word: str) -> str:
        """Return the word."""
        return word


class RawPhonemizer(MarkedTextPhonemizer):
    """Phonemes that are given as `[[ raw phonemes ]]`; any other text is refused.

    Args:
        language: Whose texts they are.
    """

    phonemizer = Phonemizer("raw", "NFD")

    def __init__(self, language: str) -> None:
        self._language = language

    def speak_alone(self, word: str) -> str:
        """Return nothing: no word has phonemes by itself."""
        return ""

    def _split_part(
        self, part: TextPart, *, after_raw: bool, before_raw: bool
    ) -> list[list[SpokenClause]]:
        """Return the part, which is to hold no letters, as a clause that says nothing.

        Raises:
            PhonemizeError: It holds letters.
        """
        if any(character.isalnum() for character in part.content):
            raise PhonemizeError(
                f"{self._language} texts cannot be turned into phonemes here; write the phonemes "
                "that the voice was trained on between double brackets, as in [[ʃalˈom]]."
            )
        return [[SpokenClause(part.content, part.start, "")]]


def create_phonemizer(
    phoneme_type: PhonemeType, espeak_voice: str, espeak: Espeak | None
) -> TextPhonemizer:
    """Create the phonemizer of a phoneme type.

    Raises:
        PhonemizeError: espeak-ng lacks the voice or cannot be loaded, or the library of the phoneme
            type is not installed.
    """
    if phoneme_type == PhonemeType.TEXT:
        return CodePointPhonemizer()
    if phoneme_type == PhonemeType.PINYIN:
        from piper.text.pinyin import PinyinPhonemizer

        return PinyinPhonemizer()
    if phoneme_type == PhonemeType.JAPANESE:
        from piper.text.japanese import JapanesePhonemizer

        return JapanesePhonemizer()
    if phoneme_type in _UNSUPPORTED:
        return RawPhonemizer(_UNSUPPORTED[phoneme_type])
    return EspeakTextPhonemizer(espeak_voice, espeak)
