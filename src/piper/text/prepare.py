"""Prepares a text for the phonemizer as the options say; knows neither phonemes nor ids.

Words of the lexicon first, then numbers and short forms, then stress or vowel signs;
`[[ raw phonemes ]]` are left alone.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace

from piper.text import stress
from piper.text.markup import split_raw_phonemes
from piper.text.numerals import find_writer
from piper.text.options import Stress, TextOptions
from piper.text.rewrite import Edit, RewrittenText
from piper.text.sentence import is_abbreviation

_AFTER_END = re.compile(r"[.!?…][\"'”»)\]]*\s+[\"'“„«(\[]*$")
_ENDS = frozenset(".!?…")
_CLOSING = ".,;:!?… \t\n\r"
_MARKS = _ENDS | frozenset(",;:")

_EMOJI = (
    r"[\u2190-\u21ff\u231a-\u23ff\u25a0-\u2752\u2756\u2758-\u2761\u2764-\u27bf\u2934\u2935"
    r"\u2b05-\u2b55\u24c2\u3030\u303d\u3297\u3299\U0001f004\U0001f0cf\U0001f170-\U0001f1e5\U0001f200-\U0001f3fa"
    r"\U0001f400-\U0001faff]"
)
# How an emoji looks: variation selectors, skin tones, a key's frame. Signs that join words unseen.
_LOOKS = r"[\ufe00-\ufe0f\u20e3\U000e0100-\U000e01ef\U0001f3fb-\U0001f3ff]"
_UNSEEN = re.compile(rf"{_LOOKS}|[\u2060\ufeff]")
_EMOJI_SEQUENCE = re.compile(
    rf"[\U0001f1e6-\U0001f1ff]{{2}}|{_EMOJI}{_LOOKS}*(?:\u200d{_EMOJI}{_LOOKS}*)*[\U000e0020-\U000e007f]*"
)
# Joined emoji that espeak-ng has a name for: people, and flags; of others it says two first words.
_NAMED = re.compile(
    r"[\U0001f468\U0001f469](?!.*[\U0001f91d\U0001f37c])|[\U0001f3f3\U0001f3f4\U0001f441]"
    r"|.*[\u2640\u2642]\ufe0f?\Z"
)


@dataclass(frozen=True)
class PreparedText:
    """A text as the phonemizer is to read it.

    Attributes:
        rewritten: The text, which knows where its characters came from.
        stressed: Places of vowels that have the stress.
        phonemes: Stretches whose phonemes are given.
    """

    rewritten: RewrittenText
    stressed: list[int] = field(default_factory=list)
    phonemes: list[Edit] = field(default_factory=list)


class TextPreparer:
    """Prepares the texts of one voice.

    Args:
        language: The voice's espeak-ng voice, such as `ru` or `en-us`.
        options: The options, with none left open.

    Attributes:
        program: What adds vowel signs, and its version; empty where nothing does.
    """

    def __init__(self, language: str, options: TextOptions) -> None:
        self._language = language
        self._lexicon = options.lexicon
        self._write_numbers = find_writer(language) if options.write_numbers else None
        self._stress = options.stress if language == "ru" else Stress.OFF
        self._add_vowels: Callable[[str], list[Edit]] | None = None
        self.program = ""
        if language == "ar":
            from piper.text.arabic import Diacritizer

            diacritizer = Diacritizer()
            self._add_vowels, self.program = diacritizer.find_edits, diacritizer.name

    def prepare(self, text: str) -> PreparedText:
        """Return the text with all that the options ask for.

        Raises:
            PhonemizeError: A library that the options ask for is not installed.
        """
        rewritten = RewrittenText(text)
        if self._lexicon:
            edits = _find_edits(rewritten.text, self._lexicon.find_texts)
            edits = [_keep_stop(rewritten.text, edit, self._language) for edit in edits]
            rewritten = rewritten.replace(_keep_case(rewritten.text, edits, self._language))
        if self._language and not rewritten.text.isascii():
            rewritten = _rewrite(rewritten, _find_emoji)
            rewritten = _rewrite(rewritten, _find_unseen)
        if self._write_numbers:
            edits = _find_edits(rewritten.text, self._write_numbers)
            rewritten = rewritten.replace(_keep_case(rewritten.text, edits, self._language))
        if self._add_vowels:
            rewritten = _rewrite(rewritten, self._add_vowels)
        if self._stress == Stress.SILERO:
            rewritten = _rewrite(rewritten, stress.add_signs)
        stressed: list[int] = []
        if self._stress != Stress.OFF and ("+" in rewritten.text or "\u0301" in rewritten.text):
            rewritten, stressed = _remove_signs(rewritten)
        phonemes: list[Edit] = []
        if self._lexicon:
            phonemes = list(_find_edits(rewritten.text, self._lexicon.find_phonemes))
        return PreparedText(rewritten, stressed, phonemes)


def _find_edits(text: str, find: Callable[[str], Iterable[Edit]]) -> Iterable[Edit]:
    """Yield the edits of all that is not raw phonemes."""
    for part in split_raw_phonemes(text):
        if not part.is_phonemes:
            for edit in find(part.content):
                yield Edit(part.start + edit.start, part.start + edit.end, edit.text)


def _find_emoji(text: str) -> Iterator[Edit]:
    """Yield the edits that part emoji from what stands beside them.

    espeak-ng says the name of an emoji, but only its first word where no space follows: also of
    those that are joined to one that it does not know, as a heart and a fire.
    """
    for match in _EMOJI_SEQUENCE.finditer(text):
        start, end = match.span()
        if start and not text[start - 1].isspace():
            yield Edit(start, start, " ")
        if not _NAMED.match(match[0]):
            for joiner in re.finditer("\u200d", match[0]):
                yield Edit(start + joiner.start(), start + joiner.end(), " ")
        if text[end : end + 1].strip(_CLOSING) and not _EMOJI_SEQUENCE.match(text, end):
            yield Edit(end, end, " ")


def _find_unseen(text: str) -> Iterator[Edit]:
    """Yield the edits that take out how emoji look, which hides the rest of their names."""
    for match in _UNSEEN.finditer(text):
        yield Edit(match.start(), match.end(), "")


def _keep_case(text: str, edits: Iterable[Edit], language: str) -> Iterator[Edit]:
    """Yield the edits; what begins a sentence, and what does not, shows it as before.

    After a dot espeak-ng takes a small letter for the sentence's going on, and nothing else.
    """
    previous: Edit | None = None
    for edit in edits:
        end = _AFTER_END.search(text, max(0, edit.start - 100), edit.start)
        before, rest = text[: edit.start].rstrip(), text[edit.start :]
        is_end = bool(end) and not is_abbreviation(before, rest, language)
        if previous is not None and previous.end == len(before):
            is_end = previous.text[-1:] in _ENDS  # its dot may be gone
        if edit.text and is_end:
            is_small = text[edit.start].islower()
            first = edit.text[0].lower() if is_small else edit.text[0].upper()
            edit = replace(edit, text=first + edit.text[1:])
        previous = edit
        yield edit


def _keep_stop(text: str, edit: Edit, language: str) -> Edit:
    """Return the edit of a short form that ends a sentence where the text ends one with it."""
    end, rest = edit.end, text[edit.end :]
    if rest.startswith(".") and is_abbreviation(text[: end + 1], rest[1:], language):
        return replace(edit, end=end + 1)  # the dot of `Dr` in `Dr. Smith`
    if text[end - 1] != "." or edit.text[-1:] in _MARKS:
        return edit
    following = re.match(r"[^\w\n]*(.?)", rest, re.DOTALL)
    is_end = following is not None and not following[1].islower()
    if is_end and not is_abbreviation(text[:end], rest, language):
        return replace(edit, text=f"{edit.text}.")
    return edit


def _rewrite(rewritten: RewrittenText, find: Callable[[str], Iterable[Edit]]) -> RewrittenText:
    return rewritten.replace(_find_edits(rewritten.text, find))


def _remove_signs(rewritten: RewrittenText) -> tuple[RewrittenText, list[int]]:
    edits: list[Edit] = []
    stressed: list[int] = []
    for part in split_raw_phonemes(rewritten.text):
        if not part.is_phonemes:
            removals, vowels = stress.remove_signs(part.content)
            stressed += [part.start - len(edits) + vowel for vowel in vowels]
            edits += [Edit(part.start + edit.start, part.start + edit.end, "") for edit in removals]
    return rewritten.replace(edits), stressed
