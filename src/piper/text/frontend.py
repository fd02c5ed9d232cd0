"""The one way from text to phoneme ids.

Words of the lexicon first, then numbers and short forms, then stress or vowel signs;
`[[ raw phonemes ]]` are left alone.
"""

from __future__ import annotations

import logging
import re
import unicodedata
from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from copy import copy
from dataclasses import dataclass, field, replace
from enum import IntEnum, StrEnum
from functools import cached_property
from itertools import accumulate, pairwise
from pathlib import Path
from typing import Any

from piper.config import PhonemeType, Phonemizer, VoiceConfig
from piper.errors import ConfigError
from piper.phoneme_ids import DEFAULT_PHONEME_ID_MAP, phonemes_to_ids
from piper.text import stress
from piper.text.lexicon import Lexicon, load_lexicon
from piper.text.numbers.engine import find_writer
from piper.text.phonemizers import (
    CodePointPhonemizer,
    Espeak,
    EspeakTextPhonemizer,
    RawPhonemizer,
    TextPhonemizer,
)
from piper.text.pieces import split_raw_phonemes
from piper.text.sentence import (
    Edit,
    RewrittenText,
    SpokenClause,
    Word,
    is_abbreviation,
    join_abbreviations,
    join_phonemes,
    share_phonemes,
)
from piper.text.stress import VOWELS, move_stress

_LOGGER = logging.getLogger(__name__)
VOICE_KEY = "text_options"
"""The extra key of a voice's JSON that says how its training texts were prepared."""
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
# The languages of phoneme types whose libraries need a compiler or a download, or are not kept up.
_UNSUPPORTED = {PhonemeType.HEBREW: "Hebrew", PhonemeType.THAI: "Thai"}
# BOS, EOS, a pad, and the comma of a part that ends without a mark.
_EDGE_IDS = 8
_SILENT = " ,;:"
# Clauses of a sentence that is too long are cut at their words where they are longer than this
# share of a part.
_SHORT_CLAUSES = 8


class Stress(StrEnum):
    """Where the stress of Russian words comes from."""

    MARKS = "marks"
    SILERO = "silero"
    OFF = "off"


@dataclass(frozen=True)
class TextOptions:
    """How a text is prepared.

    Attributes:
        lexicon: Words and what is said instead.
        write_numbers: Whether numbers, dates, money and abbreviations are written out (Russian and
            English); None does as the voice's training did, where its JSON says so, else not.
        stress: For Russian `marks` (`+` before or U+0301 after the vowel is honoured), `silero`
            (silero-stress marks the other words too, and writes `ё`), or `off` (texts go to
            espeak-ng as they are); None does as the voice's training did, else `marks`.
        abbreviations: Whether a sentence goes on after a title or short form before a capital
            letter, as in `Dr. Smith`, where espeak-ng and Piper end it. None does as the voice's
            training did, where its JSON has `text_options`, else yes. With False the phonemes are
            those of Piper.
    """

    lexicon: Lexicon | None = None
    write_numbers: bool | None = None
    stress: Stress | str | None = None
    abbreviations: bool | None = None

    def __post_init__(self) -> None:
        if self.stress is not None and self.stress not in list(Stress):
            raise ConfigError(
                f'The stress "{self.stress}" is not known; choose one of {", ".join(Stress)}.'
            )

    def fill(self, voice_options: Mapping[str, Any] | None, source: str = "") -> TextOptions:
        """Return these options, with those that are None taken from the voice or the defaults.

        Args:
            voice_options: What the voice's JSON has under `text_options`.
            source: What to call the voice in errors.
        """
        given = {"abbreviations": True} if voice_options is None else voice_options
        flags = ("write_numbers", "abbreviations")
        if (
            not isinstance(given, Mapping)
            or not all(isinstance(given.get(flag, False), bool) for flag in flags)
            or given.get("stress") not in (None, *Stress)
        ):
            raise ConfigError(
                f'{source or "The voice"}: "{VOICE_KEY}" holds {given!r:.60}, but an object with '
                '"write_numbers" and "abbreviations" (true or false) and "stress" '
                f"({', '.join(Stress)}) is wanted."
            )
        # Voices that were trained here before there was "abbreviations" were trained without.
        own = {flag: getattr(self, flag) for flag in flags}
        filled = {
            flag: bool(given.get(flag, False)) if value is None else value
            for flag, value in own.items()
        }
        stress = self.stress or str(given.get("stress") or Stress.MARKS)
        return TextOptions(self.lexicon, stress=stress, **filled)

    def to_dict(self) -> dict[str, Any]:
        """Return what a voice's JSON is to hold under `text_options`, so that speaking does alike.

        A lexicon is a file beside the voice and not told here.
        """
        filled = self.fill(None)
        return {
            "write_numbers": filled.write_numbers,
            "stress": str(filled.stress),
            # What is not there is not done, so that an older dataset keeps its prepared recordings.
            **({"abbreviations": True} if filled.abbreviations else {}),
        }


def load_text_options(
    lexicon: Path | None,
    write_numbers: bool | None,
    stress: str | None,
    abbreviations: bool | None,
) -> TextOptions | None:
    """Return what a command's options say, the lexicon in a file; None where they say nothing."""
    if {lexicon, write_numbers, stress, abbreviations} == {None}:
        return None
    words = None if lexicon is None else load_lexicon(lexicon)
    return TextOptions(words, write_numbers, stress, abbreviations)


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
        """Return the text with all that the options ask for."""
        rewritten = RewrittenText(text)
        if self._lexicon:
            edits = _find_edits(rewritten.text, self._lexicon.find_texts)
            edits = [_keep_stop(rewritten.text, edit, self._language) for edit in edits]
            rewritten = rewritten.replace(_keep_case(rewritten.text, edits, self._language))
        if self._language and not rewritten.text.isascii():
            rewritten = _rewrite(rewritten, _find_emoji)
            # How emoji look hides the rest of their names.
            rewritten = _rewrite(
                rewritten,
                lambda text: [Edit(*match.span(), "") for match in _UNSEEN.finditer(text)],
            )
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


def pronounce(
    clause: SpokenClause, prepared: PreparedText, phonemizer: TextPhonemizer
) -> SpokenClause:
    """Return a clause of a prepared text with the phonemes and stresses that it asks for."""
    first, last = clause.start, clause.start + len(clause.source)
    stressed = [place - first for place in prepared.stressed if first <= place < last]
    given = [
        (edit.start - first, edit.end - first, edit.text)
        for edit in prepared.phonemes
        if first <= edit.start < last
    ]
    if clause.is_raw or not (stressed or given):
        return clause
    words = phonemizer.find_words(clause.source)
    alone = [phonemizer.speak_alone(clause.source[start:end]) for start, end in words]
    words = [word for word, spoken in zip(words, alone, strict=True) if spoken.strip()]
    shares = share_phonemes(clause.phonemes, [spoken for spoken in alone if spoken.strip()])
    said: dict[tuple[int, int], str] = {}
    result, end = "", 0
    for word, (share_start, share_end) in zip(words, shares, strict=True):
        old = clause.phonemes[share_start:share_end]
        new = _find_given(word, given)
        if new is None:
            new = _stress_word(clause.source[slice(*word)], word[0], old, stressed)
        if new != old:
            said[word] = new
        result += clause.phonemes[end:share_start] + new
        end = share_end
    return replace(clause, phonemes=result + clause.phonemes[end:], said=said)


def _find_given(word: tuple[int, int], given: list[tuple[int, int, str]]) -> str | None:
    """Return the phonemes that a word is given; of several words that are one entry the first."""
    for start, end, phonemes in given:
        if start < word[1] and word[0] < end:
            return phonemes if word[0] <= start else ""
    return None


def _stress_word(word: str, start: int, phonemes: str, stressed: list[int]) -> str:
    for place in stressed:
        if start <= place < start + len(word):
            before = sum(letter.lower() in VOWELS for letter in word[: place - start])
            moved = move_stress(word, phonemes, before)
            if moved is None:
                # Once for a word, and short: whose text this is may be a stranger.
                _LOGGER.warning(
                    "The stress of %.60r cannot be moved: its letters and phonemes (%.60s) do not "
                    "pair; write it as [[phonemes]].",
                    word,
                    phonemes,
                )
                break
            phonemes = moved
    return phonemes


@dataclass(frozen=True)
class Sentence:
    """One sentence of a text.

    Attributes:
        phonemes: P phonemes, single code points (NFD) or the voice's vowel clusters; Chinese ones
            are parts of a syllable.
        ids: Their ids, from BOS to EOS.
        text: The characters of the text that it was made of, without the spaces around them.
        ends_paragraph: Whether a blank line follows.
        clause_breaks: Indices of the last phoneme of each clause but the sentence's last one:
            after `, ; :` (the space after the mark) and `…` (the letter before it).
        ellipses: Those of them where `…` or `...` stands.
        goes_on: Whether it is a part of a sentence that was too long, and not the last one.
    """

    phonemes: list[str]
    ids: list[int]
    text: str = ""
    ends_paragraph: bool = False
    clause_breaks: list[int] = field(default_factory=list)
    ellipses: list[int] = field(default_factory=list)
    goes_on: bool = False
    word_finder: Callable[[], list[Word]] = field(default=list, repr=False, compare=False)

    @cached_property
    def words(self) -> list[Word]:
        """The words with their phonemes, in order; found when first asked for (milliseconds)."""
        return self.word_finder()


class _CutPlace(IntEnum):
    """Where a sentence may be cut; the lower, the better."""

    MARK = 0
    LINE = 1
    SPACE = 2


class Frontend:
    """From text to phoneme ids, as a voice was trained.

    Args:
        phoneme_type: How text becomes phonemes.
        espeak_voice: Voice (language) for espeak-ng; other types do not read it.
        phoneme_id_map: Phoneme to its ids.
        phoneme_map: Phoneme to the phonemes that replace it.
        vowel_clusters: Phonemes of several code points; the longest that fits counts.
        espeak: The espeak-ng to use; None takes the one that `Espeak()` finds.
        options: How texts are prepared before they become phonemes.

    Attributes:
        options: The same, with none left open.
        phonemizer: The program that makes the phonemes, and its version.
        missing: Phonemes that the id map lacked so far; each has been warned about once.

    Raises:
        PhonemizeError: espeak-ng lacks the voice or cannot be loaded, or the library of the phoneme
            type is not installed.
    """

    def __init__(
        self,
        phoneme_type: PhonemeType,
        espeak_voice: str,
        phoneme_id_map: Mapping[str, Sequence[int]],
        phoneme_map: Mapping[str, Sequence[str]] | None = None,
        *,
        vowel_clusters: Iterable[str] = (),
        espeak: Espeak | None = None,
        options: TextOptions | None = None,
    ) -> None:
        self._text_phonemizer = create_phonemizer(phoneme_type, espeak_voice, espeak)
        self._language = espeak_voice if phoneme_type == PhonemeType.ESPEAK else ""
        self._set_options((options or TextOptions()).fill(None))
        self._phoneme_id_map = phoneme_id_map
        self._phoneme_map = {
            unicodedata.normalize("NFD", phoneme): self._text_phonemizer.split_phonemes(
                "".join(others)
            )
            for phoneme, others in (phoneme_map or {}).items()
        }
        self._clusters = _compile_clusters(vowel_clusters)
        self.missing: Counter[str] = Counter()

    def _set_options(self, options: TextOptions) -> None:
        self.options = options
        self._preparer = TextPreparer(self._language, options)
        self.phonemizer = self._text_phonemizer.phonemizer
        if self._preparer.program:
            version = f"{self.phonemizer.version} after {self._preparer.program}"
            self.phonemizer = Phonemizer(self.phonemizer.name, version)

    def with_options(self, options: TextOptions) -> Frontend:
        """Return a frontend of the same voice with other options.

        What they leave open stays as it is here, the lexicon too. Phonemes that the id map lacks
        are counted together.
        """
        frontend = copy(self)
        filled = options.fill(self.options.to_dict())
        frontend._set_options(replace(filled, lexicon=options.lexicon or self.options.lexicon))
        return frontend

    def text_to_phonemes(self, text: str) -> list[list[str]]:
        """Return the phonemes of a text, one list of single code points (NFD) a sentence.

        A text without anything to say has no sentences.
        """
        return [
            [phoneme for clause in sentence for phoneme in self._map_phonemes(clause)]
            for sentence in self._split_sentences(self._preparer.prepare(text))
        ]

    def phonemes_to_ids(self, phonemes: Sequence[str]) -> list[int]:
        """Return the ids of one sentence, from BOS to EOS."""
        return phonemes_to_ids(
            phonemes,
            self._phoneme_id_map,
            missing=self.missing,
            padded=self._text_phonemizer.padded,
        )

    def text_to_sentences(self, text: str, max_ids: int | None = None) -> list[Sentence]:
        """Return the sentences of a text.

        Args:
            text: The text.
            max_ids: Longer sentences are cut: where a clause or a line ends, else at a space, else
                anywhere. None leaves them whole.
        """
        prepared = self._preparer.prepare(text)
        sentences: list[Sentence] = []
        for clauses in self._split_sentences(prepared):
            sentence = self._create_sentence(text, prepared.rewritten, clauses)
            if max_ids is None or self._count_ids(sentence.phonemes) <= max_ids - _EDGE_IDS:
                sentences.append(sentence)
                continue
            parts = self._cut_sentence(clauses, max_ids)
            sentences += [
                self._create_sentence(text, prepared.rewritten, part, goes_on=part is not parts[-1])
                for part in parts
            ]
        return sentences

    def _split_sentences(self, prepared: PreparedText) -> list[list[SpokenClause]]:
        """Return the clauses of the sentences that say something."""
        phonemizer = self._text_phonemizer
        sentences: list[list[SpokenClause]] = []
        parted = phonemizer.split_clauses(prepared.rewritten.text)
        if self.options.abbreviations:
            parted = join_abbreviations(parted, self._language)
        for clauses in parted:
            sentence = [pronounce(clause, prepared, phonemizer) for clause in clauses]
            if any((clause.phonemes + clause.ending).strip() for clause in sentence):
                sentences.append(sentence)
            elif sentences:
                _append_silent(sentences[-1], sentence)
        return sentences

    def _map_phonemes(self, clause: SpokenClause) -> list[str]:
        return self._map_string(clause.phonemes + clause.ending, is_raw=clause.is_raw)

    def _map_string(self, phonemes: str, *, is_raw: bool = False) -> list[str]:
        symbols = self._text_phonemizer.split_phonemes(phonemes)
        if self._clusters and not is_raw:  # raw phonemes are taken as they are
            symbols = self._clusters.findall("".join(symbols))
        if not self._phoneme_map:
            return symbols
        return [new for old in symbols for new in self._phoneme_map.get(old, [old])]

    def _create_sentence(
        self,
        text: str,
        rewritten: RewrittenText,
        clauses: list[SpokenClause],
        *,
        goes_on: bool = False,
    ) -> Sentence:
        phonemes: list[str] = []
        breaks: list[int] = []
        ellipses: list[int] = []
        for clause in clauses:
            phonemes += self._map_phonemes(clause)
            if clause.is_break and clause is not clauses[-1] and phonemes:
                breaks.append(len(phonemes) - 1)
                if clause.is_ellipsis:
                    ellipses.append(len(phonemes) - 1)
        length = sum(len(clause.source) for clause in clauses)
        start, end = rewritten.find_source(clauses[0].start, clauses[0].start + length)
        source = text[start:end]
        start += len(source) - len(source.lstrip())
        return Sentence(
            phonemes,
            self.phonemes_to_ids(phonemes),
            text=source.strip(),
            ends_paragraph=any(clause.ends_paragraph for clause in clauses),
            clause_breaks=breaks,
            ellipses=ellipses,
            goes_on=goes_on,
            word_finder=lambda: self._find_words(text, rewritten, clauses, start),
        )

    def _count_ids(self, phonemes: Iterable[str]) -> int:
        """Return how many ids the phonemes have, with a pad each."""
        id_map = self._phoneme_id_map
        return sum(len(id_map.get(phoneme, ())) + 1 for phoneme in phonemes)

    def _cut_sentence(
        self, clauses: Sequence[SpokenClause], max_ids: int
    ) -> list[list[SpokenClause]]:
        """Return the clauses of the parts of a sentence, none of which has more ids.

        A part that ends where no mark is gets a comma, so that the voice makes a pause of it.
        """
        max_ids = max(1, max_ids - _EDGE_IDS)
        cuts = [cut for clause in clauses for cut in self._cut_clause(clause, max_ids)]
        pieces, places = [piece for piece, _ in cuts], [place for _, place in cuts]
        ends = list(accumulate(self._count_ids(self._map_phonemes(piece)) for piece in pieces))
        parts: list[list[SpokenClause]] = []
        start = 0
        while start < len(pieces):
            end = _find_cut(places, ends, start, max_ids)
            part = pieces[start:end]
            part[0] = replace(part[0], phonemes=part[0].phonemes.lstrip(" "))
            if end < len(pieces) and not part[-1].ending and "," in self._phoneme_id_map:
                part[-1] = replace(part[-1], ending=", ")
            if join_phonemes(part).strip(_SILENT):
                parts.append(part)
            elif parts:
                _append_silent(parts[-1], part)
            start = end
        return parts or [list(clauses)]

    def _cut_clause(
        self, clause: SpokenClause, max_ids: int
    ) -> Iterator[tuple[SpokenClause, _CutPlace]]:
        """Yield the clause, or where it is long its words, with what kind of place follows each."""
        end_place = _CutPlace.MARK if clause.is_break else _CutPlace.SPACE
        source = clause.source
        ids = self._count_ids(self._map_phonemes(clause))
        if ids <= max_ids // _SHORT_CLAUSES and "\n" not in source.strip():
            yield clause, _CutPlace.LINE if _ends_line(source) else end_place
            return
        symbols = self._text_phonemizer.split_phonemes(clause.phonemes)
        borders = self._find_borders(clause, symbols)
        for (place, first), (end, last) in pairwise(borders):
            is_last = end == len(source)
            said = {
                (start - place, stop - place): phonemes
                for (start, stop), phonemes in clause.said.items()
                if place <= start < end
            }
            part = _take_part(clause, slice(place, end), symbols[first:last], is_last=is_last)
            word = replace(part, said=said)
            after = end_place if is_last else _CutPlace.SPACE
            if _ends_line(word.source):
                after = _CutPlace.LINE
            for piece in self._cut_word(word, max_ids):
                yield piece, after

    def _find_borders(self, clause: SpokenClause, symbols: Sequence[str]) -> list[tuple[int, int]]:
        """Return where words begin, in the clause's source and in its phonemes, and the end."""
        words = [] if clause.is_raw else self._share_clause(clause, symbols)
        # Where words are spoken as one (`of the`), their border among the phonemes is a guess.
        has_spaces = " " in symbols
        borders: list[tuple[int, int]] = []
        for (_, end, _, last), (start, *_) in pairwise(words):
            if not has_spaces or symbols[last : last + 1] == [" "]:
                line_end = clause.source.rfind("\n", end, start)  # a list's dash goes with its item
                borders.append((line_end + 1 if line_end >= 0 else start, last))
        return [(0, 0), *borders, (len(clause.source), len(symbols))]

    def _cut_word(self, word: SpokenClause, max_ids: int) -> Iterator[SpokenClause]:
        """Yield a word, in parts where it is longer than a sentence may be."""
        ids = self._count_ids(self._map_phonemes(word))
        if ids <= max_ids:
            yield word
            return
        symbols = self._text_phonemizer.split_phonemes(word.phonemes)
        count = min(len(symbols), 2 * -(-ids // max_ids))
        for number in range(count):
            places, phonemes = (
                slice(len(whole) * number // count, len(whole) * (number + 1) // count)
                for whole in (word.source, symbols)
            )
            yield _take_part(word, places, symbols[phonemes], is_last=number == count - 1)

    def _find_words(
        self, text: str, rewritten: RewrittenText, clauses: Sequence[SpokenClause], start: int
    ) -> list[Word]:
        """Return the words of a sentence that begins at `start` of the text."""
        words: list[Word] = []
        offset = 0
        for clause in clauses:
            phonemes = self._map_phonemes(clause)
            for place, end, first, last in self._share_clause(clause, phonemes):
                span = rewritten.find_source(clause.start + place, clause.start + end)
                begin, stop, first_phoneme = span[0] - start, span[1] - start, offset + first
                if words and begin < words[-1].end:  # several words written for one
                    left = words.pop()
                    begin, stop = left.start, max(left.end, stop)
                    first_phoneme = left.first_phoneme
                word_text = text[start + begin : start + stop]
                words.append(Word(word_text, begin, stop, first_phoneme, offset + last))
            offset += len(phonemes)
        return words

    def _share_clause(
        self, clause: SpokenClause, phonemes: Sequence[str]
    ) -> list[tuple[int, int, int, int]]:
        """Return start and end of each word in the clause, and its phonemes' first and last."""
        if clause.is_raw:
            return [(0, len(clause.source), 0, len(phonemes))] if phonemes else []
        phonemizer = self._text_phonemizer
        alone: dict[tuple[int, int], list[str]] = {}
        for span in phonemizer.find_words(clause.source):
            said = clause.said.get(span)
            spoken = phonemizer.speak_alone(clause.source[slice(*span)]) if said is None else said
            if spoken.strip():
                alone[span] = self._map_string(spoken)
        shares = share_phonemes(phonemes, list(alone.values()))
        return [(*span, *share) for span, share in zip(alone, shares, strict=True)]


def create_phonemizer(
    phoneme_type: PhonemeType, espeak_voice: str, espeak: Espeak | None
) -> TextPhonemizer:
    """Create the phonemizer of a phoneme type."""
    if phoneme_type == PhonemeType.TEXT:
        return CodePointPhonemizer()
    if phoneme_type == PhonemeType.PINYIN:
        from piper.text.chinese import PinyinPhonemizer

        return PinyinPhonemizer()
    if phoneme_type == PhonemeType.JAPANESE:
        from piper.text.japanese import JapanesePhonemizer

        return JapanesePhonemizer()
    if phoneme_type in _UNSUPPORTED:
        return RawPhonemizer(_UNSUPPORTED[phoneme_type])
    return EspeakTextPhonemizer(espeak_voice, espeak)


def create_frontend(
    config: VoiceConfig, options: TextOptions | None = None, espeak: Espeak | None = None
) -> Frontend:
    """Create the frontend that a voice's JSON asks for.

    Args:
        config: The voice's JSON.
        options: How texts are prepared; what they leave open is done as the voice's training did
            (the JSON's `text_options`), and where it does not say so as Piper does.
        espeak: The espeak-ng to use; None takes the one that `Espeak()` finds.
    """
    return Frontend(
        config.phoneme_type,
        config.espeak_voice,
        config.phoneme_id_map or DEFAULT_PHONEME_ID_MAP,
        config.phoneme_map,
        vowel_clusters=config.vowel_clusters,
        espeak=espeak,
        options=(options or TextOptions()).fill(config.extra.get(VOICE_KEY), config.source),
    )


def _compile_clusters(clusters: Iterable[str]) -> re.Pattern[str] | None:
    """Return what cuts phonemes into clusters and single code points."""
    normal = {unicodedata.normalize("NFD", cluster) for cluster in clusters}
    longest_first = sorted((one for one in normal if len(one) > 1), key=len, reverse=True)
    choices = [*map(re.escape, longest_first), "."]
    return re.compile("|".join(choices), re.DOTALL) if longest_first else None


def _take_part(
    clause: SpokenClause, places: slice, phonemes: Sequence[str], *, is_last: bool
) -> SpokenClause:
    """Return a part of a clause; the last one has what ended it."""
    return replace(
        clause,
        source=clause.source[places],
        start=clause.start + places.start,
        phonemes="".join(phonemes),
        ending=clause.ending if is_last else "",
        is_break=clause.is_break and is_last,
        is_ellipsis=clause.is_ellipsis and is_last,
        ends_paragraph=clause.ends_paragraph and is_last,
        said={},
    )


def _ends_line(source: str) -> bool:
    return "\n" in source[len(source.rstrip()) :]


def _find_cut(places: Sequence[_CutPlace], ends: Sequence[int], start: int, max_ids: int) -> int:
    """Return where the next part of a sentence ends.

    The parts become about equally long, so that no single word is left for the last one.
    """
    before = ends[start - 1] if start else 0
    left = ends[-1] - before
    if left <= max_ids:
        return len(ends)
    wanted = left / -(-left // max_ids)
    end = bisect_right(ends, before + max_ids)
    for kind in _CutPlace:
        # Better a space than a part of a second.
        least = 0.0 if kind == _CutPlace.SPACE else wanted / 3
        fitting = [
            (abs(ends[index] - before - wanted), index + 1)
            for index in range(start, end)
            if places[index] == kind and ends[index] - before >= least
        ]
        if fitting:
            return min(fitting)[1]
    return start + 1


def _append_silent(sentence: list[SpokenClause], silent: Sequence[SpokenClause]) -> None:
    """Give a sentence the closing quotation mark or the blank line that follows it."""
    is_closing = not sentence[-1].source[-1:].isspace()
    for clause in silent:
        source = clause.source if is_closing else ""
        sentence.append(replace(clause, source=source, phonemes="", ending=""))
        is_closing = is_closing and not clause.source[-1:].isspace()
